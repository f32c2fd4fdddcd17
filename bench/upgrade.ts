import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'lossless-json';
import { encodeShard } from '../lib/shard/shard.ts';
import { upgradeFolder } from '../lib/upgrade/upgrade.ts';
import { nineDigits, writeFormat1 } from '../test/shard/old-formats.ts';
import { start, vecferry } from './command.ts';
import { inFolder } from './folder.ts';
import { type BenchRow, inTurns, Taken } from './row.ts';

/**
 * A folder of format 1 shards brought up, beside reading the same lines and doing nothing with them: by lossless-json, which keeps every
 * digit of a payload as the upgrade does, and by JSON.parse, which does not. Looking at 100 MB of shards, beside sha256sum of them.
 */

const records = 10_000;
const shards = 4;
const dimension = 384;
const inspectedBytes = 100e6;

export async function run(): Promise<BenchRow[]> {
  return await inFolder(async (directory) => [...(await upgrading(directory)), ...(await inspecting(directory))]);
}

async function upgrading(directory: string): Promise<BenchRow[]> {
  const [old, out] = [join(directory, 'old'), join(directory, 'out')];
  await mkdir(old);
  const perShard = records / shards;
  for (let shard = 0; shard < shards; shard++) {
    const lines = Array.from({ length: perShard }, (_, at) => lineOf(shard * perShard + at));
    const header = { shard: `0000${shard}-000`, vectors: { text: { size: dimension, metric: 'cosine' } } };
    await writeFile(join(old, `${shard}.jsonl`), writeFormat1(header, lines));
  }
  const eachLine = async (read: (line: string) => unknown): Promise<void> => {
    for (const name of await readdir(old))
      for (const line of (await readFile(join(old, name), 'utf8')).split('\n')) if (line !== '') read(line);
  };
  const signal = new AbortController().signal;
  const ms = await inTurns(
    {
      ours: async () => {
        await rm(out, { recursive: true, force: true });
        const from = performance.now();
        const { files } = await upgradeFolder({ folder: old, out, rules: undefined, signal });
        if (files.some(({ how }) => how !== 'upgraded')) throw new Error('a shard was not upgraded');
        return new Taken(from);
      },
      again: () => upgradeFolder({ folder: old, out, rules: undefined, signal }),
      lossless: () => eachLine((line) => parse(line)),
      plain: () => eachLine((line) => JSON.parse(line)),
    },
    { rounds: 3 },
  );
  const row = (name: string, taken: number, against: string, other: number, goal?: string): BenchRow => ({
    name: `upgrade of format 1, ${records.toLocaleString('en')} x ${dimension}${name}`,
    value: (records / taken) * 1000,
    unit: 'records/s',
    against,
    ratio: other / taken,
    ...(goal === undefined ? {} : { goal }),
  });
  return [
    row('', ms('ours'), 'reading the lines with lossless-json alone', ms('lossless'), 'ratio >= 1'),
    row('', ms('ours'), 'reading the lines with JSON.parse alone', ms('plain'), 'ratio >= 0.4'),
    row(', when all is there already', ms('again'), 'upgrading', ms('ours')),
  ];
}

function lineOf(at: number): string {
  const vector = nineDigits(Float32Array.from({ length: dimension }, () => Math.random() * 2 - 1));
  const payload = JSON.stringify({ title: `Article number ${at}`, year: 1990 + (at % 30), score: at / 7 });
  return `{"id":${at},"vectors":{"text":${vector}},"payload":${payload}}`;
}

async function inspecting(directory: string): Promise<BenchRow[]> {
  const folder = join(directory, 'shards');
  await mkdir(folder);
  const perShard = Math.ceil(inspectedBytes / 4 / (dimension * 4 + 30));
  for (let shard = 0; shard < 4; shard++) await writeFile(join(folder, `${shard}.parquet`), await shardOf(perShard));
  const paths = (await readdir(folder)).map((name) => join(folder, name));
  const ms = await inTurns(
    {
      ends: () => vecferry(directory, ['inspect', folder]),
      verified: () => vecferry(directory, ['inspect', folder, '--verify']),
      nothing: () => vecferry(directory, ['stores']),
      sums: () => start('sha256sum', paths),
    },
    { rounds: 3 },
  );
  const row = (name: string, taken: number, against: string, other: number, goal?: string): BenchRow => ({
    name: `vecferry inspect${name} of 100 MB`,
    value: taken,
    unit: 'ms',
    against,
    ratio: taken / other,
    ...(goal === undefined ? {} : { goal }),
  });
  return [
    row('', ms('ends'), 'vecferry stores, which reads nothing', ms('nothing')),
    row(' --verify', ms('verified'), 'sha256sum of the files', ms('sums')),
    row(' --verify, above inspect,', ms('verified') - ms('ends'), 'sha256sum of the files', ms('sums'), 'ratio <= 1.5'),
  ];
}

async function shardOf(count: number): Promise<Uint8Array> {
  const values = Float32Array.from({ length: count * dimension }, () => Math.random());
  const ids = Array.from({ length: count }, (_, at) => String(at));
  const vectors = new Map([['text', { kind: 'dense' as const, dimension, values }]]);
  const schema = {
    store: 'pgvector',
    idType: 'integer' as const,
    key: [],
    vectors: [{ name: 'text', kind: 'dense' as const, dimension, precision: 'float32' as const }],
    payloadIndexes: [],
    native: {},
  };
  const meta = { run: 'bench', shard: '00000-000', range: { from: null, to: null }, rest: null, schema };
  return await encodeShard({ count, ids, vectors, payloads: ids.map((id) => `{"n":${id}}`) }, meta);
}
