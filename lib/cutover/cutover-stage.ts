import { replacesIndex, unswitchedIndex } from '../index-change/index-change.ts';
import type { Plan } from '../run-files.ts';
import type { Stage } from '../stage.ts';
import { count, milliseconds, plural } from '../words.ts';
import type { Answer, Approval, CanaryState, Move, ReadsSeen } from './cutover-files.ts';
import { placeOf } from './flag.ts';
import { retireOf, standingOf } from './moves.ts';

export interface CutoverSeen {
  readonly plan: Plan;
  /** undefined: there is no report yet. */
  readonly verdict: string | undefined;
  readonly approval: Pick<Approval, 'askedAt' | 'until'> | undefined;
  readonly answer: Answer | undefined;
  readonly canary: CanaryState | undefined;
  /** Oldest first. */
  readonly moves: readonly Move[];
  /** Of a run in place: the time of the last cutover whose columns were switched. */
  readonly switchedAt?: string | undefined;
  /** What the run replaced is dropped. */
  readonly isDropped?: boolean | undefined;
  /** The target's indexes are built. */
  readonly isIndexed?: boolean | undefined;
  /** Of a new index that did not pass and stays: when that was said. */
  readonly keptAt?: string | undefined;
  readonly now: Date;
}

/** Where readers are, what they wait for, and why they did not get further: `done` of `total` steps are over. */
export function cutoverStage(seen: CutoverSeen): Stage {
  const { plan, verdict, moves, canary } = seen;
  const { cutover, mode, target, dryRun } = plan.event;
  const total = cutover?.canary?.steps.length ?? 1;
  const stage = (state: Stage['state'], detail?: string, done = state === 'done' ? total : 0): Stage => ({
    ...{ name: 'cutover', state, done, total, unit: 'steps' },
    ...(detail !== undefined && { detail }),
  });
  const retired = retireOf(moves);
  if (retired !== undefined) return stage(...retiredText(retired, seen));
  const last = moves.at(-1);
  if (last?.action === 'finish') {
    const isOnTarget = last.to === placeOf(target);
    return stage(isOnTarget ? 'done' : 'ended', `finished: reads and writes go to ${last.to} alone`);
  }
  const { readers, move } = standingOf(moves);
  if (isSwitching(seen)) return stage('running', switchingText(move));
  if (readers === 'target') return stage('done', onTarget(plan, move));
  // What came after the last rollback belongs to another try.
  const since = move?.action === 'rollback' ? move.at : '';
  if (canary !== undefined && canary.startedAt > since) return stage(...canaryText(plan, canary, seen.now));
  const asked = seen.approval !== undefined && seen.approval.askedAt > since ? seen.approval : undefined;
  if (asked !== undefined) return stage(...approvalText(asked, seen));
  if (isTakenBack(since, seen)) return stage('ended', `taken back at ${since}${because(move)}`);
  if (cutover === null || mode === 'validate') return stage('skipped', skippedText(seen));
  if (verdict === undefined || dryRun) return stage('waiting');
  if (verdict === 'validated') return stage('running');
  return stage('ended', notPassedText(seen));
}

/** A run that was started again since, and keeps its new index though it did not pass, stands otherwise. */
const isTakenBack = (since: string, { keptAt = '' }: CutoverSeen): boolean => since !== '' && keptAt < since;

function switchingText(move: Move | undefined): string {
  if (move?.kind === 'index') return 'the indexes are about to be switched';
  return 'the columns are about to be switched: what was written meanwhile is caught up first';
}

/** True while a switch of columns or indexes is in the log and not yet made: then readers are where they were. */
function isSwitching({ moves, switchedAt }: Pick<CutoverSeen, 'moves' | 'switchedAt'>): boolean {
  const { readers, move } = standingOf(moves);
  return readers === 'target' && (move?.kind === 'column' || move?.kind === 'index') && move.at !== switchedAt;
}

/** The last move that was made. */
export function lastMade(seen: Pick<CutoverSeen, 'moves' | 'switchedAt' | 'isDropped'>): Move | undefined {
  const isDropping = retireOf(seen.moves) !== undefined && seen.isDropped !== true;
  const last = seen.moves.at(isSwitching(seen) || isDropping ? -2 : -1);
  // It says how to go back, which is over.
  return isDropping && last !== undefined ? { ...last, note: undefined } : last;
}

/** What a look may come late by, tries and all, before status says that nobody watches. */
const lateMs = 60_000;

type Text = readonly [Stage['state'], string, number?];

function retiredText({ from, to }: Move, { plan, isDropped }: CutoverSeen): Text {
  if (isDropped === true) return ['done', `readers are on ${to}; ${from} is dropped for good`];
  const again = `where that was cut off, vecferry retire ${plan.run} finishes it`;
  return ['running', `readers are on ${to}; ${from} is being dropped: ${again}`];
}

/** Two indexes that are there at once are the planner's to choose from. */
function onTarget({ run, index }: Plan, move: Move | undefined): string {
  if (index?.how !== 'beside') return `readers are on ${move?.to}`;
  return `the indexes are switched; searches may use either until vecferry retire ${run}`;
}

function canaryText({ event }: Plan, canary: CanaryState, now: Date): Text {
  const { state, step, stepAt, lookedAt, steps, seen, says } = canary;
  const all = event.cutover?.canary?.steps ?? [];
  if (state === 'passed') return ['running', 'every step has passed; all readers are about to move', all.length];
  if (state !== 'watching') return [state === 'taken back' ? 'ended' : 'running', `${state}: ${says}`, steps.length];
  const { percent = 0, minutes = 0 } = all[step] ?? {};
  const at = `step ${step + 1} of ${all.length}: ${percent} %`;
  const figures = seen === null ? [says] : seenFigures(seen, event.cutover?.canary?.requests ?? 0);
  const end = new Date(Date.parse(stepAt) + minutes * 60_000);
  const last = lookedAt ?? stepAt;
  const unwatchedMs = (event.cutover?.canary?.watchSeconds ?? 0) * 3000 + lateMs;
  if (now.getTime() - Date.parse(last) > unwatchedMs) {
    const next = 'start the run again, which goes on at this step once it has validated, or roll back';
    return ['running', `${[at, ...figures].join(', ')}; nobody has looked since ${last}: ${next}`, step];
  }
  const waits =
    now < end
      ? `watched until ${end.toISOString()}`
      : `its time is over, ${says.startsWith('the target lags') ? says : 'waits for enough requests'}`;
  return ['running', `${[at, ...figures].join(', ')}; ${waits}`, step];
}

/** What the last look saw, against as many requests as it takes to judge. */
function seenFigures({ reads, errors, p95Ms, shadows, overlap }: ReadsSeen, asked: number): readonly string[] {
  return [
    `${count(reads)} requests of ${count(asked)}`,
    plural(errors, 'error'),
    ...(p95Ms === null ? [] : [`p95 ${milliseconds(p95Ms)}`]),
    ...(overlap === null ? [] : [`overlap ${overlap.toFixed(2)} of ${plural(shadows, 'shadow read')}`]),
  ];
}

function notPassedText({ plan, isIndexed }: CutoverSeen): string {
  if (isIndexed !== true) return 'nothing is cut over';
  if (replacesIndex(plan)) return `readers use the new index: vecferry rollback ${plan.run} puts the old settings back`;
  return unswitchedIndex(plan) ?? 'nothing is cut over';
}

const skippedText = ({ plan, verdict }: CutoverSeen): string | undefined =>
  verdict === undefined ? undefined : unswitchedIndex(plan);

function approvalText({ until }: Pick<Approval, 'until'>, { answer, now, plan }: CutoverSeen): Text {
  const index = unswitchedIndex(plan);
  const but = index === undefined ? '' : `; ${index}`;
  if (answer !== undefined) {
    const { by, reason } = answer;
    const said = `${answer.answer} by ${by}${reason === '' ? '' : `: ${reason}`}`;
    return answer.answer === 'approved' ? ['running', said] : ['ended', said + but];
  }
  if (now.toISOString() < until) return ['running', `waiting for approval until ${until}${but}`];
  return ['ended', `nobody answered by ${until}${but}`];
}

const because = (move: Move | undefined): string => (move?.reason === undefined ? '' : `: ${move.reason}`);
