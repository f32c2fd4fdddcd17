import { type Batch, hasVector, noRecords } from '../batch.ts';
import { SchemaMismatch } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import type { Names } from '../event-names.ts';
import { fitCollection } from '../fit.ts';
import { mapBatch } from '../mapping/mapping.ts';
import { type ConformPlan, conform, noMapping } from '../schema/conform.ts';
import { fingerprintOf } from '../schema/fingerprint.ts';
import { isNamedCollection, stableSchema } from '../schema/names.ts';
import { stableEvent } from '../schema/stable-event.ts';
import type { CollectionSchema, VectorSpec } from '../schema.ts';
import type { ShardMeta } from '../shard/shard.ts';
import { files } from '../stores/files.ts';

/** The names and the mapping of an event, applied to a shard while it is brought up: by the functions that a run applies them with. */

/** `left`: ids that the mapping leaves out. */
export interface Ruled {
  readonly meta: ShardMeta;
  readonly batch: Batch;
  readonly left: readonly string[];
}

export interface Rules {
  /** @throws SchemaMismatch for a shard of another collection than the names say, or with a name twice; Incompatible where the mapping does not fit its schema; RecordRefused */
  shard(meta: ShardMeta, batch: Batch, where: string): Ruled;
  /** As the shards' own. @throws as above */
  schema(schema: CollectionSchema, where: string): CollectionSchema;
  /** False: the shard is of another collection, which the names leave out. */
  isOurs(collection: string | undefined): boolean;
}

/** @param given an event of which names and mapping count */
export function makeRules(given: RunEvent): Rules {
  const event = stableEvent(given);
  const { names } = event;
  return {
    isOurs: (collection) => names?.strict !== false || isNamedCollection(collection, names),
    schema: (schema, where) => fitted(event, stableSchema(schema, names, where), noRecords(schema.vectors)).schema,
    shard: (meta, batch, where) => {
      if (!isNamedCollection(meta.collection, names)) throw anotherCollection(meta, names, where);
      const schema = stableSchema(meta.schema, names, where);
      const plan: ConformPlan = { event, source: schema, mapping: noMapping };
      const read = { where, schema: meta.schema, fingerprint: fingerprintOf(meta.schema) };
      const named = batch.count === 0 ? noRecords(schema.vectors) : conform(batch, read, plan).batch;
      const fit = fitted(event, schema, named);
      const { batch: mapped, skipped } = mapBatch(named, fit.mapping, files.capabilities.ids);
      const collection = stableCollection(meta.collection, names);
      const stable = { ...meta, schema: fit.schema, ...(collection === undefined ? {} : { collection }) };
      return { meta: stable, batch: mapped, left: skipped };
    },
  };
}

/** What a run into a folder of files would make of it; what the shard does not know of its source stays unknown. */
function fitted(event: RunEvent, schema: CollectionSchema, { count, vectors }: Batch) {
  const missing = [...vectors].flatMap(([name, column]) => {
    const records = Array.from({ length: count }, (_, at) => at).filter((at) => !hasVector(column, at)).length;
    return records === 0 ? [] : [[name, records] as const];
  });
  const source = { schema, count, payloadBytes: 0, withoutVector: Object.fromEntries(missing) };
  const { target, mapping } = fitCollection({ source, target: files, event: withoutIndexes(event) });
  const { store, origin, idType, key } = schema;
  const specs = target.vectors.map((spec): VectorSpec => {
    const [from = ''] = Object.entries(mapping.vectors).find(([, to]) => to === spec.name) ?? [];
    const wanted = event.mapping.vectors[from];
    const read = schema.vectors.find(({ name }) => name === from);
    const [distance, index] = [wanted?.distance ?? read?.distance, wanted?.index ?? read?.index];
    const { distance: _, index: __, ...rest } = spec;
    return { ...rest, ...(distance === undefined ? {} : { distance }), ...(index === undefined ? {} : { index }) };
  });
  const { origin: _, ...made } = target;
  const own = { ...made, store, idType, key, vectors: specs, ...(origin === undefined ? {} : { origin }) };
  return { schema: own, mapping };
}

/** A folder has no index, and shards say which one their source has, or the next target gets. */
function withoutIndexes(event: RunEvent): RunEvent {
  const vectors = Object.entries(event.mapping.vectors).map(([name, given]) => {
    const { index: _, ...rest } = given ?? {};
    return [name, given && rest] as const;
  });
  return { ...event, mapping: { ...event.mapping, vectors: Object.fromEntries(vectors) } };
}

/** `public.posts` as `public.articles`. */
function stableCollection(collection: string | undefined, names: Names | undefined): string | undefined {
  if (collection === undefined || names?.collection === undefined) return collection;
  const isOne = (each: string): boolean =>
    collection === each || collection.endsWith(`.${each}`) || collection.endsWith(`/${each}`);
  const old = names.aliases.find(isOne);
  if (old === undefined) return collection;
  return collection.slice(0, collection.length - old.length) + names.collection;
}

function anotherCollection({ collection }: ShardMeta, names: Names | undefined, where: string): SchemaMismatch {
  const known = [names?.collection, ...(names?.aliases ?? [])].join(', ');
  const text = `${where} is a shard of collection '${collection}', and the names of this one are ${known}`;
  return new SchemaMismatch(`${text}; add it to names.aliases, or leave it out with names.strict false`, {
    ids: [where],
  });
}
