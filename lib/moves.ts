import { InvalidEvent, TakenBack } from './errors.ts';
import { moveKey, runKeys } from './keys.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { type Move, moveSchema } from './run-files.ts';

/**
 * The log of what a run moved: an object a move, so that a rollback which comes while readers are moved is never lost.
 * Where readers belong is what the log says (`standingOf`); a pointer or flag is only made to say the same.
 */

/**
 * Writes the move down. It comes before the move itself: rollback needs nothing but this log.
 * @param seen the log as it was when the move was decided; left out: as it is now.
 * @returns the move as it is logged: later than all that was seen, whatever the clock of this machine says.
 */
export async function logMove(objects: ObjectStore, run: string, move: Move, seen?: readonly Move[]): Promise<Move> {
  const log = seen ?? (await readMoves(objects, run));
  const last = log.at(-1)?.at ?? '';
  const at = move.at > last ? move.at : new Date(Date.parse(last) + 1).toISOString();
  const logged = { ...move, at, rollbacks: rollbacksIn(log) };
  await putJson(objects, moveKey(run, at), logged);
  return logged;
}

/** What this run has moved, oldest first. */
export async function readMoves(objects: ObjectStore, run: string): Promise<readonly Move[]> {
  const keys = await objects.list(runKeys(run).moves);
  const moves = await Promise.all(keys.map((key) => getJson(objects, key, moveSchema)));
  return moves.filter((move) => move !== undefined);
}

/** True when readers were taken back after that moment, whoever did it. @param since ISO 8601 */
export function wasRolledBack(moves: readonly Move[], since: string): boolean {
  return moves.some(({ action, at }) => action === 'rollback' && at > since);
}

function rollbacksIn(moves: readonly Move[]): number {
  return moves.filter(({ action }) => action === 'rollback').length;
}

/** Where readers belong. */
export interface Standing {
  /** share: `percent` of them on the target. */
  readonly readers: 'source' | 'share' | 'target';
  readonly percent: number;
  /** What put them there; undefined where nothing was ever moved. */
  readonly move: Move | undefined;
  /** The first of the moves that a rollback would take back: where that began is where readers go back to. */
  readonly first: Move | undefined;
}

/**
 * A rollback wins over each step and cutover that did not know of it, in whatever order they were written, without trust
 * in any clock: those carry how many rollbacks they knew of.
 */
export function standingOf(moves: readonly Move[]): Standing {
  const rollbacks = rollbacksIn(moves);
  const since = moves.findLastIndex(({ action }) => action === 'finish');
  const standing = moves
    .slice(since + 1)
    .filter(({ action, rollbacks: known = 0 }) => (action === 'step' || action === 'cutover') && known === rollbacks);
  const [first, last] = [standing[0], standing.at(-1)];
  if (last?.action === 'cutover') return { readers: 'target', percent: 100, move: last, first };
  if (last !== undefined) return { readers: 'share', percent: last.percent ?? 0, move: last, first };
  return { readers: 'source', percent: 0, move: moves.findLast(({ action }) => action === 'rollback'), first };
}

/** @throws InvalidEvent when the run was finished: one of its sides lacks what was written since. */
export function refuseFinished(run: string, moves: readonly Move[]): void {
  const last = moves.at(-1);
  if (last?.action !== 'finish') return;
  const text = `run '${run}' was finished at ${last.at}: what was written since then is in ${last.to} alone`;
  throw new InvalidEvent(`${text}; start a new run from there`, { ids: [run] });
}

/**
 * @param since when the execution began that is about to move readers: it does not go against a rollback that came later
 * @throws TakenBack when there was one.
 */
export function refuseTakenBack(run: string, moves: readonly Move[], since: string): void {
  const back = rollbackSince(moves, since);
  if (back !== undefined) throw takenBack(run, back);
}

export function rollbackSince(moves: readonly Move[], since: string): Move | undefined {
  return moves.findLast(({ action, at }) => action === 'rollback' && at >= since);
}

export function takenBack(run: string, { reason, to, at }: Move): TakenBack {
  const why = reason ?? `somebody rolled back at ${at}`;
  return new TakenBack(`readers of run '${run}' are back on ${to ?? 'what they used before'}: ${why}`, { ids: [run] });
}
