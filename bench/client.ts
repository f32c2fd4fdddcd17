import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createClient } from '../lib/client/client.ts';
import type { Client } from '../lib/client/options.ts';
import type { ClientSide, Identified } from '../lib/client/side.ts';
import type { BenchRow } from './row.ts';

type Side = ClientSide<Identified, number, Identified>;

const rounds = 9;
const hits = Array.from({ length: 10 }, (_, at) => ({ id: String(at) }));

/**
 * What the client costs an application that searches through it: microseconds of one call over the same call to the side
 * itself, in a canary at 50 percent with 5 percent shadow reads; and the memory of 100,000 ids that wait for repair.
 */
export async function run(): Promise<BenchRow[]> {
  return [
    ...(await overhead('a side that answers at once', async () => hits, 20_000)),
    ...(await overhead('a side of 1 ms', answerAfter1Ms, 300)),
    await repairMemory(),
  ];
}

async function answerAfter1Ms(): Promise<readonly Identified[]> {
  await new Promise((resolve) => setTimeout(resolve, 1));
  return hits;
}

async function overhead(name: string, search: Side['search'], calls: number): Promise<readonly BenchRow[]> {
  const side: Side = { search, fetch: async () => [], upsert: async () => {}, delete: async () => {} };
  const clientOf = (weight: number, shadow: number): Client<Identified, number, Identified> =>
    createClient({
      flag: {
        name: 'bench',
        read: async () => ({ active: 'a:x', candidate: 'b:x', weight, shadow, writes: ['a:x', 'b:x'] }),
      },
      sides: { 'a:x': side, 'b:x': side },
      metrics: { write: (lines) => void JSON.stringify(lines) },
    });
  const [plain, canary] = [clientOf(0, 0), clientOf(50, 5)];
  const ways = {
    direct: (at: number) => side.search(at),
    plain: (at: number) => plain.search(at, { key: `user-${at}` }),
    canary: (at: number) => canary.search(at, { key: `user-${at}` }),
  };
  const times = { direct: [0], plain: [0], canary: [0] };
  // In turn, so that what else goes on in the machine meets all alike; the first round warms up.
  for (let round = 0; round <= rounds; round++) {
    for (const way of ['direct', 'plain', 'canary'] as const) {
      const micros = await timeCalls(ways[way], calls);
      if (round > 0) times[way][round - 1] = micros;
    }
  }
  await Promise.all([plain.close(), canary.close()]);
  const direct = median(times.direct);
  const row = (what: string, micros: number): BenchRow => ({
    name: `client.search, ${what}, ${name}`,
    value: micros,
    unit: 'µs a call',
    against: `the side itself, ${direct.toFixed(1)} µs`,
    ratio: micros / direct,
  });
  return [row('all reads on the source', median(times.plain)), row('canary at 50 %, 5 % shadow', median(times.canary))];
}

async function timeCalls(call: (at: number) => Promise<unknown>, calls: number): Promise<number> {
  const from = performance.now();
  for (let at = 0; at < calls; at++) await call(at);
  return ((performance.now() - from) * 1000) / calls;
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? Number.NaN;
}

/** Heap that 100,000 ids of 36 characters take, each its own call, in a process that holds nothing else. */
async function repairMemory(): Promise<BenchRow> {
  const script = `
    const { memoryRepairs } = await import(${JSON.stringify(new URL('../lib/client/memory-repairs.ts', import.meta.url).href)});
    const { randomUUID } = await import('node:crypto');
    const repairs = memoryRepairs();
    gc();
    const before = process.memoryUsage().heapUsed;
    for (let at = 0; at < 100_000; at++) await repairs.add([Buffer.from(randomUUID()).toString()], 'a:x');
    gc();
    console.log(process.memoryUsage().heapUsed - before, repairs.size);`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '--input-type=module', '-e', script]);
  return { name: 'memory of 100,000 ids that wait for repair', value: Number(stdout.split(' ')[0]) / 1e6, unit: 'MB' };
}
