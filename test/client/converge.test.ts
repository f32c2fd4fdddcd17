import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createClient } from '../../lib/client/client.ts';
import type { Clock } from '../../lib/client/clock.ts';
import { memoryRepairs } from '../../lib/client/memory-repairs.ts';
import { mirror } from '../../lib/client/mirror.ts';
import type { Client } from '../../lib/client/options.ts';
import type { RepairQueue } from '../../lib/client/repairs.ts';
import type { Flag } from '../../lib/cutover/flag.ts';
import { bothSides, type Doc, type Found, keptLines, memoryLedger, memorySide } from './sides.ts';

/**
 * A live run in small: several clients, each with its own flag cache and repairs, write, delete and make again the same few
 * ids on two sides that are slow, fail before or after they have applied a call, and hang. Meanwhile double writes begin, an
 * importer copies what an export has read and inserts it where it is absent, and mirrors run. In the end both sides are equal.
 * Each protection can be left out, to see that the property then fails: it is what the protection is for.
 */

type Protection = 'tombstone' | 'look after a write' | 'repair noted before the acknowledgement' | 'lease';

const idArb = fc.constantFrom<string>('1', '2', '3');
const stepArb = fc.record({
  ids: fc.uniqueArray(idArb, { minLength: 1, maxLength: 2 }),
  isDelete: fc.boolean(),
  pause: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(12) }),
});
const worldArb = fc.record({
  seed: fc.integer(),
  clients: fc.array(fc.array(stepArb, { minLength: 1, maxLength: 12 }), { minLength: 2, maxLength: 4 }),
  /** False: nobody deletes. Else tombstones mend at the end what other protections should have. */
  hasDeletes: fc.boolean(),
  before: fc.uniqueArray(idArb),
  failures: fc.constantFrom(0, 0.15, 0.3),
  hangs: fc.constantFrom(0, 0.05),
  /** When double writes begin (0: they have already), and how long the import is behind the export. */
  begin: fc.nat(12),
  lag: fc.nat(25),
  /** The flag store cannot be reached by the first client, from soon after the start on. */
  isCutOff: fc.boolean(),
  mirrors: fc.array(fc.record({ ids: fc.uniqueArray(idArb, { minLength: 1 }), pause: fc.nat(20) }), { maxLength: 3 }),
});
type World = typeof worldArb extends fc.Arbitrary<infer T> ? T : never;

const leaseMs = 12;
const refreshMs = 6;
const settleMs = 18;
const giveUpMs = 6;

/** Differences between both sides once everything is at rest, and acknowledged writes that the source never took. */
async function runWorld(
  world: World,
  without?: Protection,
): Promise<{ a: object; b: object; lost: readonly number[] }> {
  const random = makeRandom(world.seed);
  let isCalm = false;
  const chaos = (isTarget: boolean) => async (call: string) => {
    for (let ticks = Math.floor(random() * 4); ticks > 0; ticks--) await tick();
    if (isCalm) return;
    if (isTarget && call !== 'fetch' && random() < world.hangs) await sleep(giveUpMs * 3);
    else if (random() < world.failures / 2) throw new Error(`${call} failed`);
  };
  const values = Object.fromEntries(world.before.map((id, at) => [id, -1 - at]));
  const a = memorySide(values, { before: chaos(false), after: chaos(false) });
  const b = memorySide({}, { before: chaos(true), after: chaos(true) });
  const ledger = memoryLedger();
  const taken = new Set<number>();
  const source = {
    ...a,
    upsert: async (records: readonly Doc[]) => {
      await a.upsert(records);
      for (const { value } of records) taken.add(value);
    },
  };

  const one: Partial<Flag> = { active: 'a:words', candidate: 'a:words', weight: 0 };
  let now = world.begin === 0 ? bothSides : one;
  const startedAt = performance.now();
  const start = (repairs: RepairQueue, at: number, clock?: Clock) =>
    createClient<Doc, number, Found>({
      flag: {
        name: 'words',
        read: async () => {
          for (let ticks = Math.floor(random() * 4); ticks > 0; ticks--) await tick();
          const isCutOff = world.isCutOff && at === 0 && performance.now() - startedAt > 3;
          if (!isCalm && (isCutOff || random() < world.failures / 2)) throw new Error('the flag store is away');
          return structuredClone(now) as Flag;
        },
      },
      sides: { 'a:words': source, 'b:words': b },
      source: 'a:words',
      ledger: without === 'tombstone' ? { addTombstones: async () => {} } : ledger,
      repairs,
      metrics: keptLines(),
      secondWriteTimeoutMs: giveUpMs,
      refreshMs,
      leaseMs: without === 'lease' ? 1e9 : leaseMs,
      onError: () => {},
      random,
      ...(clock === undefined ? {} : { clock }),
      ...(without === 'look after a write' ? { same: () => true } : {}),
    });
  const queues = world.clients.map(() =>
    without === 'repair noted before the acknowledgement' ? forgetfulRepairs() : memoryRepairs(),
  );
  const clients = queues.map((queue, at) => start(queue, at));

  let next = 1;
  const acknowledged: number[] = [];
  const write = async (client: (typeof clients)[number], steps: World['clients'][number]): Promise<void> => {
    for (const { ids, isDelete, pause } of steps) {
      await sleep(pause);
      const records = ids.map((id) => ({ id, value: next++ }));
      // A write that fails is the application's to repeat, or not: what it left behind must be the same on both sides.
      try {
        await (isDelete && world.hasDeletes ? client.delete(ids) : client.upsert(records));
        if (!isDelete || !world.hasDeletes) acknowledged.push(...records.map(({ value }) => value));
      } catch {}
    }
  };
  const begin = async (): Promise<void> => {
    await sleep(world.begin);
    now = bothSides;
    // Every client that there is has begun with it where it was so from the start.
    if (world.begin > 0) await sleep(settleMs);
  };
  const begun = begin();
  const copy = async (): Promise<void> => {
    await begun;
    const exported = [...a.docs];
    for (const [id, value] of exported) {
      await sleep((world.lag / exported.length) * random() * 2);
      if (!b.docs.has(id)) b.docs.set(id, value);
    }
  };
  const mirrors = world.mirrors.map(async ({ ids, pause }) => {
    // After the flag, and not by a time of its own: timers that are late all fire at once.
    await begun;
    await sleep(pause);
    await mirror({ ids, from: source, to: b }).catch(() => {});
  });
  await Promise.all([...clients.map((client, at) => write(client, world.clients[at] ?? [])), copy(), ...mirrors]);

  isCalm = true;
  // What was given up may arrive still.
  await sleep(giveUpMs * 4);
  await mirror({ ids: [...(ledger.tombstones.get('run-1') ?? [])], from: source, to: b });
  await Promise.all(clients.map((client) => client.flush()));
  await Promise.all(clients.map((client) => client.close().catch(() => {})));
  // The processes end; what they had noted is mended by the next ones.
  // Their clock stands still: on a busy machine a flag may be older than the short lease as soon as it is read, and what
  // then is not mended is no fault.
  const heirs = queues.map((queue, at) => start(queue, at, () => ({ wallMs: 0, steadyMs: 0 })));
  await Promise.all(heirs.map(flushAll));
  await Promise.all(heirs.map((client) => client.close()));
  const lost = acknowledged.filter((value) => !taken.has(value));
  return { a: Object.fromEntries(a.docs), b: Object.fromEntries([...b.docs]), lost };
}

/** Until nothing waits. */
async function flushAll(client: Client<Doc, number, Found>): Promise<void> {
  for (let times = 0; times < 100; times++) if ((await client.flush()).repairsWaiting === 0) return;
}

/** Acknowledges before it has noted anything; a process that ends early takes that with it. */
function forgetfulRepairs(): RepairQueue {
  const queue = memoryRepairs();
  return { ...queue, size: 0, add: async () => {}, peek: () => [] };
}

const property = (without?: Protection, given: Partial<World> = {}) =>
  fc.asyncProperty(worldArb, async (world) => {
    const { a, b, lost } = await runWorld({ ...world, ...given }, without);
    expect(b).toEqual(a);
    expect(lost).toEqual([]);
  });

/** Clients that begin once double writes have settled, so that nothing is mended a second time for that. */
const late = (isDelete: boolean, times: number, pause = 16): World['clients'] =>
  [['1'], ['1', '2'], ['1', '3']].map((ids) =>
    Array.from({ length: times }, (_, at) => ({ ids, isDelete, pause: at === 0 ? pause : 0 })),
  );

describe('several clients, an importer and mirrors at once', () => {
  test('leave both sides equal, with every acknowledged write, whatever fails or hangs meanwhile', async () => {
    await fc.assert(property(), { numRuns: 100, endOnFailure: true });
  });

  // Each in the weather that it is for, so that the test need not wait long for it.
  test.each<[Protection, Partial<World>]>([
    [
      'tombstone',
      {
        clients: late(true, 1),
        begin: 0,
        lag: 60,
        hasDeletes: true,
        before: ['1', '2', '3'],
        mirrors: [],
        isCutOff: false,
      },
    ],
    [
      'look after a write',
      { clients: late(false, 6), begin: 0, failures: 0, hangs: 0, isCutOff: false, hasDeletes: false, mirrors: [] },
    ],
    ['repair noted before the acknowledgement', { begin: 0, failures: 0.3, hasDeletes: false }],
    [
      'lease',
      {
        clients: late(false, 1, 40).slice(0, 1),
        before: ['1'],
        begin: 6,
        isCutOff: true,
        hasDeletes: false,
        mirrors: [],
      },
    ],
  ])(
    'do not without this protection: %s',
    async (without, given) => {
      const { failed } = await fc.check(property(without, given), { numRuns: 600, endOnFailure: true });
      expect(failed).toBe(true);
    },
    300_000,
  );
});

/** mulberry32: small, and the same for a seed everywhere. */
function makeRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
