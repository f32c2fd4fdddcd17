import { z } from 'zod';
import { finishOf, readMoves, retireOf, standingOf } from './cutover/moves.ts';
import { nameOfRun, runKeys, runsPrefix } from './keys.ts';
import { readEach } from './manifest.ts';
import { getJson, type ObjectStore } from './objects.ts';
import { verdictSchema } from './report/report-schema.ts';
import { planSchema } from './run-files.ts';

/** Every run that is kept in one place, for whoever has not got its id at hand. */

export interface RunSummary {
  readonly run: string;
  /** ISO 8601: when it was started last; null where its plan was refused, or cannot be read. */
  readonly createdAt: string | null;
  /** `store collection`; null as above. */
  readonly source: string | null;
  readonly target: string | null;
  /** refused: it ended before it had a plan. unreadable: a file of it is damaged or another release's. null: it has not ended, or asked for a plan only. */
  readonly ended: z.infer<typeof verdictSchema> | 'refused' | 'unreadable' | null;
  /** Where this run has put readers; null where it has moved none. */
  readonly readers: 'source' | 'share' | 'target' | 'finished' | 'retired' | null;
  /** Percent of the reads that go to the target, of a share. */
  readonly percent: number | null;
  /** What is wrong with one that is unreadable. */
  readonly problem: string | null;
}

/** Newest first; those without a plan last. */
export async function listRuns(objects: ObjectStore): Promise<readonly RunSummary[]> {
  const folders = await objects.folders(runsPrefix);
  const runs = await readEach(folders, (folder) => summaryOf(objects, nameOfRun(folder)));
  return runs.toSorted((a, b) => (b.createdAt ?? '').localeCompare(a.createdAt ?? '') || a.run.localeCompare(b.run));
}

const endSchema = z.looseObject({ verdict: verdictSchema, createdAt: z.string() });

const unknown = { createdAt: null, source: null, target: null, readers: null, percent: null, problem: null };

/** One damaged run hides no other. */
async function summaryOf(objects: ObjectStore, run: string): Promise<RunSummary> {
  try {
    return await readSummary(objects, run);
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'ShardDamaged') throw error;
    return { ...unknown, run, ended: 'unreadable', problem: error.message };
  }
}

async function readSummary(objects: ObjectStore, run: string): Promise<RunSummary> {
  const keys = runKeys(run);
  const [plan, end, moves] = await Promise.all([
    getJson(objects, keys.plan, planSchema),
    getJson(objects, keys.report, endSchema),
    readMoves(objects, run),
  ]);
  if (plan === undefined) return { ...unknown, run, ended: end === undefined ? null : 'refused' };
  const { source, target } = plan.event;
  const { readers, percent } = standingOf(moves);
  const isRetired = retireOf(moves) !== undefined;
  const isMoved = moves.some(({ action }) => action !== 'double');
  return {
    run,
    createdAt: plan.createdAt,
    source: `${source.store} ${source.collection}`,
    target: `${target.store} ${target.collection}`,
    // The report of an earlier start stays until this one has its own.
    ended: end === undefined || end.createdAt < plan.createdAt ? null : end.verdict,
    readers: isRetired ? 'retired' : finishOf(moves) === undefined ? (isMoved ? readers : null) : 'finished',
    percent: readers === 'share' ? percent : null,
    problem: null,
  };
}
