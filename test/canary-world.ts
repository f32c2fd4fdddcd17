import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stepCanary } from '../lib/cutover/canary.ts';
import { type CanaryState, canarySchema, type Move } from '../lib/cutover/cutover-files.ts';
import type { Flag, FlagStore } from '../lib/cutover/flag.ts';
import { readMoves } from '../lib/cutover/moves.ts';
import type { Notice } from '../lib/cutover/notices.ts';
import { fileReads } from '../lib/cutover/read-metrics-files.ts';
import { runKeys } from '../lib/keys.ts';
import { getJson, type ObjectStore, putJson } from '../lib/objects.ts';
import type { Plan } from '../lib/run-files.ts';
import type { Services } from '../lib/services.ts';
import { appendLines, type LineParts, makeLine } from './client-lines.ts';
import { memoryObjects } from './local/memory-objects.ts';
import { makeWorld, plan as planWorld, quiet } from './world.ts';

/** A run that came to its canary, with a clock that a test moves and metrics in real files. */

export const t0 = Date.parse('2026-03-01T12:00:00.000Z');
export const sourcePlace = 'memory:articles';
export const targetPlace = 'memory:articles2';
export const flagName = 'articles2';

export interface CanaryWorld {
  readonly plan: Plan;
  readonly services: Pick<Services, 'objects' | 'flags' | 'reads' | 'notices' | 'stack'>;
  readonly notices: Notice[];
  /** Milliseconds since 1970; a test sets it. */
  time: number;
  /** When the execution began. */
  since: string;
  now(): Date;
  /** One call of the state "Step the canary". */
  step(over?: Partial<CanaryWorld['services']>): ReturnType<typeof stepCanary>;
  flag(): Promise<Flag | undefined>;
  canary(): Promise<CanaryState | undefined>;
  moves(): Promise<readonly Move[]>;
  write(...lines: readonly LineParts[]): void;
}

const planned = new Map<string, Promise<Plan>>();

/** Planned once for each canary: a plan is only read. */
export function planFor(canary: Record<string, unknown> | null): Promise<Plan> {
  const key = JSON.stringify(canary);
  const there = planned.get(key) ?? makeWorld({ event: { cutover: { canary } } }).then((world) => planWorld(world));
  planned.set(key, there);
  return there;
}

export function memoryFlags(): FlagStore {
  const flags = new Map<string, string>();
  return {
    read: async (name) => {
      const text = flags.get(name);
      return text === undefined ? undefined : JSON.parse(text);
    },
    write: async (name, flag) => void flags.set(name, JSON.stringify(flag)),
    locate: (name) => `memory:${name}`,
  };
}

/** @param p95s of the source, in the report; none: recall was not measured */
export async function makeCanaryWorld({
  canary = {},
  report,
  objects = memoryObjects({}),
  flags = memoryFlags(),
}: {
  readonly canary?: Record<string, unknown> | null;
  readonly report?: unknown;
  readonly objects?: ObjectStore;
  readonly flags?: FlagStore;
} = {}): Promise<CanaryWorld> {
  const plan = await planFor(canary);
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-canary-'));
  const notices: Notice[] = [];
  if (report !== undefined) await putJson(objects, runKeys(plan.run).report, report);
  const world: CanaryWorld = {
    plan,
    services: {
      objects,
      flags,
      reads: fileReads(directory),
      notices: { send: async (notice) => void notices.push(notice) },
      stack: undefined,
    },
    notices,
    time: t0,
    since: new Date(t0 - 3_600_000).toISOString(),
    now: () => new Date(world.time),
    step: (over = {}) =>
      stepCanary({ plan, since: world.since, services: { ...world.services, ...over }, log: quiet, now: world.now }),
    flag: () => flags.read(flagName),
    canary: () => getJson(objects, runKeys(plan.run).canary, canarySchema),
    moves: () => readMoves(objects, plan.run),
    write: (...lines) => appendLines(directory, 'app', lines.map(makeLine)),
  };
  return world;
}

/** So many reads of the target, and shadow reads, in the second that ends at `at`. */
export function goodLine(at: number, reads = 100, shadows = 100): LineParts {
  return {
    at,
    reads: Array.from({ length: reads }, () => [5, true] as const),
    shadowReads: Array.from({ length: shadows }, () => ({ k: 10, overlap: 1, activeMs: 5, otherMs: 5 })),
  };
}
