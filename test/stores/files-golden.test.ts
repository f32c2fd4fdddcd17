import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Batch, column, concatBatches } from '../../lib/batch.ts';
import { files } from '../../lib/stores/files.ts';
import type { Range, Source } from '../../lib/stores/port.ts';
import { watched } from '../../lib/upgrade/folder.ts';
import { lookAt } from '../../lib/upgrade/look.ts';

/** Files that others wrote: test/data/formats/README.md says who and how. Each holds 24 records with vectors of 8 floats. */

const golden = new URL('../data/formats', import.meta.url).pathname;
const everything: Range = { from: null, to: null };
let made = '';
beforeAll(async () => {
  made = await mkdtemp(join(tmpdir(), 'vecferry-'));
});
afterAll(async () => {
  await rm(made, { recursive: true });
});

const open = (collection: string, options: Record<string, unknown> = {}, path = golden): Promise<Source> =>
  files.open({ connection: { path }, collection, options });

async function readAll(store: Source, range = everything, maxRecords = 1000): Promise<Batch> {
  const pieces: Batch[] = [];
  for await (const { batch } of store.read(range, { maxRecords, maxBytes: 1 << 22 })) pieces.push(batch);
  return concatBatches(pieces);
}

const plain = Array.from({ length: 24 }, (_, i) => String(100 + i));
const named = plain.map((id) => `id-${id}`);
const floats = Array.from({ length: 24 * 8 }, (_, i) => (i - 50) / 8);
const word = (row: number): string => (row === 3 ? 'été' : `word ${row}`);

const rich =
  '{"text":"été","at":"2026-03-29T01:02:03.456789Z","ns":"2026-03-29T01:02:03.456789012Z","local":"2026-03-29T01:02:03",' +
  '"day":"2026-03-29","time":"01:02:03.000004","price":1.25,"exact":"123456789012345678.901234567","nested":{"a":{"b":[1,null]}},' +
  '"map":{"k":1,"l":null},"tags":["x","y"],"flag":null,"raw":"YWI=","big":9007199254740993,"half":1.5}';
const row3 = { word: word(3) };

/** File, its ids, its vector, the payload of record 3, options. */
const cases: readonly (readonly [string, readonly string[], string, unknown, Record<string, unknown>?])[] = [
  ['pandas.parquet', plain, 'embedding', { ...row3, rank: 3 }],
  ['pandas-index-named.parquet', plain, 'embedding', { ...row3, rank: 3 }],
  ['pandas-index-unnamed.parquet', plain, 'embedding', { ...row3, rank: 3 }, { id: '__index__' }],
  ['pandas-index-text.parquet', named, 'embedding', { ...row3, rank: 3 }, { id: '__index_level_0__' }],
  ['pandas-categorical.parquet', plain, 'embedding', { ...row3, rank: 3, kind: 'a' }],
  ['pandas.feather', plain, 'embedding', { ...row3, rank: 3 }],
  ...['list', 'fixed'].flatMap((list) =>
    ['float16', 'float32', 'float64'].map((kind) => [`${list}-${kind}.parquet`, named, 'embedding', {}] as const),
  ),
  ...['lz4', 'brotli', 'zstd', 'gzip', 'snappy', 'none'].map(
    (codec) => [`codec-${codec}.parquet`, named, 'embedding', {}] as const,
  ),
  ['large.parquet', named, 'embedding', {}],
  ['large.feather', named, 'embedding', {}],
  ['types.parquet', named, 'embedding', JSON.parse(rich)],
  ['payload-struct.parquet', named, 'embedding', { ...row3, rank: 3 }, { payload: 'payload' }],
  ['payload-text.parquet', named, 'embedding', row3, { payload: 'payload' }],
  ['payload-struct.parquet', named, 'embedding', { payload: { ...row3, rank: 3 } }],
  ...['plain', 'lz4', 'zstd'].flatMap((codec) => [
    [`file-${codec}.arrow`, named, 'embedding', JSON.parse(rich)] as const,
    [`stream-${codec}.arrows`, named, 'embedding', JSON.parse(rich)] as const,
  ]),
  [
    'views.feather',
    named.map((id, row) => (row % 2 === 1 ? `${id} which is longer than twelve bytes` : id)),
    'embedding',
    {},
  ],
  ['lance.parquet', named, 'embedding', row3],
  ['polars.parquet', plain, 'embedding', row3],
  ['polars.parquet', plain, 'fixed', row3],
  ['polars.arrow', plain, 'embedding', row3],
  ['polars.arrows', plain, 'fixed', row3],
  ['huggingface.parquet', plain, 'embedding', { text: word(3) }],
  ['huggingface.arrow', plain, 'embedding', { text: word(3) }],
  ['huggingface.jsonl', plain, 'embedding', { text: word(3) }],
  ['parquetjs-repeated.parquet', plain, 'embedding', { word: 'word 3' }],
  ['parquetjs-nested.parquet', plain, 'embedding', { word: 'word 3' }],
  ['lines.jsonl.gz', plain, 'embedding', row3],
  ['numpy', plain, 'vectors', row3],
  ['numpy/vectors.npy', plain, 'vectors', row3],
  ['numpy-text', named, 'embeddings', {}],
  ['numpy-unicode', plain.map((id) => `é-${id}`), 'vectors', {}],
  ['numpy-rows', plain.map((_, row) => String(row)), 'vectors', {}],
  ['numpy-lines', plain.map((id) => `id\n${id}`), 'a', {}],
  ['stored.npz', plain, 'vectors', row3],
  ['deflated.npz', named, 'embeddings', {}],
];

/** A row that were shorter than its test's parameters would be given a callback in place of the last. */
const all = cases.map(([file, ids, vector, payload, options]) => [file, ids, vector, payload, options ?? {}] as const);

describe('files that others wrote are read to the last float', () => {
  test.each(all)('%s', async (file, ids, vector, payload, options) => {
    const store = await open(file, options);
    const { schema, count } = await store.describe();
    expect(count).toBe(24);
    expect(schema.vectors.find(({ name }) => name === vector)).toMatchObject({ kind: 'dense', dimension: 8 });
    const all = await readAll(store);
    expect(all.ids).toEqual(ids);
    expect([...column(all, vector).values]).toEqual(floats);
    expect(JSON.parse(all.payloads[3]!)).toEqual(payload);
  });

  test.each(all)('%s: in ranges, in pieces and by id it is the same', async (file, ids, vector, _payload, options) => {
    const store = await open(file, options);
    const all = await readAll(store);
    const ranges = await store.ranges({ records: 7 });
    expect(ranges.map(({ records }) => records)).toEqual([7, 7, 7, 3]);
    const parts: Batch[] = [];
    for (const range of ranges) {
      // Each piece from a store of its own, as the functions do: what is left of a range has to say where it begins.
      let left: Range | null = range;
      while (left !== null) {
        const again: Source = await open(file, options);
        let rest: Range | null = null;
        for await (const piece of again.read(left, { maxRecords: 5, maxBytes: 1 << 22 })) {
          parts.push(piece.batch);
          rest = piece.rest;
          break;
        }
        left = rest;
      }
    }
    const joined = concatBatches(parts);
    expect(joined.ids).toEqual(all.ids);
    expect(joined.payloads).toEqual(all.payloads);
    expect(column(joined, vector).values).toEqual(column(all, vector).values);
    const found = await store.fetch([ids[20]!, 'none', ids[5]!]);
    expect([...found.ids].sort()).toEqual([ids[5], ids[20]].sort());
    const at = found.ids.indexOf(ids[20]!);
    expect([...column(found, vector).values.subarray(at * 8, at * 8 + 8)]).toEqual(floats.slice(160, 168));
  });

  test('every golden file is one of these', async () => {
    const read = new Set(cases.map(([file]) => file.split('/')[0]));
    const there = (await readdir(golden)).filter(
      (name) => !/\.(py|mjs|md)$|^(bad|odd|pages|duckdb\.parquet)$/.test(name),
    );
    expect(there.filter((name) => !read.has(name))).toEqual([]);
  });

  test('doubles of DuckDB are rounded to the nearest float32, and its fixed-size arrays are as they are', async () => {
    const all = await readAll(await open('duckdb.parquet'));
    expect(all.ids).toEqual(plain);
    expect([...column(all, 'fixed').values.subarray(8, 12)]).toEqual([1, 1.5, 2, 2.5]);
    expect([...column(all, 'doubles').values.subarray(8, 12)]).toEqual([1, 1.25, 1.5, 1.75]);
  });

  test('matrices in two folders are one collection, whose row numbers go on', async () => {
    for (const part of ['rows/0', 'rows/1']) await copy('numpy-rows/vectors.npy', `${part}/vectors.npy`);
    const all = await readAll(await open('rows', {}, made));
    expect(all.ids).toEqual(Array.from({ length: 48 }, (_, row) => String(row)));
  });
});

async function copy(file: string, to: string, change: (bytes: Buffer) => Uint8Array = (bytes) => bytes): Promise<void> {
  const { mkdir } = await import('node:fs/promises');
  await mkdir(join(made, to, '..'), { recursive: true });
  await writeFile(join(made, to), change(await readFile(join(golden, file))));
}

describe('what cannot be read is refused with the file, and what to do', () => {
  test.each([
    ['big-endian', /big-endian\.npy is big-endian; save it with np\.save/],
    ['fortran', /fortran\.npy is in Fortran order.*ascontiguousarray/],
    ['objects', /objects\.npy holds Python objects/],
    ['integers', /integers\.npy holds integers of 4 bytes.*astype\("float32"\)/],
  ])('a NumPy matrix that is %s', async (name, message) => {
    await copy(`bad/${name}.npy`, `${name}/${name}.npy`);
    const reading = async () => await readAll(await open(name, {}, made));
    await expect(reading()).rejects.toMatchObject({ name: 'RecordRefused', message: expect.stringMatching(message) });
  });

  test('NumPy rows without floats, a field that stands twice; and ids of text are what their lines are', async () => {
    const file = (shape: string, type: string, body: Uint8Array): Buffer => {
      const header = `{'descr': '${type}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117);
      return Buffer.concat([Buffer.from('\x93NUMPY\x01\0\x76\0', 'latin1'), Buffer.from(`${header}\n`), body]);
    };
    const put = async (name: string, body: Uint8Array | string) => {
      await mkdir(dirname(join(made, name)), { recursive: true });
      await writeFile(join(made, name), body);
    };
    await put('flat/vectors.npy', file('(2, 0)', '<f4', new Uint8Array()));
    await expect(open('flat', {}, made).then((store) => store.describe())).rejects.toThrow(
      /its vectors have no floats/,
    );
    await put('two/vectors.npy', file('(2, 1)', '<f4', new Uint8Array(8)));
    await put('two/ids.txt', '7\r\n 7\r\n');
    expect((await readAll(await open('two', {}, made))).ids).toEqual(['7', ' 7']);
    await put('two/rank.npy', file('(2,)', '<i4', new Uint8Array(8)));
    await put('two/metadata.jsonl', '{"word":"x"}\n{"rank":5}\n');
    const reading = readAll(await open('two', {}, made));
    await expect(reading).rejects.toThrow(
      /record ' 7' has the field 'rank' on its line of metadata and in .*rank\.npy/,
    );
  });

  test.each(['stream-plain.arrows', 'stream-lz4.arrows'])('%s with another stream after it', async (file) => {
    await copy(file, `twice/${file}`, (bytes) => Buffer.concat([bytes, bytes]));
    const reading = readAll(await open(`twice/${file}`, {}, made));
    await expect(reading).rejects.toThrow(/goes on after its end mark: put every stream into a file of its own/);
  });

  test.each([
    'pandas.parquet',
    'file-lz4.arrow',
    'file-plain.arrow',
    'stream-zstd.arrows',
    'stream-plain.arrows',
    'polars.arrow',
    'lines.jsonl.gz',
    'stored.npz',
    'deflated.npz',
    'numpy-rows/vectors.npy',
  ])('%s cut short anywhere, or empty', async (file) => {
    const { length } = await readFile(join(golden, file));
    for (const kept of [0, 1, 7, 13, 100, Math.floor(length / 2), length - 9, length - 1]) {
      const name = `cut-${kept}/${file.replace('/', '-')}`;
      await copy(file, name, (bytes) => bytes.subarray(0, kept));
      const reading = async () => await readAll(await open(name, {}, made));
      await expect(reading()).rejects.toMatchObject({
        name: 'RecordRefused',
        message: expect.stringContaining(join(made, name)),
      });
    }
  });

  test.each([
    ['whole', /it is encrypted/],
    ['columns', /it has encrypted columns/],
  ])('a file that is encrypted (%s) is told as that, and not as one that was cut short', async (what, message) => {
    const name = `encrypted-${what}/a.parquet`;
    await copy(`bad/encrypted-${what}.parquet`, name);
    await expect(open(name, {}, made).then(readAll)).rejects.toMatchObject({
      name: 'RecordRefused',
      message: expect.stringMatching(message),
    });
    const bytes = await readFile(join(made, name));
    const range = async (from: number, to: number) => bytes.subarray(from, to);
    const look = await lookAt(watched({ size: bytes.length, range }), name, name, false);
    expect(look).toMatchObject({ kind: 'damaged', reason: expect.stringContaining('encrypted') });
  });

  test.each(['file-lz4.arrow', 'file-zstd.arrow', 'stream-plain.arrows', 'deflated.npz'])(
    '%s with bytes altered ends in a typed error or in records, never in a crash',
    async (file) => {
      const { length } = await readFile(join(golden, file));
      for (let seed = 0; seed < 20; seed++) {
        const name = `altered-${seed}/${file}`;
        await copy(file, name, (bytes) => {
          for (let i = 0; i < 5; i++) bytes[(seed * 7919 + i * 104_729) % length]! ^= 255;
          return bytes;
        });
        const reading = async () => await readAll(await open(name, {}, made));
        await reading().catch((error: unknown) =>
          expect(error).toMatchObject({ name: expect.stringMatching(/^(RecordRefused|Incompatible)$/) }),
        );
      }
    },
  );

  test.each([
    ['file-zstd.arrow', 104, 255],
    ['file-lz4.arrow', 36, 255],
    ['huggingface.arrow', 211, 127],
  ])('%s altered so that it has entries or values without end is refused at once', async (file, seed, flip) => {
    const { length } = await readFile(join(golden, file));
    await copy(file, `billions/${file}`, (bytes) => {
      for (let i = 0; i < 5; i++) bytes[(seed * 7919 + i * 104_729) % length]! ^= flip;
      return bytes;
    });
    const start = performance.now();
    await expect(open(`billions/${file}`, {}, made).then(readAll)).rejects.toMatchObject({ name: 'RecordRefused' });
    expect(performance.now() - start).toBeLessThan(30_000);
  });

  test('a .npz whose compressed bytes still unpack, to other ones, is refused: its checksum says so', async () => {
    // The directory's checksum of one member is altered, and nothing else.
    await copy('deflated.npz', 'checksum.npz', (bytes) => {
      bytes[bytes.indexOf('PK\x01\x02', 0, 'latin1') + 16]! ^= 1;
      return bytes;
    });
    const reading = async () => await readAll(await open('checksum.npz', {}, made));
    await expect(reading()).rejects.toMatchObject({
      name: 'RecordRefused',
      message: expect.stringMatching(/checksum\.npz has other bytes in '.*\.npy' than its directory says/),
    });
  });

  test('ids, payload or another matrix of another number of rows', async () => {
    const ids = (count: number): string => Array.from({ length: count }, (_, i) => `${i}\n`).join('');
    for (const count of [23, 25]) {
      await copy('numpy-rows/vectors.npy', `uneven-${count}/vectors.npy`);
      await writeFile(join(made, `uneven-${count}/ids.txt`), ids(count));
      const reading = async () => await readAll(await open(`uneven-${count}`, {}, made));
      await expect(reading()).rejects.toThrow(/ids\.txt .* has 24 rows: a line belongs to each row/);
      await copy('numpy-rows/vectors.npy', `payload-${count}/vectors.npy`);
      const lines = Array.from({ length: count }, (_, i) => `{"i":${i}}\n`).join('');
      await writeFile(join(made, `payload-${count}/metadata.jsonl`), lines);
      const payload = async () => await readAll(await open(`payload-${count}`, {}, made));
      await expect(payload()).rejects.toMatchObject({
        name: 'RecordRefused',
        ids: [expect.stringMatching(/metadata\.jsonl$/)],
      });
    }
    await copy('numpy-rows/vectors.npy', 'two/a.npy');
    await copy('stored.npz', 'two/b.npy');
    await expect(open('two', {}, made).then(readAll)).rejects.toThrow(/b\.npy is no \.npy file/);
  });

  test.each([
    ['words.snapshot', 'x', /a Qdrant snapshot.*snapshots\/recover/],
    ['words.dump', 'x', /pg_restore --dbname/],
    ['words.bin', 'PGDMP\u0001', /pg_restore --dbname/],
    ['words.sql', 'select 1', /psql --file/],
    ['words.sql.gz', 'x', /psql --file/],
    ['words.csv', 'id,v', /make Parquet of it/],
    ['words.tsv.gz', 'x', /make Parquet of it/],
    ['data.lance', 'x', /store 'lancedb'/],
  ])('%s is left to its own tool, which is named', async (name, body, message) => {
    const folder = `tool-${name}`;
    await copy('lines.jsonl.gz', `${folder}/${name}`, () => Buffer.from(body));
    for (const collection of name === 'words.bin' ? [folder] : [folder, `${folder}/${name}`]) {
      const store = await open(collection, {}, made);
      await expect(store.describe()).rejects.toMatchObject({
        name: 'Incompatible',
        message: expect.stringMatching(message),
      });
    }
  });

  test('a folder without a file that is read says which are', async () => {
    await copy('lines.jsonl.gz', 'none/readme.txt');
    await expect((await open('none', {}, made)).describe()).rejects.toThrow(
      /no file that is read: \.parquet .*\.npz; there is readme\.txt/,
    );
  });
});
