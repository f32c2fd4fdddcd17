import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Batch } from '../lib/batch.ts';
import { parseEvent } from '../lib/event.ts';
import { exportRange } from '../lib/export.ts';
import { readManifest, sealManifest } from '../lib/manifest.ts';
import { openFileObjects } from '../lib/objects-files.ts';
import { planRun, readPlan, readRanges } from '../lib/plan.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import { readTruths } from '../lib/recall/truths.ts';
import { seededRandom } from '../lib/sample.ts';
import { files } from '../lib/stores/files.ts';
import { memory } from '../lib/stores/memory.ts';
import type { BenchRow } from './row.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const records = 1_000_000;
const dimension = 100;
const queries = 200;
const k = 10;

/**
 * The truth of a recall measure over a large collection: exact neighbours of 200 queries among 1,000,000 x 100, shard by
 * shard from files as on AWS from S3, one after the other in one process. There each shard has a function of its own.
 */
export async function run(): Promise<BenchRow[]> {
  const directory = await mkdtemp(join(tmpdir(), 'vecferry-bench-'));
  try {
    await makeShards(directory);
    const child = `const { search } = await import(process.argv[1]); console.log(JSON.stringify(await search(process.argv[2])));`;
    const args = ['--input-type=module', '-e', child, import.meta.url, directory];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
    const found: Searched = JSON.parse(stdout);
    const peer = await numpy();
    const name = `exact neighbours, ${queries} queries over ${records.toLocaleString('en')} x ${dimension}, ${found.shards} shards`;
    return [
      {
        name,
        value: found.seconds,
        unit: 's',
        against: 'numpy, one thread, all in memory',
        ratio: found.seconds / peer,
      },
      { name: 'the same: the slowest shard', value: found.slowest, unit: 's', goal: '< 60 s' },
      { name: 'the same: queries drawn, and the shards merged', value: found.others, unit: 's' },
      { name: 'the same: peak memory', value: found.peakMb, unit: 'MB', goal: '< 700 MB' },
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Searched {
  readonly shards: number;
  readonly seconds: number;
  readonly slowest: number;
  readonly others: number;
  readonly peakMb: number;
}

/** Everything between the export and the first search: what the bench's child process does. */
export async function search(directory: string): Promise<Searched> {
  const objects = openFileObjects(join(directory, 'objects'));
  const begin = performance.now();
  const plan = await readPlan(objects, 'bench');
  const manifest = await readManifest(objects, 'bench');
  await chooseQueries({ plan, manifest, objects });
  const chosen = performance.now();
  let slowest = 0;
  for (const { shard } of manifest.shards) {
    const started = performance.now();
    await findNeighbours({ plan, shard, objects });
    slowest = Math.max(slowest, performance.now() - started);
  }
  const searched = performance.now();
  const truths = await readTruths({ plan, manifest, objects });
  const end = performance.now();
  if (truths.length !== queries || truths.some(({ query, nearest }) => nearest[0]?.id !== query.id))
    throw new Error('a sampled query is not its own nearest neighbour');
  return {
    shards: manifest.shards.length,
    seconds: (end - begin) / 1000,
    slowest: slowest / 1000,
    others: (chosen - begin + end - searched) / 1000,
    peakMb: await peakMb(),
  };
}

/** The shards of a run, exported by vecferry from files that it wrote. */
async function makeShards(directory: string): Promise<void> {
  const connection = { path: join(directory, 'source') };
  const source = await files.open({ connection, collection: 'vectors', options: {} });
  const vector = { name: 'embedding', kind: 'dense', dimension, distance: 'cosine', precision: 'float32' } as const;
  const schema = {
    store: 'files',
    idType: 'integer',
    key: [],
    vectors: [vector],
    payloadIndexes: [],
    native: {},
  } as const;
  await source.prepare({ ...schema, key: [], vectors: [vector], payloadIndexes: [] });
  const random = seededRandom(1);
  const each = 20_000;
  for (let from = 0; from < records; from += each) {
    const values = Float32Array.from({ length: each * dimension }, () => random() - 0.5);
    const batch: Batch = {
      count: each,
      ids: Array.from({ length: each }, (_, at) => String(from + at)),
      vectors: new Map([[vector.name, { kind: 'dense', dimension, values }]]),
      payloads: Array.from({ length: each }, (_, at) => `{"title":"title ${from + at}"}`),
    };
    await source.write(batch, { position: { run: 'seed', shard: '00000-000', offset: from }, mode: 'upsert' });
  }
  const objects = openFileObjects(join(directory, 'objects'));
  const target = await memory.open({ connection: { path: 'bench' }, collection: 'target', options: {} });
  const event = parseEvent({
    source: { store: 'files', connection, collection: 'vectors' },
    target: { store: 'memory', connection: { path: 'bench' }, collection: 'target' },
    validate: { recall: { k, queries, depths: [] } },
  });
  const kinds = { sourceKind: files, targetKind: memory };
  const plan = await planRun({ ...kinds, event, run: 'bench', source, target, objects, now: new Date() });
  const queue = { send: async () => {}, sendLater: async () => {}, bury: async () => {}, deadShards: async () => [] };
  const log = { info: () => {}, warn: () => {} };
  const deadline = { remainingMs: () => Number.POSITIVE_INFINITY };
  for (const range of await readRanges(objects, 'bench'))
    await exportRange({ plan, range, source, objects, queue, deadline, log });
  await sealManifest({ plan, objects });
  await source.close();
}

/** Seconds that numpy takes for the same on one thread: one float32 matrix product a shard, and the k + 10 nearest of each query. */
async function numpy(): Promise<number> {
  const script = `
import numpy as np, time
rng = np.random.default_rng(1)
shard, queries, keep = 16000, ${queries}, ${k + 10}
asked = rng.random((queries, ${dimension}), dtype=np.float32) - 0.5
data = rng.random((${records}, ${dimension}), dtype=np.float32) - 0.5
begin = time.perf_counter()
best = []
for at in range(0, ${records}, shard):
    part = data[at:at + shard]
    distances = 1 - (asked @ part.T) / (np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(part, axis=1)[None, :])
    nearest = np.argpartition(distances, keep, axis=1)[:, :keep]
    best.append(np.take_along_axis(distances, nearest, axis=1))
merged = np.sort(np.concatenate(best, axis=1), axis=1)[:, :keep]
print(time.perf_counter() - begin)`;
  const python = join(root, '.venv', 'bin', 'python');
  const threads = { OPENBLAS_NUM_THREADS: '1', OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' };
  const { stdout } = await promisify(execFile)(python, ['-c', script], { env: { ...process.env, ...threads } });
  return Number(stdout);
}

/** The highest resident memory this process ever had, in MB (10^6 bytes): the kernel keeps it as VmHWM. */
async function peakMb(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8');
  return (Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024) / 1e6;
}
