import { flagFinished, flagToMove } from './cutover-flag.ts';
import { InvalidEvent, NotFound, ValidationFailed } from './errors.ts';
import { placeOf } from './flag.ts';
import { runKeys } from './keys.ts';
import { logMove, readMoves } from './moves.ts';
import type { ObjectStore } from './objects.ts';
import { type PointerInput, pointerOf } from './pointer.ts';
import type { Move } from './run-files.ts';

/**
 * Moves the pointer that readers follow, never the data. What it stood for is written to the run's log before it is
 * moved, so rollback needs nothing but that log.
 */

export interface MoveInput extends PointerInput {
  readonly objects: ObjectStore;
  readonly now: () => Date;
  /** Why, for the log. */
  readonly reason?: string | undefined;
}

export interface CutoverInput extends MoveInput {
  /** Whether the run's report passed. */
  readonly passed: boolean;
}

/**
 * Makes readers use the target. Repeatable: a pointer that is already there stays, and the log gets no second entry.
 * @throws InvalidEvent when the run only validates. @throws ValidationFailed when the run has not passed validation.
 * @throws Incompatible when the store has no pointers. @throws RunMismatch when another run is moving the flag.
 */
export async function cutOver(input: CutoverInput): Promise<Move> {
  const { plan, objects, flags, now, passed } = input;
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
  const pointer = pointerOf(input);
  if (pointer.kind === 'flag') await flagToMove(plan, flags);
  const from = await pointer.read();
  const last = (await readMoves(objects, plan.run)).at(-1);
  const isLogged = last?.action === 'cutover' && last.name === pointer.name && last.to === pointer.to;
  if (isLogged && from === pointer.to) return last;
  const { kind, name, to } = pointer;
  const move: Move = { at: now().toISOString(), action: 'cutover', kind, name, from, to };
  // A crash between log and move leaves an entry whose move is made up for here, with the `from` of the first try.
  if (!isLogged) await logMove(objects, plan.run, move);
  await pointer.advance();
  return isLogged ? last : move;
}

/**
 * Makes readers use again what they used before this run moved them. Repeatable, and safe while the run is still moving
 * them: the log has the rollback before the flag has it, and whoever moves a share looks into the log afterwards.
 * @throws NotFound when the run has moved no reader. @throws InvalidEvent when it was finished on the target.
 */
export async function rollBack(input: MoveInput): Promise<Move> {
  const { plan, objects, now, reason } = input;
  const moves = await readMoves(objects, plan.run);
  const first = firstOfLast(moves);
  const last = moves.at(-1);
  if (first === undefined || last === undefined) {
    throw new NotFound(`run '${plan.run}' was never cut over, so there is nothing to take back`, { ids: [plan.run] });
  }
  if (last.action === 'finish') {
    if (last.to !== placeOf(plan.event.target)) {
      throw new NotFound(`run '${plan.run}' was taken back and finished, so there is nothing to take back`, {
        ids: [plan.run],
      });
    }
    const text = `run '${plan.run}' was finished at ${last.at}: what was written since then is in ${last.to} alone`;
    throw new InvalidEvent(`${text}; move it back with a run in the other direction`, { ids: [plan.run] });
  }
  const pointer = pointerOf(input);
  if (last.action === 'rollback') {
    await pointer.takeBack(last.to);
    return last;
  }
  const { kind, name } = first;
  const to = first.from;
  const why = reason === undefined ? {} : { reason };
  const move: Move = { at: now().toISOString(), action: 'rollback', kind, name, from: last.to, to, ...why };
  await logMove(objects, plan.run, move);
  await pointer.takeBack(to);
  return move;
}

/** The first move of readers since they were last taken back: where it began is where they go back to. */
function firstOfLast(moves: readonly Move[]): Move | undefined {
  const since = moves.findLastIndex(({ action }) => action === 'rollback' || action === 'finish');
  const moving = moves.slice(since + 1).find(({ action }) => action === 'step' || action === 'cutover');
  return moving ?? moves[since];
}

/**
 * Ends the double writes: reads and writes go to the side where readers are. After a cutover nothing can be rolled back
 * any more. Repeatable.
 * @throws NotFound when the run has no flag. @throws InvalidEvent while a share of the readers is on the other side.
 */
export async function finish(input: MoveInput): Promise<Move> {
  const { plan, objects, flags, now, reason } = input;
  const moves = await readMoves(objects, plan.run);
  const last = moves.at(-1);
  if (last === undefined || last.kind !== 'flag') {
    throw new NotFound(`run '${plan.run}' has moved no routing flag, so there is nothing to finish`, {
      ids: [plan.run],
    });
  }
  if (last.action === 'finish') return last;
  const flag = await flagToMove(plan, flags);
  if (flag === undefined || flag.weight > 0) {
    const text = `readers of '${last.name}' are being moved by run '${plan.run}'`;
    throw new InvalidEvent(`${text}; wait for the cutover, or roll back, before you finish`, { ids: [plan.run] });
  }
  const why = reason === undefined ? {} : { reason };
  const { name } = last;
  const move: Move = {
    at: now().toISOString(),
    action: 'finish',
    kind: 'flag',
    name,
    from: flag.active,
    to: flag.active,
    ...why,
  };
  await logMove(objects, plan.run, move);
  await flags.write(name, flagFinished(flag.active));
  return move;
}
