import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Batch, concatBatches } from '../lib/batch.ts';
import { compareShard } from '../lib/compare/compare.ts';
import { split } from '../lib/compare/fetch-records.ts';
import { readManifest } from '../lib/manifest.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import type { VectorSpec } from '../lib/schema.ts';
import { getShard } from '../lib/shard/get-shard.ts';
import { makeBatch, makeSchema } from './make.ts';
import { load, makeWorld, noDeadline } from './world.ts';

/**
 * Measures what validation leaves behind in memory, and prints it as JSON. A process of its own: each look collects all garbage,
 * which takes a second in one that has run many files, and there is much in it that comes and goes meanwhile.
 */

/** A shard holds this many records, in 60 kB or so: nothing may hold them once they were compared, nor even their ids, 16 kB. */
const recordsPerShard = 500;
const shardCount = 60;
/** 16 floats and 54 characters each. */
const shardBytes = recordsPerShard * 118;
const vectors: VectorSpec[] = [
  { name: 'body', kind: 'dense', dimension: 16, distance: 'cosine', precision: 'float32' },
];

function makeRecords(from: number): Batch {
  const ids = Array.from({ length: recordsPerShard }, (_, i) => String(100_000 + from + i));
  const payloads = ids.map((id) => JSON.stringify({ title: `record ${id}`, text: 'x'.repeat(16) }));
  return makeBatch({ ids, vectors, payloads });
}

/** Memory in use once everything that nothing holds is gone: objects, and the array buffers outside of the heap. */
function bytesHeld(): number {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  for (let i = 0; i < 3; i++) collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const event = { validate: { recall: { k: 5, queries: 100 } } };
const world = await makeWorld({
  records: concatBatches(Array.from({ length: shardCount }, (_, at) => makeRecords(at * recordsPerShard))),
  schema: makeSchema({ vectors }),
  event,
  shardBytes,
});
const plan = await load(world);
const manifest = await readManifest(world.objects, plan.run);
await chooseQueries({ plan, manifest, objects: world.objects });

/**
 * Bytes that each shard leaves behind once the first few are done: of three parts of the shards the one that left least,
 * because code is compiled once and what is held for ever is held in every part.
 */
async function leftByShard(work: (shard: string) => Promise<unknown>): Promise<number> {
  const shards = manifest.shards.map(({ shard }) => shard);
  const left: number[] = [];
  let before = bytesHeld();
  for (const part of split(shards, shardCount / 4)) {
    for (const shard of part) await work(shard);
    const after = bytesHeld();
    left.push((after - before) / part.length);
    before = after;
  }
  if (left.length !== 4) throw new Error(`${left.length} parts of the shards, not 4`);
  return Math.min(...left.slice(1));
}

const held: unknown[] = [];
const hold = (of: (batch: Batch) => unknown) => async (shard: string) =>
  held.push(of(await getShard(world.objects, plan, shard)));
const figures: LeftByShard = {
  compare: await leftByShard((shard) => compareShard({ ...world, plan, shard, deadline: noDeadline })),
  neighbours: await leftByShard((shard) => findNeighbours({ plan, shard, objects: world.objects })),
  records: await leftByShard(hold((batch) => batch)),
  ids: await leftByShard(hold(({ ids }) => ids)),
};
process.stdout.write(JSON.stringify(figures));

/** Bytes that each shard leaves behind, by what is done with it. */
export interface LeftByShard {
  readonly compare: number;
  readonly neighbours: number;
  /** A step that would hold each shard's records, and one that would hold their ids alone. */
  readonly records: number;
  readonly ids: number;
}
