import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { Incompatible } from '../../errors.ts';
import type { Store } from '../../stores/port.ts';
import { qdrant } from '../../stores/qdrant.ts';
import { plural } from '../../words.ts';
import { ask, type QdrantPlace } from './qdrant-requests.ts';

/** What a Qdrant server is and holds, as a backup keeps it and a restore holds against it. */

export const anySchema = z.unknown();
const collectionsSchema = z.looseObject({ collections: z.array(z.looseObject({ name: z.string() })) });
const aliasesSchema = z.looseObject({
  aliases: z.array(z.looseObject({ alias_name: z.string(), collection_name: z.string() })),
});
const serviceSchema = z.looseObject({ version: z.string() });
const fieldSchema = z.looseObject({ data_type: z.string(), params: z.unknown().optional() });
const infoSchema = z.looseObject({
  config: z.looseObject({ params: z.looseObject({ sharding_method: z.string().nullish() }) }),
  payload_schema: z.record(z.string(), fieldSchema).default({}),
  update_queue: z.looseObject({ deferred_points: z.number().nullish() }).nullish(),
});
const clusterSchema = z.looseObject({ status: z.string(), peers: z.record(z.string(), z.unknown()).optional() });

/** How a collection is set up. */
export const setUpSchema = z.strictObject({ config: z.unknown(), fields: z.record(z.string(), z.unknown()) });
export type SetUp = z.infer<typeof setUpSchema>;

export const at = (collection: string): string => `/collections/${encodeURIComponent(collection)}`;

/** `1.18.3` */
export const versionOf = async (place: QdrantPlace): Promise<string> =>
  (await ask(place, 'GET', '/', serviceSchema)).version;

export async function refuseCluster(place: QdrantPlace): Promise<void> {
  const { status, peers = {} } = await ask(place, 'GET', '/cluster', clusterSchema);
  const nodes = Object.keys(peers).length;
  if (status !== 'disabled' && nodes > 1)
    throw new Incompatible(
      `store '${place.name}' is a Qdrant cluster of ${nodes} nodes, and a snapshot holds the shards of one: use the backups of your Qdrant Cloud or of your disks, and migrate without --backup`,
    );
}

/**
 * Qdrant keeps shard keys beside a collection's settings, and makes a collection from a snapshot by its settings alone: it would come back
 * without shards, so without a record (github.com/qdrant/qdrant/issues/10135).
 */
export function refuseShardKeys({ name }: QdrantPlace, found: Readonly<Record<string, SetUp>>): void {
  const ids = Object.keys(found).filter((each) => {
    const config = infoSchema.shape.config.safeParse(found[each]?.config);
    return config.data?.params.sharding_method === 'custom';
  });
  if (ids.length === 0) return;
  throw new Incompatible(
    `store '${name}': ${plural(ids.length, 'collection')} with custom sharding (${ids.join(', ')}), which Qdrant restores without their records where they are not there any more (github.com/qdrant/qdrant/issues/10135): use the backups of your Qdrant Cloud or of your disks, and migrate without --backup`,
    { ids },
  );
}

export interface ServerSetUp {
  readonly aliases: Record<string, string>;
  readonly collections: Readonly<Record<string, SetUp>>;
}

export async function describeServer(place: QdrantPlace): Promise<ServerSetUp> {
  const { collections } = await ask(place, 'GET', '/collections', collectionsSchema);
  const described: Record<string, SetUp> = {};
  for (const { name } of collections.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
    described[name] = await describeCollection(place, name);
  return { aliases: await aliasesOf(place), collections: described };
}

export async function aliasesOf(place: QdrantPlace): Promise<Record<string, string>> {
  const { aliases } = await ask(place, 'GET', '/aliases', aliasesSchema);
  return Object.fromEntries(aliases.map(({ alias_name, collection_name }) => [alias_name, collection_name]));
}

export async function describeCollection(place: QdrantPlace, name: string): Promise<SetUp> {
  const { config, payload_schema } = await ask(place, 'GET', at(name), infoSchema);
  // The number of points that each index holds is none of its settings.
  const fields = Object.entries(payload_schema).map(([field, { data_type, params }]) => [field, params ?? data_type]);
  return { config, fields: Object.fromEntries(fields) };
}

export const hiddenIn = async (place: QdrantPlace, collection: string): Promise<number> =>
  (await ask(place, 'GET', at(collection), infoSchema)).update_queue?.deferred_points ?? 0;

export const paramsOf = (config: unknown): Readonly<Record<string, unknown>> =>
  infoSchema.shape.config.safeParse(config).data?.params ?? {};

/** A server gives its payload indexes, a hash map of Rust's, in another order every time. */
export const isSetUpAs = (found: SetUp, { config, fields }: SetUp): boolean =>
  isDeepStrictEqual([found.config, found.fields], [config, fields]);

export async function withStore<T>(
  place: QdrantPlace,
  collection: string,
  work: (store: Store) => Promise<T>,
): Promise<T> {
  const { connection, transport } = place;
  const options = transport === undefined ? {} : { transport };
  const store = await qdrant.open({ connection, collection, options });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
