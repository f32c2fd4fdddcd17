import { moveKey, runKeys } from './keys.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { type Move, moveSchema } from './run-files.ts';

/** The log of what a run moved: an object a move, so that a rollback which comes while readers are moved is never lost. */

/** Writes the move down. It comes before the move itself: rollback needs nothing but this log. */
export async function logMove(objects: ObjectStore, run: string, move: Move): Promise<void> {
  await putJson(objects, moveKey(run, move.at), move);
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
