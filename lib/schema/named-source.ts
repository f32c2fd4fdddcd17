import { type Batch, concatBatches } from '../batch.ts';
import { NotFound } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import type { Plan } from '../run-files.ts';
import type { CollectionSchema } from '../schema.ts';
import type { Piece, SearchRequest, Store } from '../stores/port.ts';
import { type ConformPlan, conform, noMapping } from './conform.ts';
import { fingerprintOf } from './fingerprint.ts';
import { namesOf, stableName, stableSchema } from './names.ts';

/** The source as the run sees it: under its stable names, and its records with the run's schema. */

/**
 * One store for a collection that may have one of several names: the one that is there, in the order given. A collection that
 * is renamed while the run goes on is looked for again.
 * @param stores one for each name
 */
export function firstThere(stores: readonly [Store, ...Store[]], names: readonly string[]): Store {
  let current = stores[0];
  const others = (): readonly Store[] => stores.filter((each) => each !== current);
  const there = async <T>(call: (store: Store) => Promise<T>): Promise<T> => {
    try {
      return await call(current);
    } catch (error) {
      if (!(error instanceof NotFound)) throw error;
      for (const other of others()) {
        try {
          const answer = await call(other);
          current = other;
          return answer;
        } catch (again) {
          if (!(again instanceof NotFound)) throw again;
        }
      }
      throw new NotFound(`there is no collection of the names ${names.map((name) => `'${name}'`).join(', ')}`, {
        ids: names,
        cause: error,
      });
    }
  };
  const { schema, renew, drop } = stores[0];
  return {
    ...stores[0],
    describe: () => there((store) => store.describe()),
    ...(schema && { schema: () => there(async (store) => await (store.schema?.() ?? described(store))) }),
    ...(renew && { renew: () => there(async (store) => (await store.renew?.()) ?? ((range) => range)) }),
    count: () => there((store) => store.count()),
    fetch: (ids) => there((store) => store.fetch(ids)),
    search: (request) => there((store) => store.search(request)),
    tuning: (vector) => there((store) => store.tuning(vector)),
    ranges: (options) => there((store) => store.ranges(options)),
    ...(drop && { drop: (options) => there(async (store) => await (store.drop ?? drop)(options)) }),
    async *read(range, options) {
      // Whichever is there; a read that has begun is not begun anew elsewhere.
      await there(async (store) => await (store.schema?.() ?? store.count()));
      yield* current.read(range, options);
    },
    close: async () => {
      for (const store of stores) await store.close();
    },
  };
}

const described = async (store: Store): Promise<CollectionSchema> => (await store.describe()).schema;

/** The source before there is a plan: with stable names. */
export function sourceToPlan(store: Store, event: RunEvent): Store {
  return event.names === undefined ? store : renamed(store, event, undefined);
}

/** The source of a run: what is fetched and read is as the run's schema has it, as shards are when they are read. */
export function sourceOfRun(store: Store, plan: ConformPlan): Store {
  const { names, mapping } = plan.event;
  return names === undefined && !mapping.schema.accept ? store : renamed(store, plan.event, plan);
}

const where = 'the source';

function renamed(store: Store, event: RunEvent, plan: Pick<Plan, 'event' | 'source' | 'mapping'> | undefined): Store {
  const { names } = event;
  let known: CollectionSchema | undefined;
  /** As the store has it now; of one that declares no fields, as it was at first. */
  const rawSchema = async (): Promise<CollectionSchema> => {
    if (store.schema !== undefined) return await store.schema();
    known ??= await described(store);
    return known;
  };
  const asOfRun = (batch: Batch, schema: CollectionSchema): Batch => {
    const planned = plan ?? { event, source: stableSchema(schema, names, where), mapping: noMapping };
    return conform(batch, { where, schema, fingerprint: fingerprintOf(schema) }, planned).batch;
  };
  /** What the store itself calls a thing that the run calls by its stable name. */
  const ownName = (kind: 'fields' | 'vectors', name: string, schema: CollectionSchema): string => {
    const there = (schema[kind] ?? []).map((each) => each.name);
    return namesOf(names, kind, name).find((each) => there.includes(each)) ?? name;
  };
  // Values are counted by the store's own names; a plan then looks at a sample, which it sees under the stable ones.
  const { values: _, ...others } = store;
  return {
    ...others,
    describe: async () => {
      const { schema, withoutVector, ...rest } = await store.describe();
      known = schema;
      const missing = Object.entries(withoutVector ?? {}).map(([name, records]) => [
        stableName(names, 'vectors', name),
        records,
      ]);
      return {
        ...rest,
        schema: stableSchema(schema, names, where),
        ...(withoutVector && { withoutVector: Object.fromEntries(missing) }),
      };
    },
    schema: async () => stableSchema(await rawSchema(), names, where),
    fetch: async (ids) => {
      const parts = await store.fetchParts?.(ids);
      if (parts !== undefined && parts.length > 0)
        return concatBatches(parts.map(({ batch, schema }) => asOfRun(batch, schema)));
      const schema = await rawSchema();
      return asOfRun(await store.fetch(ids), schema);
    },
    async *read(range, options) {
      const schema = await rawSchema();
      for await (const piece of store.read(range, options)) {
        const under = piece.schema ?? schema;
        const made: Piece = { batch: asOfRun(piece.batch, under), rest: piece.rest };
        yield plan === undefined
          ? { ...made, schema: stableSchema(under, names, where) }
          : { ...made, schema: plan.source };
      }
    },
    search: async (request: SearchRequest) => {
      const schema = await rawSchema();
      const filter = request.filter?.map((each) => ({ ...each, field: ownName('fields', each.field, schema) }));
      return await store.search({
        ...request,
        vector: ownName('vectors', request.vector, schema),
        ...(filter && { filter }),
      });
    },
    tuning: async (vector) => await store.tuning(ownName('vectors', vector, await rawSchema())),
  };
}
