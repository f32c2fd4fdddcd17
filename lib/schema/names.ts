import { SchemaMismatch } from '../errors.ts';
import type { Names } from '../event-names.ts';
import type { CollectionSchema } from '../schema.ts';

/** Old names and the stable ones that they stand for, as the event's `names` say. Pure: nothing here reads a store. */

type Kind = 'fields' | 'vectors';

/** The stable name of a field or a vector; a name that is nobody's alias is its own. */
export function stableName(names: Names | undefined, kind: Kind, name: string): string {
  if (names === undefined) return name;
  for (const [stable, old] of Object.entries(names[kind])) if (old.includes(name)) return stable;
  return name;
}

/** All that the name is known under, the stable one first. */
export function namesOf(names: Names | undefined, kind: Kind, name: string): readonly string[] {
  const stable = stableName(names, kind, name);
  return [stable, ...(names?.[kind][stable] ?? [])];
}

/** True where an old name of a field stands for another one, so that payloads have to be looked into. */
export function renamesFields(names: Names | undefined, { fields }: Pick<CollectionSchema, 'fields'>): boolean {
  if (names === undefined || Object.keys(names.fields).length === 0) return false;
  return fields === undefined || fields.some(({ name }) => stableName(names, 'fields', name) !== name);
}

/** The same values under stable names. @throws SchemaMismatch when two keys are names of one thing, `where` saying whose they are. */
export function stableKeys<T>(
  named: Readonly<Record<string, T>>,
  stableOf: (name: string) => string,
  where: string,
): Record<string, T> {
  const found = new Map<string, T>();
  for (const [name, value] of Object.entries(named)) {
    const stable = stableOf(name);
    if (found.has(stable))
      throw new SchemaMismatch(`${where} has '${stable}' twice, by its stable and an old name; leave one out`, {
        ids: [stable],
      });
    found.set(stable, value);
  }
  return Object.fromEntries(found);
}

/**
 * The schema with stable names alone. Where the stable name and an old one stand side by side they become one: whether a
 * record's two values are equal is seen when it is read.
 * @throws SchemaMismatch when they are of two types, `where` saying whose schema it is.
 */
export function stableSchema(schema: CollectionSchema, names: Names | undefined, where: string): CollectionSchema {
  if (names === undefined) return schema;
  const { vectors, fields } = schema;
  const named = {
    vectors: renamed(vectors, names, 'vectors', ({ kind, dimension }) => `${kind} ${dimension ?? ''}`, where),
    fields: fields && renamed(fields, names, 'fields', ({ type }) => type, where),
  };
  const isSame = isEach(named.vectors, vectors) && isEach(named.fields ?? [], fields ?? []);
  if (isSame) return schema;
  const isOld = (kind: Kind, name: string): boolean => stableName(names, kind, name) !== name;
  return {
    ...schema,
    vectors: named.vectors,
    ...(named.fields === undefined ? {} : { fields: named.fields }),
    payloadIndexes: schema.payloadIndexes.map((index) => {
      if (!isOld('fields', index.field)) return index;
      // Its definition in the store's words names the old column.
      return { field: stableName(names, 'fields', index.field), type: index.type };
    }),
    native: Object.fromEntries(
      Object.entries(schema.native).map(([setting, value]) => [setting, renamedSetting(value, schema, names)]),
    ),
  };
}

const isEach = <T>(some: readonly T[], others: readonly T[]): boolean =>
  some.length === others.length && some.every((each, at) => each === others[at]);

function renamed<T extends { readonly name: string }>(
  all: readonly T[],
  names: Names,
  kind: Kind,
  typeOf: (each: T) => string,
  where: string,
): T[] {
  const found = new Map<string, T>();
  for (const each of all) {
    const stable = stableName(names, kind, each.name);
    const there = found.get(stable);
    if (there !== undefined && typeOf(there) !== typeOf(each)) {
      const text = `${where} has '${there.name}' (${typeOf(there)}) and '${each.name}' (${typeOf(each)}), which are names of one thing`;
      throw new SchemaMismatch(`${text} and of two types; leave one out of names.${kind}`, {
        ids: [there.name, each.name],
      });
    }
    // The stable one's own spec where both are there.
    if (there === undefined || each.name === stable)
      found.set(stable, each.name === stable ? each : { ...each, name: stable });
  }
  return [...found.values()];
}

/** Settings that stand by a column's or a vector's name (`defaults`, Qdrant's vectors) follow it. */
function renamedSetting(value: unknown, { vectors, fields = [] }: CollectionSchema, names: Names): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const kindOf = (name: string): Kind | undefined =>
    fields.some((each) => each.name === name)
      ? 'fields'
      : vectors.some((each) => each.name === name)
        ? 'vectors'
        : undefined;
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => {
      const kind = kindOf(name);
      return [kind === undefined ? name : stableName(names, kind, name), each];
    }),
  );
}

/** What a collection may be called where it lies, the event's own word first: `public.articles`, then `public.posts`. */
export function collectionsOf(collection: string, names: Names | undefined): readonly string[] {
  if (names?.collection === undefined) return [collection];
  const all = [names.collection, ...names.aliases];
  // A schema, a folder: what stands before the name stays.
  const own = all.find(
    (each) => collection === each || collection.endsWith(`.${each}`) || collection.endsWith(`/${each}`),
  );
  if (own === undefined) return [collection];
  const before = collection.slice(0, collection.length - own.length);
  return [...new Set([collection, ...all.map((each) => before + each)])];
}

/** True where a shard's own word for its collection (`public.posts`) is one of the names, or none are given. */
export function isNamedCollection(collection: string | undefined, names: Names | undefined): boolean {
  if (names?.collection === undefined || collection === undefined) return true;
  const plain = collection.slice(Math.max(collection.lastIndexOf('.'), collection.lastIndexOf('/')) + 1);
  return [names.collection, ...names.aliases].some((each) => each === collection || each === plain);
}
