/** How a collection was set up, held against how it is: a line a difference, `config.hnsw_config.m is 16 and was 32`. */

/** What was set, or said to be not set (null), and is otherwise by now. A member that is null and one that is not there are the same. */
export function settingsLost(held: unknown, found: unknown): readonly string[] {
  return differences(held, found, '').flatMap(({ was, line }) => (was === undefined ? [] : [line]));
}

/** What the backup does not name: another version of the server answers defaults that the old one had no word for. */
export function settingsAdded(held: unknown, found: unknown): readonly string[] {
  return differences(held, found, '').flatMap(({ was, line }) => (was === undefined ? [line] : []));
}

interface Difference {
  /** undefined: the backup has no such member. */
  readonly was: unknown;
  readonly line: string;
}

function differences(was: unknown, is: unknown, path: string): readonly Difference[] {
  if ((was ?? null) === (is ?? null)) return [];
  if (isObject(was) && isObject(is)) {
    const keys = new Set([...Object.keys(was), ...Object.keys(is)]);
    return [...keys].flatMap((key) => differences(was[key], is[key], path === '' ? key : `${path}.${key}`));
  }
  const [old, now] = [JSON.stringify(was ?? null), JSON.stringify(is ?? null)];
  if (old === now) return [];
  // A list is compared whole.
  const line = was === undefined ? `${path} is ${now}` : `${path} is ${now} and was ${old}`;
  return [{ was, line }];
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
