import type { Plan } from '../run-files.ts';
import type { Stage } from '../stage.ts';
import { count, plural } from '../words.ts';
import type { Applied, Live, Sweep } from './live-files.ts';

export interface LiveSeen {
  readonly plan: Plan;
  /** Shards of the run, which the sweep goes through. */
  readonly shards: number;
  readonly live: Live | undefined;
  /** Tombstones in the run's ledger. */
  readonly tombstones: number;
  readonly applied: Applied | undefined;
  readonly sweep: Sweep | undefined;
  readonly now: Date;
}

/** What becomes of the writes of a live run, from the double writes' begin to the end of the sweep. */
export function liveStage({ plan, shards, live, tombstones, applied, sweep, now }: LiveSeen): Stage {
  const stage = { name: 'live', unit: 'shards', total: shards } as const;
  if (live === undefined) return { ...stage, state: 'waiting', done: 0 };
  const since = `writes go to both sides since ${live.since}`;
  const isNow = (attempt: number | undefined): boolean => attempt === plan.attempt;
  const told = (done: number, ...more: readonly string[]): Stage => ({
    ...stage,
    state: sweep?.done === true && isNow(sweep.attempt) ? 'done' : 'running',
    done,
    detail: [since, ...more].join('; '),
  });
  if (sweep !== undefined && isNow(sweep.attempt)) return told(sweep.done ? shards : sweep.shards, sweepText(sweep));
  if (live.settledAt === null) return told(0, 'the flag is about to say so');
  if (now.toISOString() < live.settledAt) return told(0, `writers have until ${live.settledAt} to see it`);
  if (applied !== undefined && isNow(applied.attempt) && applied.done)
    return told(0, `${plural(applied.ids, 'deleted record')} looked at again after the import`);
  return told(0, ...(tombstones === 0 ? [] : [`${plural(tombstones, 'tombstone')} so far`]));
}

function sweepText(sweep: Sweep): string {
  const { added, changed, deleted, mended, missing, different, extra, unchecked } = sweep;
  const meanwhile = `meanwhile ${count(added)} added, ${count(changed)} changed, ${count(deleted)} deleted`;
  const left = missing + different + extra + unchecked;
  const unlike = left === 0 ? '' : `, ${count(left)} not the same`;
  return `${meanwhile}, ${count(mended)} mended${unlike}`;
}
