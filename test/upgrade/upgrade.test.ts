/** Over 400 lines: one folder of shards of every kind, brought up, cut off, repeated, under new names and with damaged files. */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Throttled } from '../../lib/errors.ts';
import { parseEvent, type RunEvent } from '../../lib/event.ts';
import { decodeShard, encodeShard, type ShardMeta } from '../../lib/shard/shard.ts';
import { files } from '../../lib/stores/files.ts';
import { watched } from '../../lib/upgrade/folder.ts';
import { lookAt } from '../../lib/upgrade/look.ts';
import { type UpgradedFile, upgradeFolder } from '../../lib/upgrade/upgrade.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { asFormat, type Format1Header, writeFormat1 } from '../shard/old-formats.ts';

/** A folder of older shards brought up into another one. */

const makeFolder = (): string => join(mkdtempSync(join(tmpdir(), 'vecferry-upgrade-')), 'old');
const put = (folder: string, name: string, body: string | Uint8Array): void => {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), body);
};
/** Everything in a folder, by name, as a hash. */
const contentOf = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .map((path) => [path.slice(folder.length + 1), createHash('sha256').update(readFileSync(path)).digest('hex')])
      .sort(),
  );
const old = (ids: readonly number[], header: Partial<Format1Header> = {}): Buffer =>
  writeFormat1(
    { vectors: { emb: { size: 2, metric: 'l2' } }, collection: 'posts', ...header },
    ids.map((id) => `{"id":${id},"vectors":{"emb":[${id},0.5]},"payload":{"headline":"h ${id}"}}`),
  );
const meta = (overrides: Partial<ShardMeta> = {}): ShardMeta => ({
  run: 'r2',
  shard: '00001-000',
  range: { from: '5', to: null },
  rest: { from: '9', to: null },
  schema: makeSchema(),
  collection: 'posts',
  ...overrides,
});
const rulesOf = (rules: object): RunEvent => {
  const side = { store: 'files', connection: { path: '/x' }, collection: '.' };
  return parseEvent({ source: side, target: side, ...rules });
};
const upgrade = async (folder: string, rules?: object, out = `${folder}-new`) => {
  const { signal } = new AbortController();
  return await upgradeFolder({ folder, out, rules: rules && rulesOf(rules), signal });
};
const howOf = (made: readonly UpgradedFile[]) => made.map(({ file, how }) => `${file} ${how}`);
const read = async (path: string) => await decodeShard(readFileSync(path), path);

describe('upgrade', () => {
  test('a name in capitals is told as in small letters: refused by readers, then brought up as Parquet', async () => {
    const folder = makeFolder();
    put(folder, 'A.JSONL', old([1, 2]));
    const store = (path: string) => files.open({ connection: { path }, collection: '.', options: {} });
    await expect(store(folder).then((opened) => opened.describe())).rejects.toMatchObject({
      name: 'UnsupportedFormat',
    });
    const { files: made } = await upgrade(folder);
    expect(made.map(({ to }) => to)).toEqual(['A.parquet']);
    expect((await (await store(`${folder}-new`)).describe()).count).toBe(2);
  });

  test('makes one complete folder and leaves the old one as it was, to the byte', async () => {
    const folder = makeFolder();
    const current = await encodeShard(makeBatch(), meta());
    put(folder, 'a/1.jsonl', old([1, 2]));
    put(folder, 'a/2.parquet', current);
    put(folder, 'a/lines.jsonl', '{"id":1,"v":[1.5,2]}\n');
    put(folder, 'a/_runs/r2.json', '{"format":1,"firstWriteAt":"2025-01-01T00:00:00.000Z"}');
    put(folder, 'plan.json', '{}');
    put(folder, '_tmp/3.jsonl', old([9]));
    symlinkSync(join(folder, 'a', '1.jsonl'), join(folder, 'linked.jsonl'));
    symlinkSync(join(folder, 'nowhere'), join(folder, 'dangling.jsonl'));
    const before = contentOf(folder);
    const { files: made, aside } = await upgrade(folder);
    expect(contentOf(folder)).toEqual(before);
    expect(howOf(made)).toEqual([
      'a/1.jsonl upgraded',
      'a/2.parquet copied',
      'a/_runs/r2.json copied',
      'a/lines.jsonl copied',
      'linked.jsonl upgraded',
    ]);
    // Nothing is passed over in silence, links that lead nowhere neither.
    expect(aside).toEqual(['dangling.jsonl', '_tmp/3.jsonl', 'plan.json']);
    const out = `${folder}-new`;
    expect(Object.keys(contentOf(out)).filter((name) => !/(^|\/)_upgrade/.test(name))).toEqual([
      'a/1.parquet',
      'a/2.parquet',
      'a/_runs/r2.json',
      'a/lines.jsonl',
      'linked.parquet',
    ]);
    expect(readFileSync(join(out, 'a/2.parquet')).equals(current)).toBe(true);
    const first = await read(join(out, 'a/1.parquet'));
    expect(first.meta).toMatchObject({ run: 'r1', collection: 'posts', records: 2, rest: null });
    expect(first.batch.payloads).toEqual(['{"headline":"h 1"}', '{"headline":"h 2"}']);
  });

  test('two files that would have one name keep both', async () => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1]));
    put(folder, 'a.ndjson', old([2]));
    put(folder, 'a.parquet', await encodeShard(makeBatch(), meta()));
    await upgrade(folder);
    const ids = async (name: string) => (await read(join(`${folder}-new`, name))).batch.ids;
    expect(await ids('a.parquet')).toEqual(['1', '2', '3']);
    expect(await ids('a.jsonl.parquet')).toEqual(['1']);
    expect(await ids('a.ndjson.parquet')).toEqual(['2']);
  });

  test('typed again with a file that came since under the name of one that was made, it keeps both', async () => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1]));
    await upgrade(folder);
    put(folder, 'a.parquet', readFileSync('test/data/shards/format-2.parquet'));
    const { files: made } = await upgrade(folder);
    expect(made).toMatchObject([
      { file: 'a.jsonl', to: 'a.jsonl.parquet', wasThere: false },
      { file: 'a.parquet', to: 'a.parquet', wasThere: false },
    ]);
    const { batch } = await decodeShard(readFileSync(`${folder}-new/a.jsonl.parquet`), 'a.jsonl.parquet');
    expect(batch.ids).toEqual(['1']);
    expect((await upgrade(folder)).files.map(({ wasThere }) => wasThere)).toEqual([true, true]);
  });

  test('a file and a folder whose names would be one keep both', async () => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1]));
    put(folder, 'a.parquet/b.jsonl', old([2]));
    const { files: made } = await upgrade(folder);
    expect(made.map(({ how, to }) => `${how} ${to}`)).toEqual([
      'upgraded a.jsonl.parquet',
      'upgraded a.parquet/b.parquet',
    ]);
  });

  test('typed again after a file was renamed it is refused with nothing written, for its records would be there twice', async () => {
    const folder = makeFolder();
    for (const name of ['a', 'b']) put(folder, `x/${name}.jsonl`, old([1]));
    await upgrade(folder);
    const out = `${folder}-new`;
    const before = contentOf(out);
    renameSync(join(folder, 'x/a.jsonl'), join(folder, 'x/c.jsonl'));
    await expect(upgrade(folder)).rejects.toMatchObject({
      name: 'RunMismatch',
      message: expect.stringMatching(
        /holds x\/a\.parquet \(of x\/a\.jsonl\), .* Delete it in .*, or name another folder with --out/,
      ),
    });
    expect(contentOf(out)).toEqual(before);
    rmSync(join(out, 'x/a.parquet'));
    const { files: made } = await upgrade(folder);
    expect(made.map(({ to }) => to)).toEqual(['x/b.parquet', 'x/c.parquet']);
    expect(readdirSync(join(out, 'x')).filter((name) => name.endsWith('.parquet'))).toEqual(['b.parquet', 'c.parquet']);
    // A file of another kind whose shard would have the same name takes its place.
    renameSync(join(folder, 'x/c.jsonl'), join(folder, 'x/c.ndjson'));
    expect((await upgrade(folder)).files.map(({ to }) => to)).toEqual(['x/b.parquet', 'x/c.parquet']);
  });

  test('a file that was brought up and is damaged since keeps its shard, and both the upgrade and the plan say of which file it is', async () => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1]));
    await upgrade(folder);
    put(folder, 'a.jsonl', old([1, 2]).subarray(0, -20));
    const { files: made } = await upgrade(folder);
    expect(made).toMatchObject([
      { how: 'failed', earlier: 'a.parquet', reason: expect.stringContaining('a.parquet in ') },
    ]);
    expect((await read(join(`${folder}-new`, 'a.parquet'))).batch.ids).toEqual(['1']);
    const mark = JSON.parse(readFileSync(join(`${folder}-new`, '_upgrade.json'), 'utf8'));
    expect(mark.left).toEqual(['a.jsonl (a.parquet is of what it was before)']);
    put(folder, 'a.jsonl', old([1, 2]));
    expect(howOf((await upgrade(folder)).files)).toEqual(['a.jsonl upgraded']);
  });

  test('typed again it makes nothing again, but for what was altered in either folder, and what was mended', async () => {
    const folder = makeFolder();
    for (const name of ['a', 'b', 'c', 'd']) put(folder, `${name}.jsonl`, old([1]));
    put(folder, 'd.jsonl', old([1]).subarray(0, 90));
    const first = await upgrade(folder);
    expect(howOf(first.files)).toEqual(['a.jsonl upgraded', 'b.jsonl upgraded', 'c.jsonl upgraded', 'd.jsonl failed']);
    const out = `${folder}-new`;
    const writtenAt = statSync(join(out, 'a.parquet')).mtimeMs;
    put(out, 'b.parquet', readFileSync(join(out, 'b.parquet')).subarray(0, 100));
    put(folder, 'c.jsonl', old([7]));
    put(folder, 'd.jsonl', old([8]));
    put(out, 'a.parquet.0f8fad5b-d9cb-469f-a165-70867728950e.tmp', 'half of it');
    const { files: made } = await upgrade(folder);
    expect(made.map(({ file, wasThere }) => `${file} ${wasThere}`)).toEqual([
      'a.jsonl true',
      'b.jsonl false',
      'c.jsonl false',
      'd.jsonl false',
    ]);
    expect(statSync(join(out, 'a.parquet')).mtimeMs).toBe(writtenAt);
    expect((await read(join(out, 'b.parquet'))).batch.ids).toEqual(['1']);
    expect((await read(join(out, 'c.parquet'))).batch.ids).toEqual(['7']);
    expect((await read(join(out, 'd.parquet'))).batch.ids).toEqual(['8']);
    expect(readdirSync(out).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('names every file that it cannot bring up, and why, and brings up the rest', async () => {
    const folder = makeFolder();
    const current = await encodeShard(makeBatch(), meta());
    put(folder, 'cut.jsonl', old([1]).subarray(0, -1));
    put(folder, 'cut.parquet', current.subarray(0, 300));
    put(folder, 'empty.jsonl', '');
    put(folder, 'headless.jsonl', old([1]).subarray(10));
    put(folder, 'newer.parquet', asFormat(current, '9'));
    put(folder, 'no-shard.parquet', 'not at all a Parquet file');
    put(folder, 'collection.json', '{"format":1,');
    put(folder, 'whole.jsonl', old([1]));
    put(folder, 'back\\slash.jsonl', old([1]));
    const key = Buffer.from(current);
    key.write('X', key.lastIndexOf('vecferry.format'));
    put(folder, 'renamed-key.parquet', key);
    const { files: made } = await upgrade(folder);
    expect(
      Object.fromEntries(made.map(({ file, how, error, reason }) => [file, error ?? how + (reason ?? '')])),
    ).toEqual({
      'back\\slash.jsonl': 'InvalidEvent',
      'cut.jsonl': 'ShardDamaged',
      'cut.parquet': 'ShardDamaged',
      'empty.jsonl': 'ShardDamaged',
      'headless.jsonl': 'ShardDamaged',
      'newer.parquet': 'UnsupportedFormat',
      'no-shard.parquet': 'ShardDamaged',
      'collection.json': 'ShardDamaged',
      'renamed-key.parquet': 'ShardDamaged',
      'whole.jsonl': 'upgraded',
    });
    for (const { file, reason } of made) if (reason !== undefined) expect(reason).toContain(join(folder, file));
    expect(existsSync(join(`${folder}-new`, 'cut.parquet'))).toBe(false);
  });
});

describe('names and mapping', () => {
  const rules = {
    names: {
      collection: 'articles',
      aliases: ['posts'],
      fields: { title: ['headline'] },
      vectors: { embedding: ['emb'] },
    },
    mapping: {
      payload: { title: { to: 'caption' } },
      add: { source: { value: 'old' } },
      vectors: { embedding: { distance: 'cosine' } },
    },
  };

  test('are applied to shards of every format, whose header says the new names', async () => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1], { collection: 'public.posts', fields: { headline: 'string' } }));
    const schema = makeSchema({
      vectors: [
        {
          name: 'emb',
          kind: 'dense',
          dimension: 2,
          distance: 'euclid',
          precision: 'float16',
          index: { kind: 'hnsw', m: 8 },
          model: { name: 'm', version: '1' },
        },
      ],
      native: { qdrant: { x: 1 } },
    });
    const batch = makeBatch({
      vectors: schema.vectors,
      payloads: ['1', '2', '3'].map((n) => `{"headline":"${n}","n":1e0}`),
    });
    put(folder, 'b.parquet', await encodeShard(batch, meta({ schema })));
    const none = makeBatch({ ids: [], vectors: schema.vectors });
    put(folder, 'none.parquet', await encodeShard(none, meta({ schema })));
    const { files: made } = await upgrade(folder, rules);
    expect(howOf(made)).toEqual(['a.jsonl upgraded', 'b.parquet rewritten', 'none.parquet rewritten']);
    const a = await read(join(`${folder}-new`, 'a.parquet'));
    expect(a.meta.collection).toBe('public.articles');
    expect(a.meta.schema).toMatchObject({
      store: 'pgvector',
      idType: 'integer',
      vectors: [{ name: 'embedding', kind: 'dense', dimension: 2, distance: 'cosine' }],
      fields: [
        { name: 'caption', type: 'text' },
        { name: 'source', type: 'text' },
      ],
    });
    expect(a.batch.payloads).toEqual(['{"caption":"h 1","source":"old"}']);
    expect([...(a.batch.vectors.get('embedding')?.values ?? [])]).toEqual([1, 0.5]);
    const b = await read(join(`${folder}-new`, 'b.parquet'));
    // All else that the shard knows of its source stays.
    expect(b.meta).toMatchObject({
      run: 'r2',
      range: { from: '5', to: null },
      rest: { from: '9', to: null },
      collection: 'articles',
    });
    expect(b.meta.schema).toEqual({
      ...schema,
      vectors: schema.vectors.map((spec) => ({ ...spec, name: 'embedding', distance: 'cosine' })),
    });
    expect(b.batch.payloads[0]).toBe('{"n":1e0,"caption":"1","source":"old"}');
    expect(b.batch.vectors.get('embedding')).toEqual(batch.vectors.get('emb'));
    expect([...(await read(join(`${folder}-new`, 'none.parquet'))).batch.vectors.keys()]).toEqual(['embedding']);
  });

  test('what they leave out is counted; what they cannot be applied to is named: half a folder of old names would be read as records that lack theirs', async () => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1, 2, 3]));
    put(folder, 'lines.jsonl', '{"id":1,"emb":[1.5,2]}\n');
    put(folder, 'others.jsonl', old([1], { collection: 'users' }));
    const mapping = { records: [{ name: 'no second', drop: { headline: 'h 2' } }] };
    const { files: made } = await upgrade(folder, { ...rules, mapping });
    expect(made).toMatchObject([
      { file: 'a.jsonl', how: 'upgraded', records: 2, left: 1 },
      {
        file: 'lines.jsonl',
        how: 'failed',
        reason: expect.stringMatching(/names and mapping are applied to shards alone/),
      },
      {
        file: 'others.jsonl',
        how: 'failed',
        error: 'SchemaMismatch',
        reason: expect.stringMatching(/collection 'users'/),
      },
    ]);
    const lax = { names: { ...rules.names, strict: false } };
    const { files: again } = await upgrade(folder, lax, `${folder}-lax`);
    expect(howOf(again)[2]).toBe('others.jsonl left out');
  });

  test('go into what the files store says of a folder that it wrote, so that it is read as a collection of the new names', async () => {
    const folder = makeFolder();
    const endpoint = { connection: { path: folder }, collection: '.', options: {} };
    const store = await files.open(endpoint);
    const schema = makeSchema({ vectors: [{ name: 'emb', kind: 'dense', dimension: 2, precision: 'float32' }] });
    await store.prepare({ ...schema, store: 'files' });
    const write = async (run: string, ids: string[]) =>
      await store.write(makeBatch({ ids, vectors: schema.vectors, payloads: ids.map(() => `{"headline":"${run}"}`) }), {
        position: { run, shard: '00000-000', offset: 0 },
        mode: 'upsert',
      });
    await write('z-first', ['1', '2']);
    await write('a-second', ['2', '3']);
    const names = { fields: { title: ['headline'] }, vectors: { embedding: ['emb'] } };
    expect((await upgrade(folder, { names })).files.map(({ how }) => how)).not.toContain('failed');
    const now = await files.open({ ...endpoint, connection: { path: `${folder}-new` } });
    expect((await now.describe()).schema.vectors).toMatchObject([{ name: 'embedding', dimension: 2 }]);
    const found: string[] = [];
    for await (const { batch } of now.read({ from: null, to: null }, { maxRecords: 10, maxBytes: 1 << 20 }))
      for (const [at, id] of batch.ids.entries()) found.push(`${id} ${batch.payloads[at]}`);
    // Which of two records of one id is the later one is still known.
    expect(found.sort()).toEqual(['1 {"title":"z-first"}', '2 {"title":"a-second"}', '3 {"title":"a-second"}']);
  });
});

describe('upgrade refuses', () => {
  test.each([
    ['the folder itself', (folder: string) => folder, 'InvalidEvent', /lies in/],
    ['a folder within it', (folder: string) => join(folder, 'x', 'y'), 'InvalidEvent', /lies in/],
    ['a folder that holds something else', (folder: string) => dirname(folder), 'Incompatible', /no upgrade wrote/],
    ['a file', (folder: string) => join(dirname(folder), 'file'), 'Incompatible', /no folder/],
  ])('%s as the new one', async (_, outOf, name, message) => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1]));
    put(dirname(folder), 'file', 'x');
    const before = contentOf(dirname(folder));
    await expect(upgrade(folder, undefined, outOf(folder))).rejects.toMatchObject({
      name,
      message: expect.stringMatching(message),
    });
    expect(contentOf(dirname(folder))).toEqual(before);
  });

  test('a way into the folder through a link', async () => {
    const folder = makeFolder();
    put(folder, 'a.jsonl', old([1]));
    symlinkSync(folder, `${folder}-link`);
    await expect(upgrade(folder, undefined, join(`${folder}-link`, 'new'))).rejects.toMatchObject({
      name: 'InvalidEvent',
    });
  });

  test('a folder with the upgrade of another one, or by other rules: shards of both would lie side by side', async () => {
    const [folder, other] = [makeFolder(), makeFolder()];
    put(folder, 'a.jsonl', old([1]));
    put(other, 'b.jsonl', old([2]));
    await upgrade(folder);
    await expect(upgrade(other, undefined, `${folder}-new`)).rejects.toMatchObject({ name: 'RunMismatch' });
    const names = { fields: { title: ['headline'] } };
    await expect(upgrade(folder, { names })).rejects.toMatchObject({ name: 'RunMismatch' });
  });

  test('a folder that is not there, and a file in its place', async () => {
    await expect(upgrade('/nope/at/all', undefined, '/tmp/x')).rejects.toMatchObject({ name: 'NotFound' });
    await expect(upgrade('package.json', undefined, '/tmp/x')).rejects.toMatchObject({ name: 'InvalidEvent' });
  });
});

test('a folder that is not whole is not taken for the whole: no run reads one half made, and a plan says what stayed behind', async () => {
  const folder = makeFolder();
  put(folder, 'posts/a.jsonl', old([1]));
  put(folder, 'posts/in/b.jsonl', old([2]).subarray(0, 90));
  put(folder, 'users/c.jsonl', old([3]));
  const out = `${folder}-new`;
  const stopping = new AbortController();
  await upgradeFolder({ folder, out, rules: undefined, signal: stopping.signal, onFile: () => stopping.abort() });
  const describe = async (collection: string) =>
    await (await files.open({ connection: { path: out }, collection, options: {} })).describe();
  await expect(describe('posts')).rejects.toMatchObject({
    name: 'Incompatible',
    message: expect.stringMatching(/has not come to its end.*`vecferry upgrade` again/),
  });
  await upgrade(folder);
  const { count, notes } = await describe('posts');
  expect({ count, notes }).toEqual({
    count: 1,
    notes: [expect.stringMatching(/^1 file of .* could not be brought up, .*: posts\/in\/b\.jsonl$/)],
  });
  expect((await describe('users')).notes).toEqual([]);
  put(folder, 'posts/in/b.jsonl', old([2]));
  await upgrade(folder);
  expect(await describe('posts')).toMatchObject({ count: 2, notes: [] });
});

test('a file that is gone before its turn is named, and all others are brought up', async () => {
  const folder = makeFolder();
  for (const id of [1, 2, 3]) put(folder, `${id}.jsonl`, old([id]));
  const onFile = (): void => rmSync(join(folder, '2.jsonl'), { force: true });
  const { signal } = new AbortController();
  const { files: made } = await upgradeFolder({ folder, out: `${folder}-new`, rules: undefined, signal, onFile });
  expect(howOf(made)).toEqual(['1.jsonl upgraded', '2.jsonl failed', '3.jsonl upgraded']);
  expect(made[1]).toMatchObject({ error: 'Unreadable', reason: expect.stringMatching(/2\.jsonl/) });
});

test('what keeps a file from being read is no finding about it: S3 that is busy makes no shard a damaged one', async () => {
  const shard = readFileSync('test/data/shards/format-2.parquet');
  for (const failing of [1, 2, 3]) {
    let reads = 0;
    const range = async (from: number, to: number): Promise<Uint8Array> => {
      if (++reads === failing) throw new Throttled('slow down');
      return shard.subarray(from, to);
    };
    const look = lookAt(watched({ size: shard.length, range }), 'a.parquet', 's3://data/a.parquet', true);
    await expect(look).rejects.toMatchObject({ name: 'Throttled' });
  }
});

test('stopped in the middle it says so, and the next call goes on', async () => {
  const folder = makeFolder();
  for (const name of ['a', 'b', 'c']) put(folder, `${name}.jsonl`, old([1]));
  const stopping = new AbortController();
  const input = { folder, out: `${folder}-new`, rules: undefined };
  const stopped = await upgradeFolder({ ...input, signal: stopping.signal, onFile: () => stopping.abort() });
  expect(stopped).toMatchObject({ isStopped: true, files: [{ file: 'a.jsonl' }] });
  const whole = await upgradeFolder({ ...input, signal: new AbortController().signal });
  expect(whole.files.map(({ wasThere }) => wasThere)).toEqual([true, false, false]);
});
