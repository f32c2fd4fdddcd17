import { InvalidEvent } from '../errors.ts';
import type { Canary } from '../event.ts';
import { runKeys } from '../keys.ts';
import type { Log } from '../log.ts';
import { getJson, putJson } from '../objects.ts';
import { reportSchema } from '../report/report-schema.ts';
import type { Plan } from '../run-files.ts';
import type { Services } from '../services.ts';
import { count } from '../words.ts';
import { rollBack, settle } from './cutover.ts';
import { type CanaryState, canarySchema, type Move } from './cutover-files.ts';
import { flagToMove } from './cutover-flag.ts';
import { flagNameOf, placeOf } from './flag.ts';
import { logMoveAfter, readMoves, refuseFinished, rollbackSince, standingOf, takenBack } from './moves.ts';
import { takenBackNotice } from './notices.ts';
import { flagPointer } from './pointer.ts';
import { judge } from './watch.ts';

/**
 * Moves readers to the target in steps. Each call moves to the next step, or looks at how readers fare at this one; the
 * state machine waits between two calls. canary.json, the log of moves and the flag are written in an order in which a call
 * that ends between any two of them is made up for by the next: canary.json says what is to be, then the log, then the flag.
 */

export interface CanaryOptions {
  readonly plan: Plan;
  /** When the execution began: it does not go against a rollback that came later, and begins the time of a step anew. */
  readonly since: string;
  readonly services: Pick<Services, 'objects' | 'flags' | 'reads' | 'notices' | 'stack'>;
  readonly log: Log;
  readonly now: () => Date;
}

/** `seconds`: until the next call. */
export interface Look {
  readonly done: boolean;
  readonly seconds: number;
}

interface Work extends CanaryOptions {
  readonly asked: Canary;
}

/**
 * @throws TakenBack when a bound was breached, the patience is at its end, or somebody rolled back: readers are on the source.
 * @throws RunMismatch when another run is moving the flag. @throws InvalidEvent when readers use neither side of this run,
 * when they used the target before this run moved any, or when the run was finished.
 */
export async function stepCanary(options: CanaryOptions): Promise<Look> {
  const { plan, since, services } = options;
  const asked = plan.event.cutover?.canary ?? null;
  if (asked === null) {
    throw new InvalidEvent(`run '${plan.run}' has no cutover.canary, so there are no steps; cut over at once`);
  }
  const work = { ...options, asked };
  const { objects } = services;
  const moves = await readMoves(objects, plan.run);
  refuseFinished(plan.run, moves);
  const earlier = await getJson(objects, runKeys(plan.run).canary, canarySchema);
  const own = earlier?.since === since ? earlier : undefined;
  if (own?.state === 'taking back') return await takeBack(work, own, own.says);
  if (rollbackSince(moves, since) !== undefined) return await endTakenBack(work, earlier);
  if (standingOf(moves).readers === 'target') return await endMoved(work, earlier);
  if (own?.state === 'passed') return { done: true, seconds: asked.watchSeconds };
  const canary = own ?? (await begin(work, moves, earlier));
  const { readers, percent } = standingOf(moves);
  if (canary !== own || readers !== 'share' || percent !== stepOf(work, canary).percent)
    return await moveTo(work, canary);
  // Nobody has looked yet: a call that ended between the log and the flag is made up for.
  if (canary.lookedAt === null) await settle({ plan, objects, pointer: flagPointer(plan, services.flags) });
  return await look(work, canary);
}

/** A canary from its first step on, or from where an earlier execution had readers when it ended. */
async function begin(
  { plan, since, services: { objects, flags }, asked, now }: Work,
  moves: readonly Move[],
  earlier: CanaryState | undefined,
): Promise<CanaryState> {
  const flag = await flagToMove(plan, flags);
  const target = placeOf(plan.event.target);
  if (flag?.active === target && standingOf(moves).move === undefined) {
    const text = `the flag ${flags.locate(flagNameOf(plan.event))} says that readers use ${target} already`;
    throw new InvalidEvent(`${text}; set cutover to null, or set the flag right`, { ids: [plan.run] });
  }
  const at = now().toISOString();
  if (earlier !== undefined && standingOf(moves).readers === 'share') {
    const step = Math.min(earlier.step, asked.steps.length - 1);
    return {
      ...earlier,
      since,
      step,
      stepAt: at,
      state: 'watching',
      says: 'goes on at this step, its time begun anew',
    };
  }
  const maxP95Ms = asked.maxP95Ms ?? (await defaultMaxP95Ms({ plan, objects }));
  const unseen = { lookedAt: null, seen: null, says: 'begun', steps: [] };
  return { startedAt: at, since, step: 0, stepAt: at, maxP95Ms, state: 'watching', ...unseen };
}

/**
 * Twice the source's p95 as validation measured it, the worst of its query sets, and at least 200 ms: an application's network
 * adds to what validation sees. null where nothing was measured: any bound would be a guess.
 */
async function defaultMaxP95Ms({
  plan,
  objects,
}: {
  plan: Plan;
  objects: Services['objects'];
}): Promise<number | null> {
  const report = await getJson(objects, runKeys(plan.run).report, reportSchema);
  const measured = (report?.recall?.sets ?? []).flatMap(({ source }) => (source.measured ? [source.latency.p95] : []));
  return measured.length === 0 ? null : Math.max(200, 2 * Math.max(...measured));
}

function stepOf({ asked, plan }: Work, { step }: CanaryState): Canary['steps'][number] {
  const found = asked.steps[step];
  if (found === undefined) {
    throw new InvalidEvent(`cutover.canary of run '${plan.run}' has no step ${step + 1} any more; start it again`);
  }
  return found;
}

/** Puts readers at the canary's step. Repeatable. */
async function moveTo(work: Work, canary: CanaryState): Promise<Look> {
  const { plan, since, services, asked, log, now } = work;
  const { objects, flags } = services;
  const { percent, minutes } = stepOf(work, canary);
  const at = now().toISOString();
  const begun = { ...canary, stepAt: at, lookedAt: null, seen: null };
  // First, so that a rollback which comes now knows that a step may be logged after it.
  await putJson(objects, runKeys(plan.run).canary, begun);
  const pointer = flagPointer(plan, flags);
  for (let isMade = false; !isMade; ) {
    const moves = await readMoves(objects, plan.run);
    if (rollbackSince(moves, since) !== undefined) return await endTakenBack(work, begun);
    refuseFinished(plan.run, moves);
    await flagToMove(plan, flags);
    const standing = standingOf(moves);
    if (standing.readers === 'target') return await endMoved(work, begun);
    const [source, target] = [placeOf(plan.event.source), placeOf(plan.event.target)];
    const step: Move = { at, action: 'step', kind: 'flag', name: pointer.name, from: source, to: target, percent };
    const isThere = standing.readers === 'share' && standing.percent === percent;
    isMade = isThere || (await logMoveAfter(objects, plan.run, step, moves)) !== undefined;
  }
  const after = await settle({ plan, objects, pointer });
  refuseFinished(plan.run, after);
  if (standingOf(after).readers === 'source') return await endTakenBack(work, begun);
  log.info('readers moved', { run: plan.run, percent, minutes });
  return { done: false, seconds: secondsTo(minutes * 60, asked) };
}

/** The next look, or the step's end where that comes first. Whole seconds, as Step Functions waits. */
function secondsTo(restSeconds: number, { watchSeconds }: Canary): number {
  return Math.ceil(Math.min(watchSeconds, Math.max(1, restSeconds)));
}

/** Two indexes with a recall of 95 % each, which miss independently, agree on 0.95 x 0.95. */
const defaultMinOverlap = 0.9;

/** Neighbours of two models differ by design. */
function minOverlapOf({ embed }: Plan, { minOverlap }: Canary): number | null {
  if (minOverlap !== undefined) return minOverlap;
  return embed === undefined ? defaultMinOverlap : null;
}

async function look(work: Work, canary: CanaryState): Promise<Look> {
  const { plan, services, asked, log, now } = work;
  const { objects, reads } = services;
  const { percent, minutes } = stepOf(work, canary);
  const at = now();
  const seen = await reads.lastReads({
    flag: flagNameOf(plan.event),
    place: placeOf(plan.event.target),
    since: new Date(canary.stepAt),
    now: at,
    requests: asked.requests,
  });
  const { verdict, says } = judge(seen, {
    ...asked,
    maxP95Ms: canary.maxP95Ms,
    minOverlap: minOverlapOf(plan, asked),
    percent,
  });
  log.info('looked at the canary', { run: plan.run, percent, verdict, says, ...seen });
  const seconds = (at.getTime() - Date.parse(canary.stepAt)) / 1000;
  const looked = { ...canary, lookedAt: at.toISOString(), seen, says };
  if (verdict === 'breach') return await takeBack(work, looked, `at ${percent}% ${says}`);
  const rest = minutes * 60 - seconds;
  const lag = rest > 0 || verdict === 'too few' ? undefined : await lagOf(work);
  if (rest > 0 || verdict === 'too few' || lag !== undefined) {
    const waited = overtime(work, canary) + Math.max(0, -rest);
    if (waited > asked.patienceMinutes * 60) {
      const within = `within the patience of ${asked.patienceMinutes} minutes`;
      const why = lag ?? `there were too few requests to judge by ${within}: ${says}`;
      return await takeBack(
        work,
        looked,
        `at ${percent}% ${why}${lag === undefined ? '' : `, and did not catch up ${within}`}`,
      );
    }
    const waiting = lag ?? (verdict === 'too few' ? `too few requests to judge by: ${says}` : says);
    await putJson(objects, runKeys(plan.run).canary, { ...looked, says: waiting });
    return { done: false, seconds: rest > 0 ? secondsTo(rest, asked) : Math.ceil(asked.watchSeconds) };
  }
  const over = { percent, startedAt: canary.stepAt, endedAt: at.toISOString(), seen, says };
  const steps = [...canary.steps, over];
  // What was seen at this step says nothing of the next one.
  if (canary.step + 1 < asked.steps.length)
    return await moveTo(work, { ...looked, step: canary.step + 1, says: 'begun', steps });
  await putJson(objects, runKeys(plan.run).canary, { ...looked, state: 'passed', steps });
  return { done: true, seconds: asked.watchSeconds };
}

/** A write that met another may wait for its repair at any moment; so many do where the target takes none. */
const maxWaiting = 100;

/**
 * Why no more readers are moved: reads fare well on a target that takes no writes, and what they find there is old.
 * undefined: it keeps up.
 */
async function lagOf({ plan, services, now }: Work): Promise<string | undefined> {
  const { target } = plan.event;
  const waiting = await services.reads.repairsWaiting({
    flag: flagNameOf(plan.event),
    place: placeOf(target),
    now: now(),
  });
  return waiting > maxWaiting ? `the target lags: ${count(waiting)} repairs wait for it` : undefined;
}

/** Seconds that the steps before waited beyond their own time: the patience is one for all, as the room for looks is. */
function overtime({ asked }: Work, { steps }: CanaryState): number {
  return steps.reduce((sum, { percent, startedAt, endedAt }) => {
    const own = asked.steps.find((step) => step.percent === percent)?.minutes ?? 0;
    return sum + Math.max(0, (Date.parse(endedAt) - Date.parse(startedAt)) / 1000 - own * 60);
  }, 0);
}

/** Repeatable: canary.json says first that it is being done, and last that it is; a notice may come twice, and never not. */
async function takeBack(work: Work, canary: CanaryState, reason: string): Promise<never> {
  const { plan, services, log, now } = work;
  const { objects, flags, notices, stack } = services;
  const key = runKeys(plan.run).canary;
  const taking = { ...canary, state: 'taking back' as const, says: reason };
  if (canary.state !== 'taking back') await putJson(objects, key, taking);
  const { move } = await rollBack({ plan, objects, flags, pointer: flagPointer(plan, flags), now, reason });
  log.warn('readers taken back', { run: plan.run, reason });
  await notices.send(takenBackNotice({ plan, objects, stack, move, at: now() }));
  await putJson(objects, key, { ...taking, state: 'taken back' });
  throw takenBack(plan.run, move);
}

/** Somebody else rolled back, and told people: the flag is made to say so, in case it was written to meanwhile. */
async function endTakenBack(work: Work, canary: CanaryState | undefined): Promise<never> {
  const { plan, since, services, log } = work;
  const { objects, flags } = services;
  await settle({ plan, objects, pointer: flagPointer(plan, flags) });
  const back = rollbackSince(await readMoves(objects, plan.run), since);
  if (back === undefined) throw new InvalidEvent(`readers of run '${plan.run}' were moved by another execution of it`);
  const error = takenBack(plan.run, back);
  if (canary !== undefined) {
    const says = back.reason ?? 'somebody rolled back';
    await putJson(objects, runKeys(plan.run).canary, { ...canary, since, state: 'taken back', says });
  }
  log.warn('readers were taken back', { run: plan.run, reason: back.reason });
  throw error;
}

/** All readers are there already: somebody cut over by hand meanwhile, or an earlier execution did. */
async function endMoved(work: Work, canary: CanaryState | undefined): Promise<Look> {
  const { plan, since, services, asked } = work;
  if (canary !== undefined && canary.state !== 'passed') {
    const says = 'all readers were moved at once before the last step was over';
    await putJson(services.objects, runKeys(plan.run).canary, { ...canary, since, state: 'passed', says });
  }
  return { done: true, seconds: asked.watchSeconds };
}
