/** What a Qdrant server says of a collection, for a look before and after. */

// biome-ignore lint/suspicious/noExplicitAny: what the server answers is looked at as it is
export async function askQdrant(url: string, method: string, path: string, body?: unknown): Promise<any> {
  const answer = await fetch(`${url}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const { result, status } = await answer.json();
  if (!answer.ok && answer.status !== 404) throw new Error(`${method} ${path}: ${JSON.stringify(status)}`);
  return result;
}

/** All that a migration may change of a collection; undefined where there is none. */
export async function stateOf(url: string, collection: string): Promise<unknown> {
  const info = await askQdrant(url, 'GET', `/collections/${collection}`);
  if (info === undefined) return undefined;
  const { aliases } = await askQdrant(url, 'GET', '/aliases');
  const scroll = { limit: 100, with_vector: true };
  const { points } = await askQdrant(url, 'POST', `/collections/${collection}/points/scroll`, scroll);
  return {
    config: info.config,
    payload: Object.fromEntries(
      Object.entries(info.payload_schema).map(([field, each]) => [field, { ...Object(each), points: 0 }]),
    ),
    aliases: aliases.filter((each: { collection_name: string }) => each.collection_name === collection),
    points,
  };
}

/** Qdrant shows null, or nothing, for a setting that was never set, and cannot unset it: what it means then is the same. */
export function asInForce(state: unknown): unknown {
  if (state === undefined) return undefined;
  const meant: readonly (readonly [string, unknown])[] = [
    ['on_disk', false],
    ['memmap_threshold', 0],
    ['max_optimization_threads', 'auto'],
  ];
  return JSON.parse(JSON.stringify(state), (key, value: unknown) => {
    if (value === null || meant.some(([name, unset]) => key === name && value === unset)) return undefined;
    // "If not set, default M will be used."
    const { payload_m: payloadM, ...others } = Object(value);
    return payloadM !== undefined && payloadM === others.m ? others : value;
  });
}

/** Deletes the collections whose names begin so. */
export async function dropAll(url: string, prefix: string): Promise<void> {
  const { collections } = await askQdrant(url, 'GET', '/collections');
  for (const { name } of collections)
    if (name.startsWith(prefix)) await askQdrant(url, 'DELETE', `/collections/${name}`);
}
