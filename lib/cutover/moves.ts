import { InvalidEvent, type RunMismatch, TakenBack } from '../errors.ts';
import { moveKey, runKeys } from '../keys.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { type Move, moveSchema } from './cutover-files.ts';

/**
 * The log of what a run moved: a numbered object a move, made only where there is none. So whoever moves readers has seen
 * every move before its own, and of a rollback, a cutover and a finish at the same time each is decided after the other. Where
 * readers belong is what the log says (`standingOf`); a pointer or flag is only made to say the same.
 */

/**
 * Writes the move down, unless another came after those that were seen: then nothing is written, and it has to be decided
 * anew. It comes before the move itself: rollback needs nothing but this log.
 * @param seen the log as it was when the move was decided
 * @returns the move as it is logged, its time after all that was seen whatever this machine's clock says; undefined: decide anew
 */
export async function logMoveAfter(
  objects: ObjectStore,
  run: string,
  move: Move,
  seen: readonly Move[],
): Promise<Move | undefined> {
  const last = seen.at(-1)?.at ?? '';
  const at = move.at > last ? move.at : new Date(Date.parse(last) + 1).toISOString();
  const logged = { ...move, at };
  const isMade = await objects.create(moveKey(run, seen.length), JSON.stringify(logged), 'application/json');
  return isMade ? logged : undefined;
}

/** The same of a move that stands whatever came before it. */
export async function logMove(objects: ObjectStore, run: string, move: Move): Promise<Move> {
  for (;;) {
    const logged = await logMoveAfter(objects, run, move, await readMoves(objects, run));
    if (logged !== undefined) return logged;
  }
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

/** The last move of readers says where they are; double writes move none. */
export function standingOf(moves: readonly Move[]): Standing {
  const since = moves.findLastIndex(({ action }) => action === 'rollback' || action === 'finish');
  const moved = moves.slice(since + 1).filter(({ action }) => action === 'step' || action === 'cutover');
  const [first, last] = [moved[0], moved.at(-1)];
  if (last?.action === 'cutover') return { readers: 'target', percent: 100, move: last, first };
  if (last !== undefined) return { readers: 'share', percent: last.percent ?? 0, move: last, first };
  return { readers: 'source', percent: 0, move: moves.findLast(({ action }) => action === 'rollback'), first };
}

/** The move that ended the double writes, where none of readers or writers came after it. */
export function finishOf(moves: readonly Move[]): Move | undefined {
  const last = moves.findLast(({ action }) => action !== 'retire');
  return last?.action === 'finish' ? last : undefined;
}

/** The move that says that what the run replaced is dropped, or about to be. */
export function retireOf(moves: readonly Move[]): Move | undefined {
  return moves.find(({ action }) => action === 'retire');
}

/** @throws InvalidEvent, or the error that is given, when what the run replaced was dropped. */
export function refuseRetired(
  run: string,
  moves: readonly Move[],
  Refusal: typeof InvalidEvent | typeof RunMismatch = InvalidEvent,
): void {
  const last = retireOf(moves);
  if (last === undefined) return;
  const text = `run '${run}' was retired at ${last.at}: ${last.from} was dropped, so there is nothing to go back to`;
  throw new Refusal(`${text}; start a new run from ${last.to}`, { ids: [run] });
}

/** @throws InvalidEvent, or the error that is given, when the run was finished: one of its sides lacks what was written since. */
export function refuseFinished(
  run: string,
  moves: readonly Move[],
  Refusal: typeof InvalidEvent | typeof RunMismatch = InvalidEvent,
): void {
  const last = finishOf(moves);
  if (last === undefined) return;
  const text = `run '${run}' was finished at ${last.at}: what was written since then is in ${last.to} alone`;
  throw new Refusal(`${text}; start a new run from there`, { ids: [run] });
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
