import { z } from 'zod';
import { InvalidEvent, NotFound } from '../errors.ts';
import { parseAs } from '../event.ts';
import { type CollectionSchema, fieldTypeSchema } from '../schema.ts';
import { type Layout, readLayout } from './pgvector/catalog.ts';
import type { Database, Session } from './pgvector/connect.ts';
import { dropTable } from './pgvector/drop.ts';
import { pastDeadlocks, storeError } from './pgvector/errors.ts';
import { placeLayout } from './pgvector/in-place.ts';
import { columnsNow, placeStore } from './pgvector/in-place-store.ts';
import { type IndexMemory, progressOf, startIndexes, wantedIndexes } from './pgvector/index.ts';
import { indexLayout, isIndexed } from './pgvector/index-side.ts';
import { indexStore } from './pgvector/index-store.ts';
import { keepSettings } from './pgvector/keep.ts';
import { parseTableName, quoteTable, requireTable, type TableName } from './pgvector/names.ts';
import { connect } from './pgvector/open.ts';
import { keepPlaceSchema } from './pgvector/place.ts';
import { prepareTable } from './pgvector/prepare.ts';
import { tableOf } from './pgvector/read.ts';
import {
  heededSettings,
  maxEfSearch,
  maxProbes,
  readServerSettings,
  type SearchContext,
  type ServerSettings,
  searchNearest,
  tuningOf,
} from './pgvector/search.ts';
import {
  deleteRecords,
  describeTable,
  fetchRecords,
  lockToRead,
  planRanges,
  readRange,
  schemaOf,
} from './pgvector/source.ts';
import { fieldValues } from './pgvector/values.ts';
import { viewPointer } from './pgvector/view.ts';
import { type WriteMemory, writeBatch } from './pgvector/write.ts';
import type { Capabilities, Piece, Range, ReadOptions, ResolvedEndpoint, Store, StoreKind } from './port.ts';

/**
 * PostgreSQL with pgvector: a server ({"url": "postgresql://..."}), or PGlite embedded in this process ({"path": directory},
 * for runs on one machine). Data goes in and out by binary COPY.
 */

const optionsSchema = z.strictObject({
  /** Columns of the unique index that identifies a record, where the table has no primary key or another is wanted. */
  key: z.array(z.string()).min(1).optional(),
  /** Connections this process opens at most. */
  maxConnections: z.int().min(1).max(100).default(4),
  /** hnsw.ef_search of searches; left out: the server's, or k where nobody has set that and k is more than its default. */
  efSearch: z.int().min(1).max(maxEfSearch).optional(),
  /** ivfflat.probes of searches. */
  probes: z.int().min(1).max(maxProbes).optional(),
  /** hnsw.iterative_scan and ivfflat.iterative_scan of searches: the index is read on until k rows pass the filter. */
  iterativeScan: z.boolean().optional(),
  /** Rows a second that a run in place fills at most, whoever fills them; left out: as many as go. */
  rowsPerSecond: z.int().min(20).max(1_000_000).optional(),
  /** "database" or "role:NAME": where settings that tuning chose are kept. Left out: nowhere, they are only told. */
  keepSearch: keepPlaceSchema.optional(),
});
type Options = z.infer<typeof optionsSchema>;

const defaultDistance = 'cosine';

/** An index that another process built changes how this one searches, after this time at the latest. */
const layoutMaxAgeMs = 10_000;

/** Limits: pgvector README, "Vector Type", "Half Vector Type", "HNSW"; names are in the source files beside. */
const capabilities: Capabilities = {
  vectorKinds: ['dense', 'sparse'],
  severalVectors: true,
  defaultVectorName: 'embedding',
  distances: ['cosine', 'dot', 'euclid', 'manhattan'],
  defaultDistance,
  // VECTOR_MAX_DIM and HALFVEC_MAX_DIM.
  maxDimension: 16_000,
  // HNSW_MAX_DIM; a halfvec is indexed up to twice as many.
  maxIndexedDimension: { float32: 2000, float16: 4000 },
  precisions: ['float32', 'float16'],
  indexes: ['hnsw', 'ivfflat'],
  searchSettings: heededSettings,
  // Where the endpoint's options say so.
  keepsSearch: true,
  missingVectors: true,
  normalisesCosine: false,
  ids: {
    integer: { min: '-9223372036854775808', max: '9223372036854775807' },
    uuid: true,
    // A btree's row holds 2,704 bytes (BTMaxItemSize); a UTF-16 unit is up to 3 bytes of UTF-8.
    string: { maxLength: 900 },
    composite: true,
  },
  payload: {
    types: fieldTypeSchema.options,
    any: true,
    // A value of jsonb: 255 MiB in all (JENTRY_OFFLENMASK, src/include/utils/jsonb.h).
    maxBytes: 268_435_455,
  },
  insertOnly: true,
  deletes: true,
  drops: true,
  inPlace: true,
  changesIndex: 'beside',
  pointer: 'view',
  reads: 'snapshot',
  // Of a server. {"path": ...} is a directory of this machine, which a deployed function cannot reach.
  localOnly: false,
};

export const pgvector: StoreKind = {
  name: 'pgvector',
  title: 'PostgreSQL with pgvector',
  capabilities,
  open: async ({ connection, collection, options, omitFields = [], place, index }: ResolvedEndpoint) => {
    const settings = parseAs(optionsSchema, options ?? {}, "the options object of store 'pgvector'", InvalidEvent);
    const name = parseTableName(collection);
    const database = await connect(connection, settings.maxConnections).catch((error: unknown) => {
      throw storeError(error, 'opening PostgreSQL');
    });
    return openTable(database, name, settings, { collection, omitFields, place, index });
  },
};

/** What may make an embedded database. */
const preparing = 'preparing';

function openTable(
  database: Database,
  name: TableName,
  options: Options,
  {
    collection,
    omitFields = [],
    place,
    index,
  }: Pick<ResolvedEndpoint, 'collection' | 'omitFields' | 'place' | 'index'>,
): Store {
  /** Columns that the run leaves out are not even asked for: what cannot stand in JSON does no harm there. */
  const readable = (layout: Layout): Layout => ({
    ...layout,
    fields: layout.fields.filter(({ name: field }) => !omitFields.includes(field)),
  });
  /** Reading makes nothing: a path that is wrong is said, and no empty database is left there. */
  const requireDatabase = (): void => {
    if (database.isMissing?.() === true)
      throw new NotFound(`there is no database in the connection's path for table ${quoteTable(name)}`);
  };
  const guard = async <T>(doing: string, work: () => Promise<T>): Promise<T> => {
    try {
      if (doing !== preparing) requireDatabase();
      return await work();
    } catch (error) {
      throw storeError(error, `${doing} table ${quoteTable(name)}`);
    }
  };
  const tableIn = async (session: Session): Promise<Layout> =>
    await readLayout(session, await requireTable(session, name), options.key);
  const layoutIn = async (session: Session): Promise<Layout> => {
    const layout = await tableIn(session);
    if (index !== undefined) return await indexLayout(session, layout, index);
    return place === undefined ? layout : placeLayout(layout, place);
  };
  const withLayout = async <T>(doing: string, work: (session: Session, layout: Layout) => Promise<T>): Promise<T> =>
    await guard(doing, async () => await database.use(async (session) => await work(session, await layoutIn(session))));
  const writes: WriteMemory = { meetsRecords: false };
  const builds: IndexMemory = { failure: undefined };
  let known: { readonly layout: Layout; readonly at: number; readonly columns: string | undefined } | undefined;
  const learn = async (session: Session): Promise<Layout> => {
    const layout = await layoutIn(session);
    const columns = place === undefined ? undefined : await columnsNow(session, layout.oid);
    known = { layout, at: performance.now(), columns };
    return layout;
  };
  /** A search or fetch is one statement, as an application's is: the catalog is not asked again each time. */
  const recentLayout = async (session: Session): Promise<Layout> => {
    const isRecent = known !== undefined && performance.now() - known.at < layoutMaxAgeMs;
    return isRecent && known !== undefined && (await isAsKnown(session)) ? known.layout : await learn(session);
  };
  /** Of a run in place it is asked each time: once its columns are switched the same name is another's. */
  const isAsKnown = async (session: Session): Promise<boolean> =>
    known?.columns === undefined || known.columns === (await columnsNow(session, known.layout.oid));
  let server: ServerSettings | undefined;
  const recentContext = async (session: Session): Promise<SearchContext> => {
    const layout = readable(await recentLayout(session));
    server ??= await readServerSettings(session, options.keepSearch);
    return { layout, server, options, defaultDistance };
  };
  /** Someone may have built an index, or altered the role, since. */
  const freshContext = async (): Promise<SearchContext> => {
    forget();
    return await database.use(recentContext);
  };
  /** Of a write only the table's oid is looked up, so that records never go into a ledger of a table that was dropped. */
  const layoutForWrite = async (session: Session): Promise<Layout> =>
    known?.layout.oid === (await requireTable(session, name)) ? known.layout : await learn(session);
  const forget = (): void => {
    known = undefined;
    server = undefined;
  };
  const changing = async <T>(doing: string, work: (layout: Layout) => Promise<T>): Promise<T> =>
    await guard(doing, async () => {
      try {
        const layout = await database.use(layoutForWrite);
        return await pastDeadlocks(async () => await work(layout));
      } catch (error) {
        // The table may have changed under us; the next try looks again.
        forget();
        throw error;
      }
    });
  const indexes = async (schema: CollectionSchema) => {
    forget();
    const layout = await database.use(layoutIn);
    return { layout, wanted: wantedIndexes(layout, schema, defaultDistance) };
  };

  const store: Store = {
    describe: async () => await withLayout('describing', describeTable),
    schema: async () => await guard('describing', async () => schemaOf(await database.use(recentLayout))),
    count: async () =>
      await withLayout('counting', async (session, layout) => {
        const [row] = await session.rows(`SELECT count(*)::text AS count FROM ${tableOf(layout)}`);
        return Number(row?.['count'] ?? 0);
      }),
    ranges: async ({ records }) =>
      await withLayout('cutting ranges of', async (session, layout) => await planRanges(session, layout, records)),
    read: (range, limits) => readGuarded(range, limits),
    fetch: async (ids) =>
      await guard(
        'fetching records of',
        async () =>
          await database.use(
            async (session) => await fetchRecords(session, readable(await recentLayout(session)), ids),
          ),
      ),
    search: async (request) =>
      await guard('searching', async () => await searchNearest(database, await database.use(recentContext), request)),
    prepare: async (schema) =>
      await guard(preparing, async () => {
        forget();
        await prepareTable(database, name, schema, options.key);
      }),
    write: async (batch, writeOptions) =>
      await changing('writing to', async (layout) => await writeBatch(database, layout, batch, writeOptions, writes)),
    delete: async (ids) =>
      await changing(
        'deleting records of',
        async (layout) => await database.use(async (session) => await deleteRecords(session, layout, ids)),
      ),
    buildIndex: async (schema) =>
      await guard('building the indexes of', async () => {
        const { layout, wanted } = await indexes(schema);
        await startIndexes(database, layout, wanted, builds);
      }),
    indexProgress: async (schema) =>
      await guard('watching the indexes of', async () => {
        const { layout, wanted } = await indexes(schema);
        return await progressOf(database, layout, wanted, builds);
      }),
    values: fieldValues((work) => withLayout('counting the values of', work)),
    pointer: viewPointer(database, guard),
    drop: async ({ dryRun = false } = {}) =>
      database.isMissing?.() === true
        ? { name: collection, what: `table ${quoteTable(name)}`, isThere: false }
        : await guard('dropping', async () => {
            forget();
            return await dropTable(database, name, { collection, dryRun });
          }),
    tuning: async (vector) =>
      await guard('reading the search settings of', async () => tuningOf(await freshContext(), vector)),
    keepSearch: async (vector, wanted, how) =>
      await guard('keeping search settings of', async () => {
        const where = { ...how, place: options.keepSearch };
        const said = await keepSettings(database, await freshContext(), vector, wanted, where);
        forget();
        return said;
      }),
    close: async () => {
      await database.close();
    },
  };
  if (index !== undefined) {
    const readIndexed = async (session: Session) => await indexLayout(session, await tableIn(session), index);
    const context = async (session: Session) => {
      const { layout, ...known } = await recentContext(session);
      return { ...known, layout: isIndexed(layout) ? layout : await readIndexed(session) };
    };
    return indexStore({ store, database, name, readIndexed, context, guard, forget, defaultDistance });
  }
  if (place === undefined) return store;
  const readPlaced = async (session: Session) => placeLayout(await tableIn(session), place);
  const { rowsPerSecond } = options;
  return placeStore({ store, database, name, readPlaced, guard, forget, rowsPerSecond, defaultDistance });

  async function* readGuarded(range: Range, limits: ReadOptions): AsyncIterable<Piece> {
    try {
      requireDatabase();
      const lock = await database.use(async (session) =>
        database.embedded ? undefined : await lockToRead(session, await requireTable(session, name), quoteTable(name)),
      );
      const layouts = async (session: Session) => {
        const layout = await layoutIn(session);
        return { layout, readable: readable(layout) };
      };
      yield* readRange(database, { layouts, lock }, range, limits);
    } catch (error) {
      throw storeError(error, `reading table ${quoteTable(name)}`);
    }
  }
}
