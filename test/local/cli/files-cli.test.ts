import { mkdtempSync } from 'node:fs';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { commandLine, writeRecords } from './command-line.ts';

/** vecferry export and import, as processes: a collection into files of people's own tools, and back. */
const work = mkdtempSync(join(tmpdir(), 'vecferry-files-'));
const vecferry = commandLine(join(work, 'kept'));
afterAll(async () => {
  await rm(work, { recursive: true });
});
const golden = new URL('../../data/formats/', import.meta.url).pathname;
const lance = (collection: string) =>
  JSON.stringify({ store: 'lancedb', connection: { path: join(work, 'lance') }, collection });

test('a collection goes out as NumPy and comes back by one command each, every record compared', async () => {
  await writeRecords(join(work, 'source'), 'records.jsonl', 500);
  const source = JSON.stringify({
    store: 'files',
    connection: { path: join(work, 'source') },
    collection: 'records.jsonl',
  });
  const out = join(work, 'out');
  const exported = await vecferry(['export', source, '--to', out, '--format', 'numpy', '--run', 'out']);
  expect({ code: exported.code, err: exported.err }).toEqual({ code: 0, err: '' });
  expect(exported.out).toMatch(/^done +Validated.*500 records compared and equal/m);
  expect(exported.out).not.toMatch(/^readers/m);
  expect(await readdir(out)).toEqual(expect.arrayContaining(['vectors.npy', 'ids.npy', 'metadata.jsonl']));
  // The same command again goes on with the run, and finds it done.
  expect((await vecferry(['export', source, '--to', out, '--format', 'numpy', '--run', 'out'])).code).toBe(0);
  // Another run into the same folder would mix two exports.
  expect((await vecferry(['export', source, '--to', out, '--format', 'numpy'])).code).toBe(3);
  const imported = await vecferry(['import', out, lance('back'), '--distance', 'cosine', '--run', 'back']);
  expect({ code: imported.code, err: imported.err }).toEqual({ code: 0, err: '' });
  expect(imported.out).toMatch(/^done +Validated.*500 records compared and equal/m);
});

test("a file of pandas is imported by its index's name, and --into says the same as the second argument", async () => {
  const file = join(golden, 'pandas-index-text.parquet');
  const options = ['--id', '__index_level_0__', '--distance', 'cosine'];
  const { code, err } = await vecferry(['import', file, '--into', lance('pandas'), ...options]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
});

test('an event gives its target alone: no reader is moved, --existing holds of it too, and the command to go on can be typed', async () => {
  const event = join(work, 'event.json');
  const target = JSON.parse(lance('of-event'));
  await writeFile(event, JSON.stringify({ target, cutover: { flag: 'of-event' } }));
  const file = join(golden, 'pandas.parquet');
  const first = await vecferry(['import', file, event]);
  expect({ code: first.code, err: first.err }).toEqual({ code: 0, err: '' });
  expect(first.out).not.toMatch(/^readers/m);
  expect((await vecferry(['import', file, event])).code).toBe(3);
  expect((await vecferry(['import', file, event, '--existing'])).code).toBe(0);
  const broken = join(work, "it's broken.jsonl");
  await writeFile(broken, '{"id":1,"v":[1.5]}\n{"id":');
  const { out, err } = await vecferry(['import', broken, event, '--existing']);
  expect(out + err).toContain(`import '${join(work, "it'\\''s broken.jsonl")}' ${event} --existing --run `);
});

test.each([
  [
    ['import', join(golden, 'pandas-index-text.parquet'), lance('x')],
    3,
    /no column 'id'.*"__index_level_0__" is pandas' index/,
  ],
  [['import', 'nowhere.parquet', lance('x')], 2, /no file or folder 'nowhere\.parquet'/],
  [['import', join(golden, 'pandas.parquet')], 2, /say into what/],
  [['export', '{"store":"files"}', '--to', 'x'], 2, /the collection/],
  [['export', lance('x'), '--to', 'words.parquet'], 2, /is named as a file.*name a folder/],
  [['export', lance('x'), '--to', 'x', '--format', 'csv'], 2, /Allowed choices are parquet, jsonl, arrow, numpy/],
] as const)('%j is refused with exit code %d', async (args, code, message) => {
  const answer = await vecferry(args);
  expect(answer.err).toMatch(message);
  expect(answer.code).toBe(code);
});

test('a pg_dump archive is known by its first bytes whatever its name, and left to pg_restore', async () => {
  const file = join(work, 'words.bin');
  await writeFile(file, 'PGDMP\u0001\u000e');
  const { code, err } = await vecferry(['import', file, lance('x')]);
  expect(code).toBe(3);
  expect(err).toMatch(/pg_restore --dbname/);
});
