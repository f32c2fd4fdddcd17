import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { type Batch, denseVector } from '../../../lib/batch.ts';
import { decodeShard, encodeShard } from '../../../lib/shard/shard.ts';
import { files } from '../../../lib/stores/files.ts';
import { makeBatch, makeSchema } from '../../make.ts';
import { asFormat, nineDigits, writeFormat1 } from '../../shard/old-formats.ts';
import { until } from '../../until.ts';
import { callCommand, spawnCommand } from './command-line.ts';

/** vecferry upgrade and inspect, as their users meet them. */

const makeFolder = (): string => {
  const folder = join(mkdtempSync(join(tmpdir(), 'vecferry-cli-')), 'old');
  mkdirSync(folder);
  return folder;
};

/** What a folder of golden shards, a cut one, an altered one, a newer one and two files of others holds. */
function makeMixed(): string {
  const folder = makeFolder();
  cpSync('test/data/shards', join(folder, 'posts'), { recursive: true });
  const first = readFileSync('test/data/shards/format-1.jsonl');
  writeFileSync(join(folder, 'posts', 'cut.jsonl'), first.subarray(0, 700));
  const second = readFileSync('test/data/shards/format-2.parquet');
  writeFileSync(join(folder, 'newer.parquet'), asFormat(second, '9'));
  second[100]! ^= 1;
  writeFileSync(join(folder, 'posts', 'altered.parquet'), second);
  cpSync('test/data/words-10k.parquet', join(folder, 'words.parquet'));
  writeFileSync(join(folder, 'lines.jsonl'), '{"id":1,"v":[1.5,2]}\n');
  writeFileSync(join(folder, 'plan.json'), '{}');
  return folder;
}

describe('vecferry inspect DIR', () => {
  test('says of every file what it is, from its ends alone, names what is damaged, and groups shards by fingerprint', async () => {
    const folder = makeMixed();
    const { code, events } = await spawnCommand(['--json', 'inspect', folder]);
    expect(code).toBe(4);
    expect(events()).toMatchObject([
      { type: 'file', file: 'lines.jsonl', kind: 'other', what: 'JSON lines, no shard' },
      {
        type: 'file',
        file: 'newer.parquet',
        kind: 'newer',
        format: 9,
        reason: expect.stringMatching(/read it with vecferry 0/),
      },
      // A bit among the pages: the ends do not tell.
      { type: 'shard', file: 'posts/altered.parquet', format: 2, verified: false },
      { type: 'file', file: 'posts/cut.jsonl', kind: 'damaged', reason: expect.stringMatching(/is cut short/) },
      {
        type: 'shard',
        file: 'posts/format-1.jsonl',
        format: 1,
        older: true,
        records: 3,
        collection: 'public.posts',
        range: { from: null, to: '["5"]' },
        fingerprint: expect.stringMatching(/^2c3098fb/),
        schema: { vectors: [{ name: 'emb', dimension: 4, model: { name: 'all-MiniLM-L6-v2' } }, {}, {}] },
      },
      {
        type: 'shard',
        file: 'posts/format-2.parquet',
        format: 2,
        older: false,
        records: 3,
        collection: 'public.posts',
      },
      { type: 'file', file: 'words.parquet', kind: 'other', what: 'Parquet, no shard', records: 10_000 },
      {
        type: 'inspected',
        verified: false,
        files: 7,
        shards: 3,
        records: 9,
        older: 1,
        others: 1,
        groups: [
          { shards: 2, records: 6 },
          { shards: 1, records: 3 },
        ],
        failed: [{ file: 'newer.parquet' }, { file: 'posts/cut.jsonl' }],
      },
      { type: 'error', error: 'ShardDamaged', exitCode: 4 },
    ]);
  });

  test('--verify works out every checksum: the altered one is named too, and all else is shown', async () => {
    const { code, out, err } = await callCommand(['inspect', makeMixed(), '--verify']);
    expect(code).toBe(4);
    expect(err).toMatch(
      /^ShardDamaged: 3 files of .*newer\.parquet, posts\/altered\.parquet, posts\/cut\.jsonl; each line/,
    );
    expect(out).toMatch(/\nposts\/format-1\.jsonl {2}format 1 \(older\) {2}3 records .*checksum right\n/);
    expect(out).toMatch(/\nfailed {3}posts\/altered\.parquet: .*its checksum is another/);
    expect(out).toMatch(/\nolder {4}1 shard that readers refuse: vecferry upgrade \S+\n/);
  });

  test('of a folder in which all is well ends with 0', async () => {
    const folder = makeFolder();
    cpSync('test/data/shards', folder, { recursive: true });
    expect(await callCommand(['inspect', folder, '--verify'])).toMatchObject({ code: 0, err: '' });
  });

  test('reads no more than the ends of a file, whatever its size', async () => {
    const folder = makeFolder();
    const vectors = makeSchema().vectors.map((each) => ({ ...each, dimension: 512 }));
    const batch = makeBatch({ ids: Array.from({ length: 4000 }, (_, i) => `${i}`), vectors });
    const meta = { run: 'r', shard: '00000-000', range: { from: null, to: null }, rest: null };
    const bytes = await encodeShard(batch, { ...meta, schema: makeSchema({ vectors }) });
    // Every page is gone; the metadata at the end is not.
    bytes.fill(0, 4, bytes.length - 16_384);
    writeFileSync(join(folder, 'a.parquet'), bytes);
    expect(await callCommand(['inspect', folder])).toMatchObject({ code: 0 });
    expect(await callCommand(['inspect', folder, '--verify'])).toMatchObject({ code: 4 });
  });
});

describe('vecferry inspect FILE', () => {
  test.each([
    ['format-1.jsonl', /format 1, checksum right[\s\S]*older +vecferry upgrade \S+shards\n/],
    ['format-2.parquet', /format 2, checksum right[\s\S]*collection +public\.posts/],
  ])('shows %s', async (name, shown) => {
    const { code, out } = await callCommand(['inspect', `test/data/shards/${name}`, '--verify']);
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(shown) });
  });
});

describe('vecferry upgrade', () => {
  test('says what it made, names what stays behind, and ends with 4; a folder without such with 0', async () => {
    const folder = makeMixed();
    const { code, out, err } = await spawnCommand(['upgrade', folder]);
    expect(code).toBe(4);
    expect(out).toContain(`to format 2 in ${folder}-format-2\n`);
    expect(out).toMatch(/done {5}1 file upgraded, 3 copied as they were; 6 records in shards/);
    expect(out).toMatch(/aside {4}1 file .*plan\.json\nfailed {3}newer\.parquet: /);
    expect(err).toMatch(
      /^ShardDamaged: 3 files stayed behind.*newer\.parquet, posts\/altered\.parquet, posts\/cut\.jsonl; mend/,
    );
    expect(await callCommand(['inspect', `${folder}-format-2`, '--verify'])).toMatchObject({ code: 0 });
    const clean = makeFolder();
    cpSync('test/data/shards', clean, { recursive: true });
    const { code: ok, events } = await callCommand(['--json', 'upgrade', clean, '--out', `${clean}2`]);
    expect(ok).toBe(0);
    expect(events()).toMatchObject([
      {
        type: 'upgraded',
        file: 'format-1.jsonl',
        to: 'format-1.parquet',
        how: 'upgraded',
        format: 1,
        records: 3,
        wasThere: false,
      },
      { type: 'upgraded', file: 'format-2.parquet', how: 'copied' },
      { type: 'upgrade', out: `${clean}2`, upgraded: 1, copied: 1, records: 6, failed: [] },
    ]);
  });

  test('takes names and mapping from files of their own, as JSON, or from an event, and not from both', async () => {
    const folder = makeFolder();
    cpSync('test/data/shards', folder, { recursive: true });
    const names = { fields: { title: ['headline'] }, vectors: { embedding: ['emb'] } };
    writeFileSync(join(folder, 'names.json'), JSON.stringify(names));
    const args = ['--names', join(folder, 'names.json'), '--mapping', '{"payload":{"year":null}}'];
    expect(await callCommand(['upgrade', folder, ...args])).toMatchObject({ code: 0 });
    const path = join(`${folder}-format-2`, 'format-1.parquet');
    const { batch } = await decodeShard(readFileSync(path), path);
    expect(batch.payloads[2]).toBe('{"title":null}');
    expect([...batch.vectors.keys()]).toEqual(['embedding', 'words', 'tokens']);
    const event = JSON.stringify({
      source: { store: 'files', collection: '.' },
      target: { store: 'memory', collection: 'x' },
    });
    for (const wrong of [
      ['--event', event],
      ['--event', event, '--names', '{}'],
      ['--names', 'nope.json'],
      ['--names', '{"fields":{"a":"b"}}'],
    ])
      expect(await callCommand(['upgrade', folder, '--out', `${folder}-x`, ...wrong])).toMatchObject({
        code: 2,
        err: expect.stringMatching(/^InvalidEvent: /),
      });
    expect(existsSync(`${folder}-x`)).toBe(false);
  });

  test('killed again and again it ends with every record once, every float bit for bit, and makes nothing twice', async () => {
    const folder = makeFolder();
    const words = await readWords();
    const shards = 40;
    const each = words.count / shards;
    for (let shard = 0; shard < shards; shard++) {
      const lines = Array.from({ length: each }, (_, i) => recordOf(words, shard * each + i));
      const header = { shard: `${String(shard).padStart(5, '0')}-000`, vectors: { embedding: { size: 100 } } };
      writeFileSync(join(folder, `${header.shard}.jsonl`), writeFormat1(header, lines));
    }
    const out = `${folder}-format-2`;
    for (const at of [1, 9, 23]) {
      const before = writtenAt(out);
      await killAt(folder, out, at);
      const after = writtenAt(out);
      expect([...before].filter(([name, time]) => after.get(name) !== time)).toEqual([]);
    }
    // As a kill in the middle of a write leaves it: it never counts.
    writeFileSync(join(out, '00039-000.parquet.0f8fad5b-d9cb-469f-a165-70867728950e.tmp'), 'half');
    const before = writtenAt(out);
    expect(before.size).toBeLessThan(shards);
    expect(await callCommand(['upgrade', folder])).toMatchObject({
      code: 0,
      out: expect.stringMatching(/40 files upgraded, [0-9]+ of all these were there/),
    });
    const after = writtenAt(out);
    expect([...before].filter(([name, time]) => after.get(name) !== time)).toEqual([]);
    expect(readdirSync(out).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    const positions = new Map(words.ids.map((id, at) => [id, at]));
    const found = new Set<string>();
    const store = await files.open({ connection: { path: out }, collection: '.', options: {} });
    for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 1000, maxBytes: 1 << 24 })) {
      for (const [at, id] of batch.ids.entries()) {
        expect(found.has(id)).toBe(false);
        found.add(id);
        const [was, is] = [bitsOf(words, 'embedding', positions.get(id) ?? -1), bitsOf(batch, 'embedding', at)];
        if (was !== is) throw new Error(`record ${id} has ${is}, not ${was}`);
      }
    }
    expect(found.size).toBe(10_000);
  });
});

async function readWords(): Promise<Batch> {
  const store = await files.open({ connection: { path: 'test/data' }, collection: 'words-10k.parquet', options: {} });
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 10_000, maxBytes: 1 << 26 }))
    return batch;
  throw new Error('there are no words');
}

function vectorAt(batch: Batch, name: string, at: number): Float32Array {
  const column = batch.vectors.get(name);
  if (column?.kind !== 'dense') throw new Error(`${name} is not dense`);
  return denseVector(column, at);
}

const recordOf = (words: Batch, at: number): string =>
  `{"id":${words.ids[at]},"vectors":{"embedding":${nineDigits(vectorAt(words, 'embedding', at))}},"payload":${words.payloads[at]}}`;

const bitsOf = (batch: Batch, name: string, at: number): string => {
  const { buffer, byteOffset, byteLength } = vectorAt(batch, name, at);
  return Buffer.from(buffer, byteOffset, byteLength).toString('hex');
};

/** When each shard of the new folder was written. */
function writtenAt(out: string): Map<string, number> {
  const names = existsSync(out) ? readdirSync(out).filter((name) => name.endsWith('.parquet')) : [];
  return new Map(names.map((name) => [name, statSync(join(out, name)).mtimeMs]));
}

/** SIGKILL as soon as the new folder has so many shards. */
async function killAt(folder: string, out: string, count: number): Promise<void> {
  const child = spawn(process.execPath, ['infra/local/vecferry.mjs', 'upgrade', folder], {
    stdio: 'ignore',
    env: { ...process.env, NODE_OPTIONS: '' },
    detached: true,
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await until(
    () => writtenAt(out).size >= count,
    `${count} shards in ${out}`,
    () => (child.exitCode === null ? undefined : `it ended with ${child.exitCode}`),
  );
  process.kill(-(child.pid ?? 0), 'SIGKILL');
  await ended;
}
