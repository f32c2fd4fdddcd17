import type { Connection, Table } from '@lancedb/lancedb';
import { z } from 'zod';
import { type Batch, noRecords, selectRecords } from '../../batch.ts';
import { InvalidEvent, RecordRefused, StoreUnavailable } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { readListed } from '../pieces.ts';
import type { Description, Hit, Piece, PlannedRange, Range, ReadOptions, SearchRequest } from '../port.ts';
import { isIntegerId } from './columns.ts';
import { guard } from './errors.ts';
import type { FilterWriter } from './filter.ts';
import { lanceDistance, payloadIndexes, withIndex } from './index.ts';
import { type Layout, layoutOf, restColumn } from './layout.ts';
import type { Options } from './options.ts';
import { cellText, childOf, toBatch } from './rows.ts';
import { applySettings, currentSettings, vectorOf } from './tuning.ts';

/** Reading LanceDB tables: describing, fetching, searching, and ranges of sorted ids within one table version. */

/** Records whose ids are sorted in memory at a time while a range is read. */
const idsPerStep = 65_536;
/** Records taken at once: 2,000 instead of 20,000 halve the memory of a read (270 MB against 470) and are no slower. */
const recordsPerTake = 2_000;
/** Records whose payloads are measured for a description. */
const sampleSize = 200;

export async function describe(table: Table, layout: Layout, options: Options): Promise<Description> {
  const count = await table.countRows();
  const sample = toBatch(await table.query().select(columnsOf(layout)).limit(sampleSize).toArrow(), layout);
  const bytes = sample.payloads.reduce((sum, payload) => sum + payload.length, 0);
  const withoutVector: Record<string, number> = {};
  for (const { column, spec } of layout.vectors) {
    const missing = await table.countRows(`${quote(column)} IS NULL`);
    if (missing > 0) withoutVector[spec.name] = missing;
  }
  const vectors = await Promise.all(
    layout.vectors.map(({ column, spec }) => withIndex(table, column, spec, layout, options)),
  );
  return {
    schema: {
      ...layout.schema,
      vectors,
      ...(layout.isOurs ? {} : { payloadIndexes: await payloadIndexes(table, layout) }),
    },
    count,
    payloadBytes: sample.count === 0 ? 0 : bytes / sample.count,
    ...(Object.keys(withoutVector).length > 0 ? { withoutVector } : {}),
  };
}

export async function fetchRecords(table: Table, layout: Layout, ids: readonly string[]): Promise<Batch> {
  const where = isOneOf(layout, ids);
  if (where === undefined) return noRecords(layout.vectors.map(({ spec }) => spec));
  const found = await table.query().where(where).select(columnsOf(layout)).toArrow();
  return toBatch(found, layout);
}

/** True for the records with these ids, in SQL; undefined when the table can have none of them. */
export function isOneOf(layout: Layout, ids: readonly string[]): string | undefined {
  const literals = ids.flatMap((id) => literal(layout, id) ?? []);
  return literals.length === 0 ? undefined : `${quote(layout.idColumn)} IN (${literals.join(', ')})`;
}

function columnsOf(layout: Layout): string[] {
  const columns = [
    layout.idColumn,
    ...layout.vectors.map(({ column }) => column),
    ...layout.fields.map(({ name }) => name),
  ];
  return layout.isOurs ? [...columns, restColumn] : columns;
}

/** An id in SQL; undefined where ids are integers and this is none. */
function literal(layout: Layout, id: string): string | undefined {
  if (!layout.isIntegerId) return `'${id.replaceAll("'", "''")}'`;
  return isIntegerId(id) ? id : undefined;
}

function quote(column: string): string {
  return `\`${column}\``;
}

export async function search(
  table: Table,
  layout: Layout,
  request: SearchRequest,
  options: Options,
  filters: FilterWriter,
): Promise<readonly Hit[]> {
  const { query, k, exact, filter = [], settings } = request;
  const vector = vectorOf(table, layout, request.vector);
  const spec = await withIndex(table, vector.column, vector.spec, layout, options);
  const asked = applySettings(
    table.vectorSearch(query).column(vector.column).distanceType(lanceDistance(spec)),
    { ...currentSettings(spec, options), ...settings },
    k,
  );
  if (exact === true) asked.bypassVectorIndex();
  if (filter.length > 0) asked.where(await filters.sql(table, layout, filter));
  const found = await asked.limit(k).select([layout.idColumn, '_distance']).toArrow();
  return found.batches.flatMap(({ data }) =>
    Array.from({ length: data.length }, (_, at) => ({
      id: cellText(childOf(data, 0), at),
      score: Number(childOf(data, 1).values[at]),
    })),
  );
}

/**
 * A bound carries the table version that the ranges were cut from, so all ranges of a run are one snapshot, as long as
 * nobody cleans the version up (LanceDB keeps versions seven days unless told otherwise).
 */
const boundSchema = z.strictObject({ version: z.int().nonnegative(), id: z.string() });

function boundText(version: number, id: string): string {
  return JSON.stringify({ version, id });
}

function parseBound(text: string | null): z.infer<typeof boundSchema> | undefined {
  return text === null
    ? undefined
    : parseAs(boundSchema, JSON.parse(text), 'the bound of a LanceDB range', InvalidEvent);
}

/** One pass over the sorted ids (ids alone, streamed): exact cuts, and the proof that no id is missing or there twice. */
export async function cutRanges(table: Table, layout: Layout, records: number): Promise<readonly PlannedRange[]> {
  const version = await table.version();
  const nameless = await table.countRows(`${quote(layout.idColumn)} IS NULL`);
  if (nameless > 0)
    throw new RecordRefused(`${nameless} records of table '${table.name}' have no id; delete them or give them one`);
  const cuts: string[] = [];
  let total = 0;
  let last: string | undefined;
  for await (const { data } of table.query().select([layout.idColumn]).orderBy({ columnName: layout.idColumn })) {
    const ids = childOf(data, 0);
    for (let at = 0; at < data.length; at++) {
      const id = cellText(ids, at);
      if (id === last) throw repeatedId(table.name, id);
      if (total > 0 && total % records === 0) cuts.push(boundText(version, id));
      last = id;
      total++;
    }
  }
  const bounds = [null, ...cuts, null];
  return bounds
    .slice(1)
    .map((to, at) => ({ from: bounds[at] ?? null, to, records: Math.min(records, total - at * records) }));
}

function repeatedId(table: string, id: string): RecordRefused {
  return new RecordRefused(
    `table '${table}' has more than one record with id '${id}'; LanceDB does not hold ids unique, and a move needs them to be`,
    { ids: [id] },
  );
}

/** Ranges of the same ids in the version that the table has now. */
export async function renewRanges(table: Table): Promise<(range: Range) => Range> {
  const version = await table.version();
  const renewed = (text: string | null): string | null => {
    const bound = parseBound(text);
    return bound === undefined ? null : boundText(version, bound.id);
  };
  return ({ from, to }) => ({ from: renewed(from), to: renewed(to) });
}

export async function* readRange(
  database: Connection,
  name: string,
  range: Range,
  limits: ReadOptions,
  options: Options,
): AsyncGenerator<Piece> {
  const [from, to] = [parseBound(range.from), parseBound(range.to)];
  const asked = from?.version ?? to?.version;
  const table = await guard(`opening ${asked === undefined ? '' : `version ${asked} of `}table '${name}'`, () =>
    database.openTable(name, undefined, asked === undefined ? {} : { version: asked }),
  );
  try {
    const version = asked ?? (await guard(`reading the version of table '${name}'`, () => table.version()));
    if (asked === undefined)
      await guard(`holding version ${version} of table '${name}'`, () => table.checkout(version));
    const layout = await guard(`describing table '${name}'`, async () =>
      layoutOf(await table.schema(), name, options.id),
    );
    let next: string | undefined = from?.id;
    do {
      const step: Step = await guard(`reading ids of table '${name}'`, () => readIds(table, layout, next, to?.id));
      const pieces = readListed({
        ids: step.ids,
        limits: { ...limits, maxRecords: Math.min(limits.maxRecords, recordsPerTake) },
        fetch: (start, end) =>
          guard(`reading table '${name}'`, () =>
            takeRecords(table, layout, step.ids.slice(start, end), step.rows.slice(start, end)),
          ),
        rest: (id = step.next) => (id === undefined ? null : { from: boundText(version, id), to: range.to }),
      });
      for await (const piece of pieces) yield { ...piece, schema: layout.schema };
      next = step.next;
    } while (next !== undefined);
  } finally {
    table.close();
  }
}

interface Step {
  readonly ids: readonly string[];
  /** Lance's address of each record in this version. */
  readonly rows: readonly bigint[];
  /** The first id after these; undefined at the range's end. */
  readonly next: string | undefined;
}

async function readIds(table: Table, layout: Layout, from: string | undefined, to: string | undefined): Promise<Step> {
  const column = quote(layout.idColumn);
  const conditions = [
    from === undefined ? undefined : `${column} >= ${literal(layout, from)}`,
    to === undefined ? undefined : `${column} < ${literal(layout, to)}`,
  ].filter((condition) => condition !== undefined);
  const query = table.query().select([layout.idColumn]).withRowId();
  if (conditions.length > 0) query.where(conditions.join(' AND '));
  // One more than a step, to see whether it is the last and whether an id goes on beyond it.
  const found = await query
    .orderBy({ columnName: layout.idColumn })
    .limit(idsPerStep + 1)
    .toArrow();
  const ids: string[] = [];
  const rows: bigint[] = [];
  for (const { data } of found.batches) {
    const [idData, rowData] = [childOf(data, 0), childOf(data, 1)];
    for (let at = 0; at < data.length; at++) {
      const id = cellText(idData, at);
      if (id === ids.at(-1)) throw repeatedId(table.name, id);
      ids.push(id);
      rows.push(BigInt(rowData.values[at]));
    }
  }
  return { ids: ids.slice(0, idsPerStep), rows, next: ids[idsPerStep] };
}

/** The records with these ids, in this order. */
async function takeRecords(
  table: Table,
  layout: Layout,
  ids: readonly string[],
  rows: readonly bigint[],
): Promise<Batch> {
  const batch = toBatch(await table.takeRowIds(rows).select(columnsOf(layout)).toArrow(), layout);
  if (ids.length === batch.count && ids.every((id, at) => id === batch.ids[at])) return batch;
  const positions = new Map(batch.ids.map((id, at) => [id, at]));
  return selectRecords(
    batch,
    ids.map((id) => {
      const at = positions.get(id);
      if (at === undefined)
        throw new StoreUnavailable(`LanceDB left out record '${id}' of table '${table.name}', which it had listed`);
      return at;
    }),
  );
}
