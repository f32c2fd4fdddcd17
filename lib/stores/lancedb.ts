import { resolve } from 'node:path';
import { type Connection, connect, type Table } from '@lancedb/lancedb';
import type { Schema } from 'apache-arrow';
import { z } from 'zod';
import type { Batch } from '../batch.ts';
import { Incompatible, InvalidEvent, NotFound, StoreUnavailable } from '../errors.ts';
import { parseAs } from '../event.ts';
import type { CollectionSchema, VectorSpec } from '../schema.ts';
import { guard } from './lancedb/errors.ts';
import { filterWriter } from './lancedb/filter.ts';
import { buildIndex, defaultDistance, indexProgress, withIndex } from './lancedb/index.ts';
import { arrowSchema, type Layout, layoutOf } from './lancedb/layout.ts';
import { type Options, optionsSchema } from './lancedb/options.ts';
import { cutRanges, describe, fetchRecords, isOneOf, readRange, renewRanges, search } from './lancedb/read.ts';
import { flagsLeftOut, toArrow } from './lancedb/rows.ts';
import { saidBySearch, tuningOf, vectorOf } from './lancedb/tuning.ts';
import type { Capabilities, ResolvedEndpoint, Store, StoreKind, WriteOptions } from './port.ts';
import { refuseSettings } from './search-settings.ts';

/**
 * LanceDB, embedded: tables in a directory or an object store. A write is one merge on the id, which is the table's
 * (unenforced) primary key: Lance then sees two writers that insert the same id as a conflict and lets one try again.
 * `add` runs at 1.15 to 1.35 times the rate of a merge (100,000 records of 384 dimensions), but repeats the records when a
 * message is delivered twice, so there is no separate path for a first load.
 */

const capabilities: Capabilities = {
  vectorKinds: ['dense'],
  severalVectors: true,
  defaultVectorName: 'vector',
  distances: ['cosine', 'dot', 'euclid'],
  defaultDistance,
  // No limit is documented; this one is ours.
  maxDimension: 65_536,
  precisions: ['float32', 'float16'],
  indexes: ['hnsw', 'ivfflat'],
  searchSettings: ['efSearch', 'probes', 'rescore', 'oversampling'],
  keepsSearch: false,
  missingVectors: true,
  normalisesCosine: false,
  ids: {
    integer: { min: '-9223372036854775808', max: '9223372036854775807' },
    uuid: true,
    // Text has no limit of its own; this one is ours.
    string: { maxLength: 65_536 },
    composite: false,
  },
  payload: {
    // json and list stay in the JSON column.
    types: ['boolean', 'integer', 'float', 'decimal', 'text', 'uuid', 'timestamp', 'date', 'time', 'bytes'],
    any: true,
    // Offsets of an Arrow text column are 32 bits wide.
    maxBytes: 2 ** 31 - 1,
  },
  insertOnly: true,
  deletes: true,
  drops: true,
  inPlace: false,
  changesIndex: false,
  pointer: false,
  reads: 'snapshot',
  localOnly: true,
};

export const lancedb: StoreKind = {
  name: 'lancedb',
  title: 'LanceDB',
  capabilities,
  open: async (endpoint) => openLance(endpoint),
};

async function openLance({ connection, collection, options }: ResolvedEndpoint): Promise<Store> {
  const settings = parseAs(optionsSchema, options, "the options object of store 'lancedb'", InvalidEvent);
  const uri = connection.path === undefined ? connection.url : resolve(connection.path);
  if (uri === undefined)
    throw new InvalidEvent('the lancedb store needs connection {"path": DIRECTORY} or {"url": "s3://bucket/prefix"}');
  if (uri.startsWith('db://'))
    throw new InvalidEvent('LanceDB Cloud (db://) is not supported; only tables in a directory or an object store are');
  const { storageOptions } = connection;
  const storage = z.record(z.string(), z.string()).optional().safeParse(storageOptions);
  if (!storage.success)
    throw new InvalidEvent('connection.storageOptions of the lancedb store is an object of strings');
  // Interval 0: a handle sees at once what another one has written.
  const database = await guard(`opening ${uri}`, () =>
    connect(uri, {
      readConsistencyInterval: 0,
      ...(storage.data === undefined ? {} : { storageOptions: storage.data }),
    }),
  );
  return lanceStore(database, collection, settings);
}

function lanceStore(database: Connection, name: string, options: Options): Store {
  const filters = filterWriter();
  let opened: Table | undefined;
  /** Lance retries writers that meet, each time from the start; writers of one process queue up instead. */
  let lastWrite: Promise<unknown> = Promise.resolve();
  const table = async (): Promise<Table> => {
    opened ??= await guard(`opening table '${name}'`, () => database.openTable(name));
    return opened;
  };
  const inTurn = async <T>(write: () => Promise<T>): Promise<T> => {
    const turn = lastWrite.then(write, write);
    lastWrite = turn.catch(() => undefined);
    return await turn;
  };
  const run = <T>(what: string, call: (table: Table, layout: Layout) => Promise<T>): Promise<T> =>
    guard(`${what} of table '${name}'`, async () => {
      const found = await table();
      return await call(found, layoutOf(await found.schema(), name, options.id));
    });
  return {
    describe: () => run('describing', (found, layout) => describe(found, layout, options)),
    schema: () => run('describing', async (_, layout) => layout.schema),
    count: () => run('counting', (found) => found.countRows()),
    fetch: (ids) => run('fetching records', (found, layout) => fetchRecords(found, layout, ids)),
    search: async (request) => {
      refuseSettings(request.settings, capabilities.searchSettings, lancedb.title);
      return await run('searching', (found, layout) => search(found, layout, request, options, filters));
    },
    ranges: ({ records }) => run('cutting ranges', (found, layout) => cutRanges(found, layout, records)),
    renew: () => run('reading the version', (found) => renewRanges(found)),
    read: (range, limits) => readRange(database, name, range, limits, options),
    prepare: (schema) => guard(`creating table '${name}'`, () => prepare(database, name, schema, options)),
    write: (batch, settings) => inTurn(() => run('writing', (found, layout) => write(found, layout, batch, settings))),
    delete: (ids) => inTurn(() => run('deleting records', (found, layout) => deleteRecords(found, layout, ids))),
    buildIndex: (schema) =>
      inTurn(() => run('indexing', (found, layout) => buildIndex(found, layout, schema, options))),
    indexProgress: (schema) =>
      run('watching the index', (found, layout) => indexProgress(found, layout, schema, options)),
    tuning: (name) =>
      run('asking for the index', async (found, layout) => {
        const vector = vectorOf(found, layout, name);
        const spec = await withIndex(found, vector.column, vector.spec, layout, options);
        return await tuningOf(found, vector, spec, options);
      }),
    keepSearch: async (_, settings) => saidBySearch(settings),
    drop: ({ dryRun = false } = {}) =>
      inTurn(async () => {
        const bytes = await sizeOf(database, name);
        const isThere = bytes !== undefined;
        if (isThere && !dryRun) {
          opened?.close();
          opened = undefined;
          await guard(`dropping table '${name}'`, () => database.dropTable(name)).catch(ignoreAbsent);
        }
        return { name, what: `LanceDB table '${name}'`, isThere, ...(isThere && { bytes }) };
      }),
    close: async () => {
      opened?.close();
      database.close();
    },
  };
}

async function prepare(database: Connection, name: string, schema: CollectionSchema, options: Options): Promise<void> {
  const arrow = arrowSchema(schema);
  const table = await createOrOpen(database, name, arrow);
  try {
    const layout = layoutOf(await table.schema(), name, options.id);
    const there = layout.vectors.map(({ spec }) => shapeText(spec)).sort();
    const asked = schema.vectors.map(shapeText).sort();
    if (there.join() !== asked.join() || layout.isIntegerId !== (schema.idType === 'integer'))
      throw new Incompatible(
        `table '${name}' is there with ${layout.isIntegerId ? 'integer' : 'text'} ids and vectors ${there.join(', ') || '(none)'}; the run needs ${schema.idType} ids and ${asked.join(', ') || '(none)'}. Name another table or drop this one`,
      );
    // Lance finds two writers of one id by the primary key; it is set once and stays.
    if (layout.isOurs && (await table.countRows()) === 0)
      await table.setUnenforcedPrimaryKey(layout.idColumn).catch(ignoreAlreadySet);
  } finally {
    table.close();
  }
}

/** Another importer may create the table at the same moment, so it is opened only after creating it was refused. */
async function createOrOpen(database: Connection, name: string, arrow: Schema): Promise<Table> {
  try {
    return await database.createEmptyTable(name, arrow);
  } catch (error) {
    if (!/already exists/.test(String(error))) throw error;
    return await database.openTable(name);
  }
}

/** Bytes of data and indexes; undefined where there is no such table. */
async function sizeOf(database: Connection, name: string): Promise<number | undefined> {
  try {
    const table = await guard(`opening table '${name}'`, () => database.openTable(name));
    const { totalBytes } = await guard(`measuring table '${name}'`, () => table.stats());
    table.close();
    return totalBytes;
  } catch (error) {
    ignoreAbsent(error);
    return undefined;
  }
}

function ignoreAbsent(error: unknown): void {
  if (!(error instanceof NotFound)) throw error;
}

function ignoreAlreadySet(error: unknown): void {
  if (!/primary key/i.test(String(error)) || !/already|exist|set/i.test(String(error))) throw error;
}

function shapeText({ name, dimension, precision }: VectorSpec): string {
  return `'${name}' of ${dimension} dimensions in ${precision}`;
}

async function write(
  table: Table,
  layout: Layout,
  batch: Batch,
  { mode }: WriteOptions,
): Promise<{ readonly written: number }> {
  if (batch.count === 0) return { written: 0 };
  const arrow = await table.schema();
  const data = toArrow(batch, layout, arrow);
  const merge = table.mergeInsert(layout.idColumn);
  if (mode === 'insert') {
    await merge.whenNotMatchedInsertAll().execute(data);
    return { written: batch.count };
  }
  const done = await merge.whenMatchedUpdateAll().whenNotMatchedInsertAll().execute(data);
  const written = done.numInsertedRows + done.numUpdatedRows;
  if (written < batch.count)
    throw new StoreUnavailable(
      `LanceDB acknowledged ${written} of ${batch.count} records written to table '${table.name}'`,
    );
  if (done.numUpdatedRows > 0) await clearFlags(table, layout, batch.ids, flagsLeftOut(arrow, data));
  return { written: batch.count };
}

async function deleteRecords(table: Table, layout: Layout, ids: readonly string[]): Promise<void> {
  const where = isOneOf(layout, ids);
  if (where !== undefined) await table.delete(where);
}

/** Takes the old value away where replaced records had one. A write cut off before this comes again, and does it then. */
async function clearFlags(
  table: Table,
  layout: Layout,
  ids: readonly string[],
  columns: readonly string[],
): Promise<void> {
  const where = isOneOf(layout, ids);
  if (where === undefined) return;
  for (const column of columns) {
    const isStale = `\`${column}\` IS NOT NULL AND ${where}`;
    if ((await table.countRows(isStale)) > 0)
      await table.update({ where: isStale, valuesSql: { [column]: 'cast(NULL as boolean)' } });
  }
}
