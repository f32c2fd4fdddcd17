import { z } from 'zod';
import { collectionSchema } from '../../schema.ts';

/**
 * What brings a store to what a collection file says, as data: a list of actions, each of which may be repeated without harm. The same form
 * takes it back, and is what the history keeps.
 */

const collection = z.string();
const body = z.record(z.string(), z.unknown());

/** A record as a file or the store gave it. The payload is JSON text, so that no digit is lost. */
const recordSchema = z.strictObject({
  id: z.string(),
  vectors: z.record(
    z.string(),
    z.union([
      z.array(z.number()),
      z.strictObject({ indices: z.array(z.number()), values: z.array(z.number()) }),
      z.array(z.array(z.number())),
    ]),
  ),
  payload: z.string(),
});
export type SeedRecord = z.infer<typeof recordSchema>;

export const actionSchema = z.discriminatedUnion('do', [
  /** Makes a Qdrant collection. `body` is that of PUT /collections/NAME. */
  z.strictObject({ do: z.literal('create'), collection, body }),
  /** The body of PATCH /collections/NAME. */
  z.strictObject({ do: z.literal('change'), collection, body }),
  /** Makes a collection of another store through its port. */
  z.strictObject({ do: z.literal('prepare'), collection, schema: collectionSchema }),
  z.strictObject({ do: z.literal('buildIndex'), collection, schema: collectionSchema }),
  /** SQL of pgvector: statements that are safe to repeat. */
  z.strictObject({ do: z.literal('sql'), collection, statements: z.array(z.string()) }),
  z.strictObject({ do: z.literal('indexPayload'), collection, field: z.string(), schema: z.unknown() }),
  z.strictObject({ do: z.literal('dropPayloadIndex'), collection, field: z.string() }),
  /** All at once. null: the alias goes. */
  z.strictObject({
    do: z.literal('moveAliases'),
    moves: z.array(z.strictObject({ alias: z.string(), to: z.string().nullable() })),
  }),
  z.strictObject({ do: z.literal('upsert'), collection, records: z.array(recordSchema) }),
  z.strictObject({ do: z.literal('delete'), collection, ids: z.array(z.string()) }),
  z.strictObject({ do: z.literal('dropCollection'), collection }),
  /** The main job, from `collection` to `to`; it moves `pointer` there once it is validated. */
  z.strictObject({
    do: z.literal('copy'),
    collection,
    to: z.string(),
    pointer: z.string(),
    run: z.string(),
    event: body,
  }),
  /** A copy's readers go back. */
  z.strictObject({ do: z.literal('takeBack'), run: z.string(), pointer: z.string(), from: z.string(), to: z.string() }),
  z.strictObject({ do: z.literal('wait'), collection }),
]);
export type Action = z.infer<typeof actionSchema>;

/** How a migration is taken back: what the history keeps, as JSON text. */
export const rollbackSchema = z.strictObject({
  format: z.literal(1),
  store: z.string(),
  actions: z.array(actionSchema),
  /** What taking it back does not bring back. */
  notes: z.array(z.string()),
});
export type Rollback = z.infer<typeof rollbackSchema>;

export interface Planned {
  readonly action: Action;
  /** For people: the request, and what comes of it. */
  readonly line: string;
}

export interface CollectionPlan {
  readonly steps: readonly Planned[];
  /** In the order they are carried out; undefined: only a backup brings back what goes. */
  readonly inverse: readonly Action[] | undefined;
  readonly notes: readonly string[];
  /** What searches find otherwise afterwards, which no step measures. */
  readonly unvalidated: readonly string[];
}

/** What a person reads of an action. @param why what comes of it */
export function lineOf(action: Action, why?: string): string {
  const said = requestOf(action);
  return why === undefined ? said : `${said}: ${why}`;
}

function requestOf(action: Action): string {
  switch (action.do) {
    case 'create':
      return `PUT collections/${action.collection} ${JSON.stringify(action.body)}`;
    case 'change':
      return `PATCH collections/${action.collection} ${Object.entries(action.body)
        .map(([part, value]) => `${part} ${JSON.stringify(value)}`)
        .join(', ')}`;
    case 'prepare':
      return `create ${action.collection}: ${JSON.stringify(action.schema.vectors.map(({ name, dimension, distance }) => ({ name, dimension, distance })))}`;
    case 'buildIndex':
      return `build the indexes of ${action.collection}`;
    case 'sql':
      return action.statements.join('; ');
    case 'indexPayload':
      return `PUT collections/${action.collection}/index {"field_name": "${action.field}", "field_schema": ${JSON.stringify(action.schema)}}`;
    case 'dropPayloadIndex':
      return `DELETE collections/${action.collection}/index/${action.field}`;
    case 'moveAliases':
      return `move at once: ${action.moves.map(({ alias, to }) => (to === null ? `alias ${alias} goes` : `alias ${alias} -> ${to}`)).join(', ')}`;
    case 'upsert':
      return `upsert ${action.records.length} records into ${action.collection}: ${firstOf(action.records.map(({ id }) => id))}`;
    case 'delete':
      return `delete ${action.ids.length} records of ${action.collection}: ${firstOf(action.ids)}`;
    case 'dropCollection':
      return `DELETE collections/${action.collection}`;
    case 'copy':
      return `run ${action.run}: copy ${action.collection} to ${action.to}, validate it, move alias ${action.pointer} there`;
    case 'takeBack':
      return `take back run ${action.run}: alias ${action.pointer} -> ${action.to}`;
    case 'wait':
      return `wait until ${action.collection} has no more to optimize`;
  }
}

function firstOf(ids: readonly string[]): string {
  const some = ids.slice(0, 5).join(', ');
  return ids.length > 5 ? `${some} and ${ids.length - 5} more` : some;
}
