import { InvalidEvent } from '../errors.ts';
import type { Problem } from './problems.ts';
import { type Migrator, mustBeSound, type Overview } from './runner.ts';

/** What `up` would refuse before its first step, of each pending file and not of the first alone. */
export async function unsoundFiles(
  migrator: Migrator,
  { pending, entries }: Pick<Overview, 'pending' | 'entries'>,
): Promise<readonly Problem[]> {
  // Read once, however many files are pending.
  const known: Migrator = { ...migrator, history: { ...migrator.history, entries: async () => entries } };
  const problems: Problem[] = [];
  for (const file of pending) {
    const { number } = file;
    try {
      await mustBeSound(known, [{ direction: 'up', number, file }]);
    } catch (error) {
      if (!(error instanceof InvalidEvent)) throw error;
      problems.push({ kind: 'file', number, message: error.message });
    }
  }
  return problems;
}
