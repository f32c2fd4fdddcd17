import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, test } from '@jest/globals';
import { cellJson } from '../../lib/stores/arrow-cells.ts';
import { type GroupLimits, parquetTable } from '../../lib/stores/files/parquet.ts';

/** Row groups that are read in parts: test/data/formats/pages/make.py made the files, whose columns have pages that end at other records. */

const folder = new URL('../data/formats/pages/', import.meta.url);
const files = (await readdir(folder)).filter((name) => name.endsWith('.parquet'));
const records = 120;
const inParts = (part: number): GroupLimits => ({ whole: 0, part, page: 1 << 20 });

interface Read {
  readonly rows: readonly string[];
  readonly first: number;
  readonly parts: number;
  /** Bytes fetched for it, and in the largest piece. */
  readonly fetched: number;
}

async function read(
  name: string,
  options: { limits?: GroupLimits; from?: number; columns?: string[]; change?: (bytes: Buffer) => void } = {},
): Promise<Read> {
  const bytes = await readFile(new URL(name, folder));
  options.change?.(bytes);
  let fetched = 0;
  const range = async (from: number, to: number): Promise<Uint8Array> => {
    fetched += to - from;
    return bytes.subarray(from, to);
  };
  const file = await parquetTable({ size: bytes.length, range }, name, options.limits).open();
  const rows: string[] = [];
  let [first, parts] = [-1, 0];
  for await (const { batch, start } of file.read(0, { from: options.from ?? 0, columns: options.columns })) {
    if (first < 0) first = start;
    expect(start).toBe(first + rows.length);
    const wanted = options.columns ?? batch.schema.fields.map((field) => field.name);
    const children = wanted.map((column) => batch.getChild(column)!.data[0]!);
    for (let row = 0; row < batch.numRows; row++) rows.push(children.map((each) => cellJson(each, row)).join('|'));
    parts++;
  }
  return { rows, first, parts, fetched };
}

describe.each(files)('%s in parts', (name) => {
  test.each([1, 3000, 20_000])('of about %i bytes has the records that it has as a whole', async (part) => {
    const whole = await read(name);
    expect(whole).toMatchObject({ first: 0, parts: 1 });
    expect(whole.rows.length).toBe(records);
    const all = await read(name, { limits: inParts(part) });
    expect(all.rows).toEqual(whole.rows);
    if (part === 1) expect(all.parts).toBeGreaterThan(5);
  });

  test('begins at any record, so that a range that was stopped goes on', async () => {
    const whole = await read(name);
    for (let from = 0; from < records; from += 13) {
      const rest = await read(name, { limits: inParts(2000), from });
      expect(rest.first).toBe(from);
      expect(rest.rows).toEqual(whole.rows.slice(from));
    }
  });

  test.each([[['id']], [['items', 'map']], [['inside', 'embedding']], [['rows']]])(
    'gives the columns %j alone, and fetches no pages of others',
    async (columns) => {
      const whole = await read(name);
      const some = await read(name, { limits: inParts(1 << 30), from: 50, columns });
      const full = await read(name, { limits: inParts(1 << 30), from: 50 });
      expect(some.rows).toHaveLength(70);
      const names = ['id', 'text', 'flag', 'word', 'price', 'embedding', 'late', 'inside', 'items', 'rows', 'map'];
      const places = columns.map((each) => names.indexOf(each));
      expect(some.rows).toEqual(whole.rows.slice(50).map((row) => places.map((at) => row.split('|')[at]).join('|')));
      expect(some.fetched).toBeLessThan(full.fetched);
    },
  );
});

test('integers that DuckDB packs by their differences, which parquet-wasm cannot skip, are read from any record on', async () => {
  const made = join(await mkdtemp(join(tmpdir(), 'vecferry-windows-')), 'v2.parquet');
  const sql = await (await DuckDBInstance.create()).connect();
  const columns = `i AS id, CASE WHEN i % 7 > 0 THEN [i::float, 1] END AS embedding`;
  await sql.run(`COPY (SELECT ${columns} FROM range(3000) t(i)) TO '${made}' (FORMAT parquet, parquet_version v2)`);
  sql.closeSync();
  const file = pathToFileURL(made).href;
  const whole = await read(file);
  expect(whole.rows[2999]).toBe('2999|[2999,1]');
  for (const from of [1, 255, 2000]) {
    const rest = await read(file, { limits: inParts(1 << 20), from });
    expect(rest.first).toBe(from);
    expect(rest.rows).toEqual(whole.rows.slice(from));
  }
});

test('values that a dictionary packs count with what they take in memory, for the parts and for what is read as one', async () => {
  const made = join(await mkdtemp(join(tmpdir(), 'vecferry-windows-')), 'dictionary.parquet');
  const sql = await (await DuckDBInstance.create()).connect();
  const columns = 'i AS id, list_transform(range(64), lambda x: (i % 2)::float) AS embedding';
  await sql.run(`COPY (SELECT ${columns} FROM range(10000) t(i)) TO '${made}' (FORMAT parquet)`);
  sql.closeSync();
  const file = pathToFileURL(made).href;
  expect((await readFile(made)).length).toBeLessThan(300_000);
  const whole = await read(file);
  expect(whole.parts).toBe(1);
  const all = await read(file, { limits: { whole: 1 << 20, part: 1 << 20, page: 1 << 30 } });
  expect(all.parts).toBeGreaterThan(1);
  expect(all.rows).toEqual(whole.rows);
});

test('a page of more than its limit is refused with what to write, for a page is read as one', async () => {
  await expect(read('none-1.parquet', { limits: { whole: 0, part: 1, page: 20 } })).rejects.toMatchObject({
    name: 'Incompatible',
    message: expect.stringMatching(/has a page of \d+ bytes, .* up to 20 bytes: write none-1.parquet again .*DuckDB/),
  });
});

test('pages that hold other numbers of records than their row group says are an error, and no record is left out', async () => {
  const limits = inParts(2000);
  const whole = await read('snappy-2.parquet');
  // Each byte of the pages of the first column, altered: other values may pass, as they do for a whole file; lost or added records may not.
  for (let at = 4; at < 130; at++) {
    const change = (bytes: Buffer): void => {
      bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    };
    const found = await read('snappy-2.parquet', { limits, change }).catch((error: unknown) => error);
    if (!(found instanceof Error)) expect([at, Object(found).rows.length]).toEqual([at, whole.rows.length]);
  }
});
