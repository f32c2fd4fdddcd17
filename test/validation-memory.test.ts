import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { beforeAll, describe, expect, jest, test } from '@jest/globals';
import { type Batch, concatBatches } from '../lib/batch.ts';
import { compareShard } from '../lib/compare/compare.ts';
import { split } from '../lib/compare/fetch-records.ts';
import { readManifest } from '../lib/manifest.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import type { Manifest, Plan } from '../lib/run-files.ts';
import type { VectorSpec } from '../lib/schema.ts';
import { getShard } from '../lib/shard/get-shard.ts';
import { makeBatch, makeSchema } from './make.ts';
import { load, makeWorld, noDeadline, type World } from './world.ts';

/** A shard holds this many records, in 60 kB or so: nothing may hold them once they were compared, nor even their ids, 16 kB. */
const recordsPerShard = 500;
const shardCount = 60;
/** 16 floats and 54 characters each. */
const shardBytes = recordsPerShard * 118;
/** Bytes that a shard may leave behind: its entry in a list of shards, code compiled meanwhile. Measured: up to 2 kB. */
const allowed = 8_000;

// Each look collects all garbage, which takes seconds in a process that has run many files.
jest.setTimeout(180_000);

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

describe('validation holds one shard at a time, so its memory does not grow with the collection', () => {
  let world: World;
  let plan: Plan;
  let manifest: Manifest;

  beforeAll(async () => {
    const records = concatBatches(Array.from({ length: shardCount }, (_, at) => makeRecords(at * recordsPerShard)));
    const event = { validate: { recall: { k: 5, queries: 100 } } };
    world = await makeWorld({ records, schema: makeSchema({ vectors }), event, shardBytes });
    plan = await load(world);
    manifest = await readManifest(world.objects, plan.run);
    await chooseQueries({ plan, manifest, objects: world.objects });
  });

  /**
   * Bytes that each shard leaves behind once the first few are done: of three parts of the shards the one that left least,
   * because code is compiled once and what is held for ever is held in every part.
   */
  async function leftByShard(work: (shard: string) => Promise<unknown>): Promise<number> {
    const shards = manifest.shards.map(({ shard }) => shard);
    const left: number[] = [];
    for (const part of split(shards, shardCount / 4)) {
      const before = bytesHeld();
      for (const shard of part) await work(shard);
      left.push((bytesHeld() - before) / part.length);
    }
    expect(left).toHaveLength(4);
    return Math.min(...left.slice(1));
  }

  test('comparing a shard leaves nothing of its records behind', async () => {
    const left = await leftByShard((shard) => compareShard({ ...world, plan, shard, deadline: noDeadline }));
    expect(left).toBeLessThan(allowed);
  });

  test('finding neighbours in a shard leaves nothing of its records behind', async () => {
    const left = await leftByShard((shard) => findNeighbours({ plan, shard, objects: world.objects }));
    expect(left).toBeLessThan(allowed);
  });

  test('a step that held the records of every shard, or only their ids, would be seen', async () => {
    const held: unknown[] = [];
    const hold = (of: (batch: Batch) => unknown) => async (shard: string) =>
      held.push(of(await getShard(world.objects, plan, shard)));
    expect(await leftByShard(hold((batch) => batch))).toBeGreaterThan(4 * allowed);
    expect(await leftByShard(hold(({ ids }) => ids))).toBeGreaterThan(1.5 * allowed);
  });
});
