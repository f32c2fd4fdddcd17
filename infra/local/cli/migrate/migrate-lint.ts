import { Incompatible } from '../../../../lib/errors.ts';
import type { Migrator, Move } from '../../../../lib/migrate/runner.ts';
import { ignoreForm } from '../../../../lib/migrate/sql/ignore.ts';
import { lintFiles } from '../../../../lib/migrate/sql/lint.ts';
import type { CommandContext } from '../commands.ts';
import { findingLines } from './lint-command.ts';

/** What the linter says of files that are about to be applied. */

/**
 * Tells what is not safe practice in the files that go up.
 * @param isLaw false: errors are told, and stop nothing @throws Incompatible where there is an error
 */
export async function lintMoves(
  { output }: CommandContext,
  { folder, settings, session }: Migrator,
  moves: readonly Move[],
  { isLaw }: { readonly isLaw: boolean },
): Promise<void> {
  const only = new Set(
    moves.filter(({ direction, file }) => direction === 'up' && file.kind === 'sql').map(({ file }) => file.path),
  );
  if (only.size === 0) return;
  const [version] = (await session?.rows('SHOW server_version_num')) ?? [];
  const postgres = Math.floor(Number(version?.['server_version_num'] ?? 180_000) / 10_000);
  const findings = await lintFiles(folder.files, { ignore: settings.lintIgnore, only, postgres });
  for (const finding of findings) {
    output.event({ type: 'lint', ...finding });
    for (const line of findingLines(finding)) output.line(line);
  }
  const errors = findings.filter(({ level }) => level === 'error');
  if (errors.length === 0 || !isLaw) return;
  const how = `change the file as it says, write '${ignoreForm}' above the statement, or go on with --no-lint`;
  const named = errors.map(({ path, line, rule }) => `${path}:${line} ${rule}`).join(', ');
  throw new Incompatible(`the linter holds ${errors.length} for unsafe: ${named}; nothing was applied; ${how}`, {
    ids: errors.map(({ rule }) => rule),
  });
}
