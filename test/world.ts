import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Batch } from '../lib/batch.ts';
import { flagOnSource } from '../lib/cutover/cutover-flag.ts';
import { type FlagStore, fileFlags, flagNameOf } from '../lib/cutover/flag.ts';
import { parseEvent, type RunEvent } from '../lib/event.ts';
import { exportRange } from '../lib/export.ts';
import { type ImportOutcome, importShard, noteFailure } from '../lib/import.ts';
import type { Deadline, Log } from '../lib/log.ts';
import { sealManifest } from '../lib/manifest.ts';
import type { ObjectStore } from '../lib/objects.ts';
import { openFileObjects } from '../lib/objects-files.ts';
import { planRun, readRanges } from '../lib/plan.ts';
import type { ShardQueue } from '../lib/queue.ts';
import type { Plan } from '../lib/run-files.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { type ImportMessage, maxDeliveries } from '../lib/states.ts';
import { memory } from '../lib/stores/memory.ts';
import type { Store } from '../lib/stores/port.ts';
import { makeBatch, makeSchema } from './make.ts';

/** The domain on one machine without an engine: two memory collections, a directory, and a queue that a test drives by hand. */
export interface World {
  readonly shardBytes: number | undefined;
  readonly event: RunEvent;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly source: Store;
  readonly target: Store;
  /** Messages that wait, oldest first. */
  readonly waiting: ImportMessage[];
  readonly dead: ImportMessage[];
  readonly queue: ShardQueue;
}

export const quiet: Log = { info: () => {}, warn: () => {} };
export const noDeadline: Deadline = { remainingMs: () => 900_000 };

/** A deadline that is near from the n-th time it is asked. */
export function nearAfter(calls: number): Deadline {
  let asked = 0;
  return { remainingMs: () => (++asked > calls ? 0 : 900_000) };
}

let worlds = 0;

export interface WorldParts {
  readonly records?: Batch;
  readonly schema?: CollectionSchema;
  readonly event?: Record<string, unknown>;
  /** Makes shards smaller than the plan's estimate, so that a range has several. */
  readonly shardBytes?: number;
}

export async function makeWorld({
  records,
  schema = makeSchema(),
  event = {},
  shardBytes,
}: WorldParts = {}): Promise<World> {
  const path = `world-${++worlds}-${process.pid}`;
  const open = (collection: string): Promise<Store> => memory.open({ connection: { path }, collection, options: {} });
  const source = await open('articles');
  await source.prepare(schema);
  const batch = records ?? makeBatch({ ids: Array.from({ length: 100 }, (_, i) => String(1000 + i)) });
  await source.write(batch, { position: { run: 'seed', shard: '00000-000', offset: 0 }, mode: 'upsert' });
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-test-'));
  const waiting: ImportMessage[] = [];
  const dead: ImportMessage[] = [];
  return {
    shardBytes,
    event: parseEvent({
      source: { store: 'memory', connection: { path }, collection: 'articles' },
      target: { store: 'memory', connection: { path }, collection: 'articles2' },
      ...event,
    }),
    objects: openFileObjects(join(directory, 'objects')),
    flags: fileFlags(join(directory, 'flags')),
    source,
    target: await open('articles2'),
    waiting,
    dead,
    queue: {
      send: async (messages) => void waiting.push(...messages),
      sendLater: async (message) => void waiting.push(message),
      bury: async (message) => void dead.push(message),
      deadShards: async (run, attempt) =>
        dead.filter((each) => each.run === run && each.attempt === attempt).map(({ shard }) => shard),
    },
  };
}

export async function plan(world: World, run = 'r1', event = world.event): Promise<Plan> {
  const planned = await planRun({ ...world, event, run, sourceKind: memory, targetKind: memory, now: new Date() });
  await world.target.prepare(planned.target);
  return world.shardBytes === undefined ? planned : { ...planned, shardBytes: world.shardBytes };
}

/** Exports every range whole, however often the deadline nears. */
export async function exportAll(world: World, planned: Plan, deadline: Deadline = noDeadline): Promise<void> {
  for (const range of await readRanges(world.objects, planned.run)) {
    let result = await exportRange({ ...world, plan: planned, range, deadline, log: quiet });
    while (!result.done)
      result = await exportRange({ ...world, plan: planned, range, next: result.next, deadline, log: quiet });
  }
}

/** Delivers one message as SQS does: again when it fails, until the dead letters. */
export async function deliver(
  world: World,
  planned: Plan,
  message: ImportMessage,
  deadline: Deadline = noDeadline,
): Promise<ImportOutcome | 'dead'> {
  const input = { ...world, plan: planned, message, targetKind: memory, deadline, log: quiet, now: () => new Date() };
  for (let attempts = 1; attempts <= maxDeliveries; attempts++) {
    try {
      return (await importShard(input)).outcome;
    } catch (error) {
      if (!(await noteFailure(input, error, { attempts, maxAttempts: maxDeliveries }))) return 'dead';
    }
  }
  world.dead.push(message);
  return 'dead';
}

/** Delivers all that waits, and what comes back meanwhile. */
export async function importAll(
  world: World,
  planned: Plan,
  deadline: () => Deadline = () => noDeadline,
): Promise<void> {
  for (let message = world.waiting.shift(); message !== undefined; message = world.waiting.shift())
    await deliver(world, planned, message, deadline());
}

/** The run up to the loaded target. */
export async function load(world: World, run = 'r1'): Promise<Plan> {
  const planned = await plan(world, run);
  await exportAll(world, planned);
  await sealManifest({ plan: planned, objects: world.objects });
  await importAll(world, planned);
  // As "Begin the live writes" does before all of it: nothing is mended of a run whose application does not write to both.
  if (planned.event.live !== false) await world.flags.write(flagNameOf(planned.event), flagOnSource(planned));
  return planned;
}
