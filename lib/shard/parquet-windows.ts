import type { RecordBatch } from 'apache-arrow';
import {
  asStruct,
  columnOf,
  columnsOf,
  inChunk,
  inColumn,
  inFile,
  inGroup,
  integer,
  list,
  startOf,
} from './parquet-meta.ts';
import {
  blankPage,
  type DataPage,
  type FileBytes,
  type Leaf,
  type LeafPages,
  leavesOf,
  memoryOf,
  type PageScan,
  scanPages,
} from './parquet-pages.ts';
import { readParquet } from './parquet-wasm.ts';
import type { ThriftStruct, ThriftValue } from './thrift.ts';

/**
 * A row group in parts. Pages of different columns end at different records, so a part is a file of its own with those pages of each
 * column that hold its records; columns that begin later than others are filled up with a page of blanks, and what stands before
 * the first record is skipped by the reader, unread. Every value is decoded by it from the page as it lies in the file.
 */

export interface Windows {
  /** The records of a group from `from` on, in parts. @throws RangeError when the pages are not those of the group; PageTooLarge */
  read(options: WindowOptions): AsyncGenerator<{ readonly start: number; readonly batches: readonly RecordBatch[] }>;
}

export interface WindowOptions {
  /** Number of the first record wanted, within the group. */
  readonly from: number;
  /** Top-level columns; left out: all. */
  readonly columns?: readonly string[];
  /** Bytes that a part's values take about: at least a quarter of a page, and what of the other columns goes with it. */
  readonly maxBytes: number;
  /** A page of more than this is not read. */
  readonly maxPageBytes: number;
}

/** A part's records, at most: of texts in a dictionary no more than the average length is known. */
const maxRecords = 65_536;

/** A page is read as one, by any reader. */
export class PageTooLarge extends RangeError {}

/**
 * @param group its metadata @param file the file's metadata
 * @param assemble makes a file of pages, from the fourth byte on, and metadata
 */
export function openWindows(
  bytes: FileBytes,
  file: ThriftStruct,
  group: ThriftStruct,
  assemble: (pages: readonly Uint8Array[], file: ThriftStruct) => Uint8Array,
): Windows {
  const records = integer(group, inGroup.records);
  const leaves = leavesOf(list(file, inFile.schema).map(asStruct));
  const columns = columnsOf(group);
  // Numbers alone, kept while the file is open: every range of it asks for them.
  const found = new Map<number, PageScan>();
  const scanAt = (at: number): PageScan => {
    const [leaf, column] = [leaves[at], columns[at]];
    if (leaf === undefined || column === undefined)
      throw new RangeError('a row group has other columns than the schema');
    const made = found.get(at) ?? scanPages(bytes, leaf, column, records);
    found.set(at, made);
    return made;
  };
  return {
    async *read({ from, columns: names, maxBytes, maxPageBytes }) {
      const wanted = leaves.flatMap(({ field }, at) => (names === undefined || names.includes(field) ? [at] : []));
      const tables = wanted.map(scanAt);
      for (let start = from; start < records; ) {
        const end = await endOf(tables, start, records, maxBytes);
        for (const each of tables) {
          await each.reach(end);
          refuseLarge(each, maxPageBytes);
        }
        const spans = new Map(wanted.map((at, index) => [at, spanIn(tables[index], start, end)]));
        // Values of a record that began earlier fall to the last blank: where a page begins with such, there is one.
        const before = Math.max(0, ...[...spans.values()].map((span) => span.before + (span.isContinued ? 1 : 0)));
        const read = async (blanks: number, skips: boolean): Promise<readonly RecordBatch[]> => {
          const all = blanks + end - start;
          const part = await makePart({ bytes, leaves, columns, spans, before: blanks, records: all });
          const footer = withPart(file, group, list(group, inGroup.chunks).map(asStruct), part, all);
          const options = names === undefined ? {} : { columns: names };
          const made = assemble(part.pages, footer);
          if (skips)
            return readParquet(made, { batchRecords: end - start, offset: blanks, limit: end - start, ...options });
          return readParquet(made, { batchRecords: blanks, ...options, limit: all }).slice(1);
        };
        const batches = await read(before, true).catch((error: unknown) => {
          if (!cannotSkip(error)) throw error;
          // As many blanks as records at least: the first batch holds what is passed over, and nothing else.
          return read(Math.max(before, end - start), false);
        });
        const found = batches.reduce((sum, batch) => sum + batch.numRows, 0);
        if (found !== end - start) throw new RangeError(`${found} records were read where ${end - start} should be`);
        yield { start, batches };
        start = end;
      }
    },
  };
}

/** The reader skips no delta-packed integers in blocks above 64, as DuckDB writes them in pages of version 2; it reads them. */
const cannotSkip = (error: unknown): boolean => String(error).includes('cannot skip miniblock');

function refuseLarge({ leaf, dictionaryUnpacked, pages }: LeafPages, maxPageBytes: number): void {
  const largest = pages.reduce((most, { unpackedBytes }) => Math.max(most, unpackedBytes), dictionaryUnpacked);
  if (largest <= maxPageBytes) return;
  throw new PageTooLarge(
    `column '${leaf.field}' has a page of ${largest} bytes, and a page is read as one, up to ${maxPageBytes} bytes`,
  );
}

/** The part ends where a page of the heaviest column does, so that few pages are read twice. */
async function endOf(tables: readonly PageScan[], start: number, records: number, maxBytes: number): Promise<number> {
  const weightOf = ({ leaf, column }: PageScan): number => memoryOf(leaf, column);
  const heaviest = tables.toSorted((a, b) => weightOf(b) - weightOf(a))[0];
  const limit = Math.min(records, start + maxRecords);
  const isOver = async (end: number): Promise<boolean> => {
    for (const each of tables) await each.reach(end);
    return costOf(tables, start, end) > maxBytes;
  };
  let end: number | undefined;
  for (let next = start; heaviest !== undefined; ) {
    await heaviest.reach(next);
    next = heaviest.pages.find(({ first }) => first > next)?.first ?? records;
    if (next >= limit) break;
    if (await isOver(next)) return end ?? Math.min(next, start + shareOf(tables, heaviest, start, next, maxBytes));
    end = next;
  }
  if (heaviest === undefined || !(await isOver(limit))) return limit;
  return end ?? Math.min(limit, start + shareOf(tables, heaviest, start, limit, maxBytes));
}

/** Records of a page that is more than a part alone: no less than a quarter, for each part unpacks the page. */
function shareOf(
  tables: readonly LeafPages[],
  { pages }: LeafPages,
  start: number,
  end: number,
  maxBytes: number,
): number {
  const { records } = pages[pageOf(pages, start)] ?? { records: 0 };
  return Math.max(1, Math.ceil(records * Math.max(1 / 4, maxBytes / costOf(tables, start, end))));
}

function costOf(tables: readonly LeafPages[], start: number, end: number): number {
  let bytes = 0;
  for (const table of tables) {
    const { first, last } = spanIn(table, start, end);
    bytes += table.dictionaryUnpacked;
    for (let at = first; at <= last; at++) bytes += table.pages[at]?.memoryBytes ?? 0;
  }
  return bytes;
}

/** The last page in which a record up to this one begins: that is where the record does. */
function pageOf(pages: readonly DataPage[], record: number): number {
  let [low, high] = [0, pages.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((pages[middle]?.first ?? 0) <= record) low = middle + 1;
    else high = middle;
  }
  let at = low - 1;
  // Pages in which none begins share their number with the next.
  while (at > 0 && (pages[at]?.records ?? 0) === 0) at--;
  return at;
}

interface LeafSpan {
  readonly table: LeafPages;
  /** Pages, the last one included. */
  readonly first: number;
  readonly last: number;
  /** Records before `start` that begin in them. */
  readonly before: number;
  /** True: their first values are of a record that began earlier still. */
  readonly isContinued: boolean;
}

/** The pages that hold the records [start, end) to their last value. */
function spanIn(table: LeafPages | undefined, start: number, end: number): LeafSpan {
  if (table === undefined) throw new RangeError('there is no such column');
  const { pages } = table;
  const first = pageOf(pages, start);
  const page = pages[first];
  if (page === undefined) throw new RangeError(`there is no page with record ${start}`);
  let last = first;
  // A page that begins with the record `end` holds nothing of those before it; where it goes on with one, it is needed.
  for (let next = pages[last + 1]; next !== undefined; next = pages[last + 1]) {
    if (next.first > end || (next.first === end && !next.isContinued)) break;
    last++;
  }
  return { table, first, last, before: start - page.first, isContinued: page.isContinued };
}

interface Part {
  readonly pages: readonly Uint8Array[];
  /** Of each leaf in order: its chunk's metadata. */
  readonly columns: readonly ThriftStruct[];
}

async function makePart({
  bytes,
  leaves,
  columns,
  spans,
  before,
  records,
}: {
  readonly bytes: FileBytes;
  readonly leaves: readonly Leaf[];
  readonly columns: readonly ThriftStruct[];
  readonly spans: ReadonlyMap<number, LeafSpan>;
  readonly before: number;
  /** Of the whole part. */
  readonly records: number;
}): Promise<Part> {
  const pages: Uint8Array[] = [];
  const made: ThriftStruct[] = [];
  // After the mark at a file's start.
  let at = 4;
  for (const [index, leaf] of leaves.entries()) {
    const column = columns[index];
    if (column === undefined) throw new RangeError('a row group has other columns than the schema');
    const span = spans.get(index);
    const parts: Uint8Array[] = [];
    const from = at;
    let [values, unpacked, dictionary] = [0, 0, 0];
    const put = (part: Uint8Array, size: number): void => {
      parts.push(part);
      at += part.length;
      unpacked += size;
    };
    if (span !== undefined && span.table.dictionaryBytes > 0) {
      const start = startOf(column);
      dictionary = span.table.dictionaryBytes;
      put(await bytes.range(start, start + dictionary), dictionary + span.table.dictionaryUnpacked);
    }
    // Columns that are not asked for are blank throughout.
    const blanks = span === undefined ? records : before - span.before;
    if (blanks > 0) {
      const blank = blankPage(leaf, integer(column, inColumn.codec), blanks);
      put(blank.bytes, blank.unpackedBytes);
      values += blanks;
    }
    if (span !== undefined) {
      const held = span.table.pages.slice(span.first, span.last + 1);
      const [first, last] = [held[0], held.at(-1)];
      if (first !== undefined && last !== undefined)
        put(
          await bytes.range(first.from, last.to),
          held.reduce((sum, page) => sum + page.unpackedBytes, 0),
        );
      values += held.reduce((sum, page) => sum + page.values, 0);
    }
    pages.push(...parts);
    made.push(placed(column, { from, bytes: at - from, dictionary, values, unpacked }));
  }
  return { pages, columns: made };
}

interface Placed {
  readonly from: number;
  readonly bytes: number;
  readonly dictionary: number;
  readonly values: number;
  readonly unpacked: number;
}

function placed(column: ThriftStruct, { from, bytes, dictionary, values, unpacked }: Placed): ThriftStruct {
  const fields = new Map([...column.fields].filter(([id]) => id !== inColumn.indexPage && !isSaid(id)));
  const set = (id: number, value: number): void => {
    fields.set(id, { kind: 'integer', type: 6, value: BigInt(value) });
  };
  set(inColumn.values, values);
  set(inColumn.unpackedBytes, unpacked);
  set(inColumn.bytes, bytes);
  set(inColumn.dataPage, from + dictionary);
  if (dictionary > 0) set(inColumn.dictionaryPage, from);
  else fields.delete(inColumn.dictionaryPage);
  return sorted(fields);
}

const isSaid = (id: number): boolean => inColumn.said.some((each) => each === id);

/** Thrift's short form wants ascending field numbers. */
const sorted = (fields: ReadonlyMap<number, ThriftValue>): ThriftStruct => ({
  kind: 'struct',
  fields: new Map([...fields].sort(([a], [b]) => a - b)),
});

function withPart(
  file: ThriftStruct,
  group: ThriftStruct,
  chunks: readonly ThriftStruct[],
  { columns }: Part,
  records: number,
): ThriftStruct {
  const items = chunks.map((chunk, at): ThriftStruct => {
    const kept = [...chunk.fields].filter(([id]) => !inChunk.pageIndexes.some((each) => each === id));
    return sorted(
      new Map<number, ThriftValue>([
        ...kept,
        [inChunk.offset, { kind: 'integer', type: 6, value: 0n }],
        [inChunk.column, columns[at] ?? columnOf(chunk)],
      ]),
    );
  });
  const fields = new Map(group.fields);
  fields.delete(inGroup.offset);
  fields.set(inGroup.chunks, { kind: 'list', element: 12, items });
  fields.set(inGroup.records, { kind: 'integer', type: 6, value: BigInt(records) });
  const whole = new Map(file.fields);
  whole.set(inFile.records, { kind: 'integer', type: 6, value: BigInt(records) });
  whole.set(inFile.rowGroups, { kind: 'list', element: 12, items: [sorted(fields)] });
  return sorted(whole);
}
