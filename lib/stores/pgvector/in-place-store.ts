import { Incompatible } from '../../errors.ts';
import type { CollectionSchema, Distance } from '../../schema.ts';
import type { Store } from '../port.ts';
import type { Database, Session } from './connect.ts';
import type { PlacedLayout } from './in-place.ts';
import { checkPlace } from './in-place-check.ts';
import { lackingIndex } from './in-place-lacking.ts';
import { preparePlace } from './in-place-prepare.ts';
import { dropPlace, placePointer } from './in-place-switch.ts';
import { readLacking, writePlace } from './in-place-write.ts';
import { type IndexMemory, progressOf, startIndexes, type WantedIndex, wantedIndexes } from './index.ts';
import type { TableName } from './names.ts';

/** A table as a run in place has it: what it does otherwise than a table of its own. */

export interface PlaceInput {
  readonly store: Store;
  readonly database: Database;
  readonly name: TableName;
  /** The table as it is now, as the run's side sees it. */
  readonly readPlaced: (session: Session) => Promise<PlacedLayout>;
  readonly guard: <T>(doing: string, work: () => Promise<T>) => Promise<T>;
  readonly forget: () => void;
  readonly rowsPerSecond: number | undefined;
  readonly defaultDistance: Distance;
}

export function placeStore(input: PlaceInput): Store {
  const { store, database, name, readPlaced, guard, forget, rowsPerSecond } = input;
  const builds: IndexMemory = { failure: undefined };
  const wanted = async (schema: CollectionSchema): Promise<readonly [PlacedLayout, readonly WantedIndex[]]> => {
    const layout = await database.use(readPlaced);
    return [layout, wantedInPlace(layout, schema, input.defaultDistance)];
  };
  return {
    ...store,
    prepare: async (schema) =>
      await guard('preparing', async () => {
        await preparePlace(database, name, schema, readPlaced);
        forget();
      }),
    write: async (batch) =>
      await guard('filling', async () => {
        const layout = await database.use(readPlaced);
        return await writePlace(database, layout, batch, { rowsPerSecond });
      }),
    delete: async () => {
      throw new Incompatible('a run in place deletes no records: its target is the source', { ids: [name.table] });
    },
    buildIndex: async (schema) =>
      await guard('building the indexes of', async () => {
        const [layout, indexes] = await wanted(schema);
        if (indexes.length > 0) await startIndexes(database, layout, indexes, builds);
        forget();
      }),
    indexProgress: async (schema) =>
      await guard('watching the indexes of', async () => {
        const [layout, indexes] = await wanted(schema);
        if (indexes.length === 0) return { done: true, fraction: 1 };
        return await progressOf(database, layout, indexes, builds);
      }),
    pointer: placePointer({ database, name, readPlaced }, guard, forget),
    place: {
      check: async (schema, options) =>
        await guard('looking at', async () => await checkPlace({ database, readPlaced, schema, options })),
      lacking: async (after, limit) =>
        await guard(
          'reading what is missing of',
          async () =>
            await database.use(async (session) => await readLacking(session, await readPlaced(session), after, limit)),
        ),
    },
    drop: async ({ dryRun = false } = {}) =>
      await guard('dropping a column of', async () => {
        forget();
        return await dropPlace({ database, name, readPlaced }, { dryRun });
      }),
  };
}

/**
 * Of the vector that is made alone: the table's other indexes are there. Beside it an index of the rows that lack it, by which the
 * switch sees at once that there are none. Before the switch only, and nothing of a column that was there.
 */
function wantedInPlace(layout: PlacedLayout, schema: CollectionSchema, distance: Distance): readonly WantedIndex[] {
  const { placed } = layout;
  if (placed.state === 'fill' || placed.state === 'switched') return [];
  const vectors = schema.vectors.filter(({ name }) => name === placed.vector);
  const indexes = wantedIndexes(layout, { ...schema, vectors, payloadIndexes: [] }, distance);
  return [lackingIndex(layout), ...indexes.map(concurrently)];
}

const concurrently = ({ name, sql }: WantedIndex): WantedIndex => ({
  name,
  sql: sql.replace('CREATE INDEX ', 'CREATE INDEX CONCURRENTLY IF NOT EXISTS '),
  isConcurrent: true,
});

/** The names and numbers of the table's columns: both change when columns are added or renamed. */
export async function columnsNow(session: Session, oid: string): Promise<string> {
  const [row] = await session.rows(
    `SELECT string_agg(attnum || ' ' || attname, ', ' ORDER BY attnum)::text AS columns FROM pg_attribute
     WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped`,
    [oid],
  );
  return row?.['columns'] ?? '';
}
