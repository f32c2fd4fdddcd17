import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ListingObjectStore } from '../../lib/objects-files.ts';
import { openS3Objects } from '../../lib/objects-s3.ts';
import { decodeShard } from '../../lib/shard/shard.ts';
import { files } from '../../lib/stores/files.ts';
import { besideOf, liesWithin } from '../../lib/upgrade/folder.ts';
import { upgradeFolder } from '../../lib/upgrade/upgrade.ts';
import { spawnCommand } from '../local/cli/command-line.ts';
import { startS3 } from '../servers/s3.ts';
import { writeFormat1 } from '../shard/old-formats.ts';

/** Shards of teams that deploy lie in S3: the same commands bring them up there. */

let s3: Awaited<ReturnType<typeof startS3>>;
let client: S3Client;
let objects: ListingObjectStore;
beforeAll(async () => {
  s3 = await startS3('data');
  client = new S3Client({});
  objects = openS3Objects('data', client);
});
afterAll(async () => {
  client.destroy();
  await s3.stop();
});

const old = (ids: readonly number[]): Buffer =>
  writeFormat1(
    { vectors: { emb: { size: 2, metric: 'l2' } }, collection: 'posts' },
    ids.map((id) => `{"id":${id},"vectors":{"emb":[${id},0.5]},"payload":{"headline":"h ${id}"}}`),
  );
const upgrade = async (folder: string, out: string, signal = new AbortController().signal) =>
  await upgradeFolder({ folder, out, rules: undefined, signal });
const keysIn = async (prefix: string): Promise<string[]> =>
  (await objects.list(prefix)).map((key) => key.slice(prefix.length)).filter((key) => !key.includes('_upgrade'));
const hashesIn = async (prefix: string): Promise<Record<string, string>> => {
  const found: Record<string, string> = {};
  for (const key of await objects.list(prefix))
    found[key.slice(prefix.length)] = createHash('sha256')
      .update((await objects.get(key))!)
      .digest('hex');
  return found;
};

async function putMixed(prefix: string): Promise<void> {
  await objects.put(`${prefix}a/1.jsonl`, old([1, 2]));
  await objects.put(`${prefix}a/2.jsonl`, old([3]));
  await objects.put(`${prefix}golden.parquet`, readFileSync('test/data/shards/format-2.parquet'));
  await objects.put(`${prefix}cut.jsonl`, old([4, 5]).subarray(0, 300));
  await objects.put(`${prefix}plan.json`, '{}');
  // What a console makes of a folder.
  await objects.put(`${prefix}a/`, '');
}

describe('vecferry upgrade s3://BUCKET/PREFIX', () => {
  test('makes one complete folder beside it, names what stays behind, and leaves every object as it was', async () => {
    await putMixed('one/');
    const source = await objects.entries('one/');
    const out = besideOf('s3://data/one/', '-format-2');
    expect(out).toBe('s3://data/one-format-2');
    const { files: made, aside } = await upgrade('s3://data/one', out);
    expect(made.map(({ file, how }) => `${file} ${how}`)).toEqual([
      'a/1.jsonl upgraded',
      'a/2.jsonl upgraded',
      'cut.jsonl failed',
      'golden.parquet copied',
    ]);
    expect(made[2]!.reason).toMatch(/^s3:\/\/data\/one\/cut\.jsonl is cut short/);
    expect(aside).toEqual(['plan.json']);
    expect(await objects.entries('one/')).toEqual(source);
    expect(await keysIn('one-format-2/')).toEqual(['a/1.parquet', 'a/2.parquet', 'golden.parquet']);
    const { meta, batch } = await decodeShard((await objects.get('one-format-2/a/1.parquet'))!, 'a/1');
    expect([meta.records, batch.ids]).toEqual([2, ['1', '2']]);
    const store = await files.open({ connection: { url: out }, collection: 'a', options: {} });
    expect(await store.describe()).toMatchObject({ count: 3, notes: [] });
    await store.close();
  });

  test('typed again it makes only what is missing, altered or mended, and no object anew', async () => {
    await putMixed('two/');
    await upgrade('s3://data/two', 's3://data/two-new');
    await objects.put('two-new/a/1.parquet', 'half of it');
    await objects.delete('two-new/a/2.parquet');
    await objects.put('two/cut.jsonl', old([4, 5]));
    const golden = (await objects.entries('two-new/golden'))[0];
    const { files: made } = await upgrade('s3://data/two/', 's3://data/two-new/');
    expect(made.map(({ file, how, wasThere }) => `${file} ${how} ${wasThere}`)).toEqual([
      'a/1.jsonl upgraded false',
      'a/2.jsonl upgraded false',
      'cut.jsonl upgraded false',
      'golden.parquet copied true',
    ]);
    expect((await objects.entries('two-new/golden'))[0]).toEqual(golden);
    await decodeShard((await objects.get('two-new/a/1.parquet'))!, 'a/1');
  });

  test('from and to this machine it is the same, byte for byte', async () => {
    await putMixed('three/');
    const folder = mkdtempSync(join(tmpdir(), 'vecferry-s3-'));
    await upgrade('s3://data/three', join(folder, 'down'));
    mkdirSync(join(folder, 'old/a'), { recursive: true });
    for (const name of ['a/1.jsonl', 'a/2.jsonl', 'golden.parquet'])
      writeFileSync(join(folder, 'old', name), (await objects.get(`three/${name}`))!);
    await upgrade(join(folder, 'old'), 's3://data/three-up');
    for (const name of ['a/1.parquet', 'a/2.parquet', 'golden.parquet'])
      expect(readFileSync(join(folder, 'down', name)).equals((await objects.get(`three-up/${name}`))!)).toBe(true);
  });

  test('keys that a disk cannot hold side by side are refused before anything is written, and S3 takes them', async () => {
    await objects.put('both/a.parquet', readFileSync('test/data/shards/format-2.parquet'));
    await objects.put('both/a.parquet/b.jsonl', old([2]));
    const out = join(mkdtempSync(join(tmpdir(), 'vecferry-s3-')), 'down');
    await expect(upgrade('s3://data/both', out)).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(
        /^s3:\/\/data\/both holds a\.parquet both as an object and as a folder, .* --out in S3/,
      ),
    });
    expect(existsSync(out)).toBe(false);
    const { files: made } = await upgrade('s3://data/both', 's3://data/both-new');
    expect(made.map(({ how }) => how)).toEqual(['copied', 'upgraded']);
  });

  test('a folder that somebody made in the console is an empty one', async () => {
    await objects.put('made/old/1.jsonl', old([1]));
    await objects.put('made/new/', '');
    const { files: made } = await upgrade('s3://data/made/old', 's3://data/made/new');
    expect(made).toMatchObject([{ how: 'upgraded', to: '1.parquet' }]);
  });

  test('two at once end as one does: each object is made of the same bytes by the same rules', async () => {
    await putMixed('four/');
    await upgrade('s3://data/four', 's3://data/four-alone');
    await Promise.all([
      upgrade('s3://data/four', 's3://data/four-new'),
      upgrade('s3://data/four', 's3://data/four-new'),
    ]);
    expect(await hashesIn('four-new/')).toEqual(await hashesIn('four-alone/'));
  });

  test('stopped in the middle it is not taken for the whole, and the next call goes on', async () => {
    await putMixed('five/');
    const stopping = new AbortController();
    const input = { folder: 's3://data/five', out: 's3://data/five-new', rules: undefined };
    const stopped = await upgradeFolder({ ...input, signal: stopping.signal, onFile: () => stopping.abort() });
    expect(stopped).toMatchObject({ isStopped: true, files: [{ file: 'a/1.jsonl' }] });
    const store = await files.open({ connection: { url: 's3://data/five-new' }, collection: 'a', options: {} });
    await expect(store.describe()).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/has not come to its end/),
    });
    await store.close();
    const { files: made } = await upgrade(input.folder, input.out);
    expect(made.map(({ wasThere }) => wasThere)).toEqual([true, false, false, false]);
  });

  test('a file of others that is more than memory should hold is copied in parts, to the byte', async () => {
    const folder = join(mkdtempSync(join(tmpdir(), 'vecferry-s3-')), 'large');
    mkdirSync(folder);
    // Sparse: 129 MiB that take no room on the disk.
    writeFileSync(join(folder, 'large.arrow'), 'not of ours');
    truncateSync(join(folder, 'large.arrow'), 129 * 1024 * 1024 + 5);
    const { files: made } = await upgrade(folder, 's3://data/large');
    expect(made).toMatchObject([{ how: 'copied', what: 'Arrow IPC, no shard' }]);
    const copy = (await objects.get('large/large.arrow'))!;
    expect(Buffer.compare(copy, readFileSync(join(folder, 'large.arrow')))).toBe(0);
  });

  test('a key that is no path is named and left, and all others are brought up', async () => {
    await objects.put('odd/a//b.jsonl', old([1]));
    await objects.put('odd/c.jsonl', old([2]));
    const folder = join(mkdtempSync(join(tmpdir(), 'vecferry-s3-')), 'out');
    const { files: made } = await upgrade('s3://data/odd', folder);
    expect(made).toMatchObject([
      { how: 'failed', error: 'InvalidEvent' },
      { how: 'upgraded', to: 'c.parquet' },
    ]);
  });

  test.each([
    ['s3://data/none', 's3://data/x', 'NotFound', /there is no folder/],
    ['s3://nowhere/none', 's3://data/x', 'NotFound', /nowhere/],
    ['s3://', 's3://data/x', 'InvalidEvent', /names no bucket/],
    ['s3://data/refused', 's3://data/refused/in/it', 'InvalidEvent', /lies in/],
    ['s3://data/refused', 's3://data/refused/', 'InvalidEvent', /lies in/],
    ['s3://data/refused', 's3://data', 'Incompatible', /which no upgrade wrote/],
    ['s3://data/refused/a.jsonl', 's3://data/x', 'InvalidEvent', /is a file/],
  ])('of %s into %s is refused: %s', async (folder, out, name, message) => {
    await objects.put('refused/a.jsonl', old([1]));
    await expect(upgrade(folder, out)).rejects.toMatchObject({ name, message: expect.stringMatching(message) });
    expect(await objects.list('x')).toEqual([]);
  });

  test('a bucket has nothing beside it, and a prefix that begins like another one does not lie in it', () => {
    expect(() => besideOf('s3://data', '-format-2')).toThrow(/say --out/);
    expect(liesWithin('s3://data/one-new', 's3://data/one')).toBe(false);
    expect(liesWithin('s3://data/one', 's3://data')).toBe(true);
    expect(liesWithin('/data/one', 's3://data')).toBe(false);
  });
});

describe('on the command line', () => {
  test('inspect shows a prefix and an object, upgrade brings the prefix up beside it, and exit codes are those of a folder', async () => {
    await putMixed('cli/2024/');
    const seen = await spawnCommand(['--json', 'inspect', 's3://data/cli/2024', '--verify']);
    expect(seen.code).toBe(4);
    expect(seen.events().at(-2)).toMatchObject({ type: 'inspected', shards: 3, older: 2, others: 1 });
    expect(seen.events().at(-1)).toMatchObject({ error: 'ShardDamaged' });
    const one = await spawnCommand(['inspect', 's3://data/cli/2024/a/1.jsonl']);
    expect([one.code, one.out]).toEqual([0, expect.stringMatching(/vecferry upgrade s3:\/\/data\/cli\/2024\/a\n/)]);
    await objects.delete('cli/2024/cut.jsonl');
    const made = await spawnCommand(['--json', 'upgrade', 's3://data/cli/2024']);
    expect(made.code).toBe(0);
    expect(made.events().at(-1)).toMatchObject({ type: 'upgrade', out: 's3://data/cli/2024-format-2', upgraded: 2 });
    const now = await spawnCommand(['--json', 'inspect', 's3://data/cli/2024-format-2', '--verify']);
    expect([now.code, now.events().at(-1)]).toMatchObject([0, { shards: 3, older: 0, records: 6 }]);
    expect((await spawnCommand(['inspect', 's3://data/cli/none'])).err).toMatch(/NotFound|there is no file/);
  });
});
