import type { z } from 'zod';
import { InvalidEvent, NotFound, ValidationFailed } from '../errors.ts';
import { replacesIndex } from '../index-change/index-change.ts';
import { runKeys } from '../keys.ts';
import type { RepairDeliveries } from '../live/repair-deliveries.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import type { Plan } from '../run-files.ts';
import { indexStands } from '../stores/place-stands.ts';
import { plural } from '../words.ts';
import { canarySchema, type Move, type switchedSchema } from './cutover-files.ts';
import { flagToMove, isFinishedOnTarget, refuseOthersFlag } from './cutover-flag.ts';
import { type FlagStore, flagNameOf, placeOf } from './flag.ts';
import {
  finishOf,
  logMoveAfter,
  readMoves,
  refuseFinished,
  refuseRetired,
  refuseTakenBack,
  rollbackSince,
  type Standing,
  standingOf,
  takenBack,
} from './moves.ts';
import { flagPointer, type NamedPointer } from './pointer.ts';
import type { ReadMetrics } from './read-metrics.ts';

/**
 * Moves the pointer that readers follow, never the data. What it stood for is written to the run's log before it is
 * moved, so rollback needs nothing but that log. The log says where readers belong, and whoever moves the pointer looks
 * into it again afterwards: however many move it at once, in the end it says what the log's last move does.
 */

export interface MoveInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly pointer: NamedPointer;
  readonly now: () => Date;
  /** Why, for the log. */
  readonly reason?: string | undefined;
}

export interface FinishInput extends Omit<MoveInput, 'pointer'> {
  /** The stack's repair queue. */
  readonly repairs?: Pick<RepairDeliveries, 'waiting'> | undefined;
  /** What applications say of the repairs that they keep themselves. */
  readonly reads?: Pick<ReadMetrics, 'repairsWaiting'> | undefined;
}

export interface CutoverInput extends MoveInput {
  /** Whether the run's report passed. */
  readonly passed: boolean;
  /** When the execution began that cuts over; left out: somebody does so by hand, whatever was rolled back before. */
  readonly since?: string | undefined;
}

/**
 * Makes readers use the target. Repeatable: a pointer that is already there stays, and the log gets no second entry.
 * @throws InvalidEvent when the run only validates, or was finished. @throws ValidationFailed when the run has not passed
 * validation. @throws RunMismatch when another run is moving the flag. @throws TakenBack when somebody rolled back meanwhile.
 */
export async function cutOver(input: CutoverInput): Promise<Move> {
  const { plan, objects, flags, pointer, now, passed, since } = input;
  if (plan.event.mode === 'validate') {
    const text = `run '${plan.run}' held two collections against each other and moved nothing, so it cuts nothing over`;
    throw new InvalidEvent(`${text}; move the readers' pointer where it is kept`, { ids: [plan.run] });
  }
  if (!passed) {
    throw new ValidationFailed(
      `run '${plan.run}' has not passed validation: ${objects.locate(runKeys(plan.run).report)} says why; nothing was moved`,
      { ids: [plan.run] },
    );
  }
  const { kind, name, to } = pointer;
  for (;;) {
    const moves = await readMoves(objects, plan.run);
    refuseFinished(plan.run, moves);
    if (since !== undefined) refuseTakenBack(plan.run, moves, since);
    const flag = kind === 'flag' ? await flagToMove(plan, flags) : undefined;
    const { readers, move: earlier } = standingOf(moves);
    const at = now().toISOString();
    // Somebody finished on the target before this run: readers are there, and there is nothing to go back to.
    if (readers === 'source' && isFinishedOnTarget(plan, flag)) {
      return { at, action: 'cutover', kind, name, from: to, to };
    }
    // A crash between log and move leaves an entry whose move is made up for here, with the `from` of the first try.
    const isLogged = readers === 'target' && earlier?.name === name && earlier.to === to;
    const from = isLogged ? earlier.from : await placeBefore(plan, pointer);
    const noted = noteOf(await pointer.noteOfAdvance?.());
    const cutover: Move = { at, action: 'cutover', kind, name, from, to, ...noted };
    const move = isLogged ? earlier : await logMoveAfter(objects, plan.run, cutover, moves);
    if (move === undefined) continue;
    const log = await settle(input);
    const { readers: afterwards, move: last } = standingOf(log);
    if (afterwards === 'source' && last !== undefined && finishOf(log) === undefined) throw takenBack(plan.run, last);
    return move;
  }
}

/**
 * What readers use now, and go back to. Where an earlier run of the same two has put them on the target already they go back
 * to the source, which has every write since; so too where a new index has replaced the old one already.
 */
async function placeBefore({ event }: Plan, pointer: NamedPointer): Promise<string | null> {
  const now = await pointer.read();
  if (pointer.kind === 'index' && now === pointer.to) return indexStands.old;
  return pointer.kind === 'flag' && now === pointer.to ? placeOf(event.source) : now;
}

/**
 * Makes the pointer say what the log says, until no other move has come between: the last of those that write it has
 * then seen the whole log.
 * @returns the whole log
 */
export async function settle({
  plan,
  objects,
  pointer,
}: Pick<MoveInput, 'plan' | 'objects' | 'pointer'>): Promise<readonly Move[]> {
  for (let moves = await readMoves(objects, plan.run); ; ) {
    const finished = finishOf(moves);
    if (finished === undefined) {
      const standing = standingOf(moves);
      await put(pointer, standing);
      await noteSwitch(objects, plan.run, pointer, standing);
    } else if (finished.to !== null) await pointer.finish(finished.to);
    const later = await readMoves(objects, plan.run);
    if (later.length === moves.length) return moves;
    moves = later;
  }
}

/** A switch of columns or indexes waits for what is written meanwhile: until this says so, readers are not said to be there. */
async function noteSwitch(
  objects: ObjectStore,
  run: string,
  { kind }: NamedPointer,
  { readers, move }: Standing,
): Promise<void> {
  if ((kind !== 'column' && kind !== 'index') || readers !== 'target' || move === undefined) return;
  const switched: z.infer<typeof switchedSchema> = { moveAt: move.at };
  await putJson(objects, runKeys(run).switched, switched);
}

async function put(pointer: NamedPointer, { readers, percent, move }: Standing): Promise<void> {
  if (readers === 'target') return await pointer.advance();
  if (readers === 'share') return await pointer.share(percent);
  await pointer.takeBack(move?.to ?? null);
}

export interface RolledBack {
  readonly move: Move;
  /** False where readers had been taken back before. */
  readonly isNew: boolean;
}

/**
 * Makes readers use again what they used before this run moved them. Repeatable, and safe while the run is still moving
 * them: the log has the rollback before the flag has it, and whoever moves a share looks into the log afterwards. A new index that has
 * replaced the old one is read before any move is logged, and is taken back all the same.
 * @throws NotFound when the run has moved no reader. @throws InvalidEvent when it was finished on the target.
 * @throws RunMismatch when the flag is another run's by now.
 */
export async function rollBack(input: MoveInput): Promise<RolledBack> {
  const { plan, objects, flags, pointer } = input;
  for (;;) {
    const moves = await readMoves(objects, plan.run);
    const canary = await getJson(objects, runKeys(plan.run).canary, canarySchema);
    const { readers, move: earlier, first } = standingOf(moves);
    // A canary writes canary.json first: it may be about to log a step, which must not stand.
    const isUnderWay = canary?.state === 'watching' && rollbackSince(moves, canary.startedAt) === undefined;
    const isReplaced = readers === 'source' && (await isIndexReplaced(plan, pointer));
    const isThere = readers === 'source' && !isReplaced;
    refuseNothing(plan, moves, !isThere || earlier !== undefined || isUnderWay);
    if (pointer.kind === 'flag') await refuseOthersFlag(plan, flags);
    if (isThere && earlier !== undefined && !isUnderWay) {
      await settle(input);
      return { move: earlier, isNew: false };
    }
    const from = isReplaced ? pointer.to : (earlier?.to ?? null);
    const rollback = await rollbackOf(input, { first, from: isThere ? undefined : from });
    const move = await logMoveAfter(objects, plan.run, rollback, moves);
    if (move === undefined) continue;
    await settle(input);
    return { move, isNew: true };
  }
}

/** @param from what readers use; undefined: they are back already */
async function rollbackOf(
  { plan, pointer, now, reason }: MoveInput,
  { first, from }: { readonly first: Move | undefined; readonly from: string | null | undefined },
): Promise<Move> {
  const { kind, name } = first ?? pointer;
  const to = first === undefined ? placeBack(plan, pointer) : first.from;
  const why = reason === undefined ? {} : { reason };
  const noted = from === undefined ? {} : noteOf(await pointer.noteOfReturn?.());
  const at = now().toISOString();
  return { at, action: 'rollback', kind, name, from: from === undefined ? to : from, to, ...why, ...noted };
}

/** True where readers use a new index since it was built, or may, which no move has to say. */
const isIndexReplaced = async (plan: Plan, pointer: NamedPointer): Promise<boolean> =>
  replacesIndex(plan) ? (await pointer.read()) === pointer.to : (await pointer.isBeside?.()) === true;

/** Where readers go back to of whom no move is logged. */
const placeBack = ({ event }: Plan, { kind }: NamedPointer): string =>
  kind === 'index' ? indexStands.old : placeOf(event.source);

const noteOf = (note: string | undefined): Pick<Move, 'note'> => (note === undefined ? {} : { note });

function refuseNothing(plan: Plan, moves: readonly Move[], isMoved: boolean): void {
  refuseRetired(plan.run, moves);
  const last = finishOf(moves);
  if (last !== undefined) {
    if (last.to !== placeOf(plan.event.target)) {
      throw new NotFound(`run '${plan.run}' was taken back and finished, so there is nothing to take back`, {
        ids: [plan.run],
      });
    }
    const text = `run '${plan.run}' was finished at ${last.at}: what was written since then is in ${last.to} alone`;
    throw new InvalidEvent(`${text}; move it back with a run in the other direction`, { ids: [plan.run] });
  }
  if (!isMoved) {
    throw new NotFound(`run '${plan.run}' was never cut over, so there is nothing to take back`, { ids: [plan.run] });
  }
}

/**
 * Ends the double writes: reads and writes go to the side where readers are. After a cutover nothing can be rolled back
 * any more. Repeatable.
 * @throws NotFound when the run has no flag. @throws InvalidEvent while a share of the readers is on the other side, or
 * while the target, where readers are, lacks writes that wait on the stack's repair queue: they are dropped afterwards.
 * @throws RunMismatch when the flag is another run's by now.
 */
export async function finish(input: FinishInput): Promise<Move> {
  const { plan, objects, flags, now, reason } = input;
  const name = flagNameOf(plan.event);
  const pointer = flagPointer(plan, flags);
  for (;;) {
    const moves = await readMoves(objects, plan.run);
    const last = moves.at(-1);
    if (last === undefined || last.kind !== 'flag') {
      throw new NotFound(`run '${plan.run}' has moved no routing flag, so there is nothing to finish`, {
        ids: [plan.run],
      });
    }
    const earlier = finishOf(moves);
    const active = earlier?.to ?? (await placeToFinish(input, moves));
    const why = reason === undefined ? {} : { reason };
    const at = now().toISOString();
    const finished: Move = { at, action: 'finish', kind: 'flag', name, from: active, to: active, ...why };
    const move = earlier ?? (await logMoveAfter(objects, plan.run, finished, moves));
    if (move === undefined) continue;
    // Of an earlier one too: a crash between log and flag is made up for.
    await settle({ plan, objects, pointer });
    return move;
  }
}

/** Where readers are, and stay. @throws InvalidEvent when that cannot be said yet, or must not be yet. */
async function placeToFinish(input: FinishInput, moves: readonly Move[]): Promise<string> {
  const { plan, flags } = input;
  const flag = await flagToMove(plan, flags);
  const { readers } = standingOf(moves);
  if (flag === undefined || readers === 'share') {
    const text = `readers of '${flagNameOf(plan.event)}' are being moved by run '${plan.run}'`;
    throw new InvalidEvent(`${text}; wait for the cutover, or roll back, before you finish`, { ids: [plan.run] });
  }
  // By the log and not by the flag, which somebody may be about to move.
  const active = placeOf(readers === 'target' ? plan.event.target : plan.event.source);
  // What the target lacks then it would never get, since the source's values count no more.
  if (active === placeOf(plan.event.target)) await refuseWhileRepairsWait(input, active);
  return active;
}

async function refuseWhileRepairsWait({ plan, repairs, reads, now }: FinishInput, place: string): Promise<void> {
  const flag = flagNameOf(plan.event);
  const [messages, ids] = await Promise.all([
    repairs?.waiting() ?? 0,
    reads?.repairsWaiting({ flag, place, now: now() }) ?? 0,
  ]);
  const next = 'or roll back first';
  if (messages > 0) {
    const text = `${plural(messages, 'message')} on the repair queue may name records that ${place} still lacks`;
    throw new InvalidEvent(`${text}; finish once it is empty (alarm RepairsWaiting), ${next}`, { ids: [plan.run] });
  }
  if (ids > 0) {
    const text = `applications say that ${plural(ids, 'repair')} of ${place} wait with them, or did within the last three minutes`;
    throw new InvalidEvent(`${text}; finish once none does (metric RepairsWaiting), ${next}`, { ids: [plan.run] });
  }
}
