import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { NotFound } from '../../../../lib/errors.ts';
import { type MigrateSettings, readMigrateConfig } from '../../../../lib/migrate/config.ts';
import { readMigrationFiles, readSqlFile } from '../../../../lib/migrate/files.ts';
import type { MigrationFile } from '../../../../lib/migrate/port.ts';
import { type LintFinding, lintFiles } from '../../../../lib/migrate/sql/lint.ts';
import { type Variables, withGiven } from '../../../../lib/migrate/variables.ts';
import type { CommandContext } from '../commands.ts';
import { exitCodes } from '../exit-codes.ts';

/** `vecferry migrate lint`: needs no server, no secret and no configuration. */

export interface LintCommandOptions {
  readonly migrations: string;
  readonly config?: string;
  readonly ignore: readonly string[];
  readonly set: readonly string[];
  /** The server's major version. */
  readonly postgres: number;
}

/** Ends with 3 where there is an error, so that a pipeline stops; warnings end with 0. */
export async function lintCommand(
  { output }: CommandContext,
  given: readonly string[],
  { migrations, config, ignore, set, postgres }: LintCommandOptions,
): Promise<number> {
  const settings = await configOf(migrations, config);
  const variables = withGiven(
    settings?.variables ?? new Map(),
    set,
    settings?.path ?? `no vecferry.yaml in ${migrations}`,
  );
  // No stage is meant: a name is as good as any value to tell what a statement does.
  const filled = new Map([...variables].map(([name, value]) => [name, value ?? name]));
  const asked = await filesOf(given.length === 0 ? [migrations] : given, filled);
  const left = [...ignore, ...(settings?.lintIgnore ?? [])];
  const findings = await lintFiles(asked.files, { ignore: left, postgres, only: asked.only });
  for (const finding of findings) {
    output.event({ type: 'lint', ...finding });
    for (const line of findingLines(finding)) output.line(line);
  }
  const errors = findings.filter(({ level }) => level === 'error').length;
  const warnings = findings.length - errors;
  const files = asked.files.filter(({ path, kind }) => kind === 'sql' && asked.only.has(path)).length;
  output.event({ type: 'lint', files, errors, warnings });
  output.line(`${counted(errors, 'error')}, ${counted(warnings, 'warning')} in ${counted(files, 'SQL file')}`);
  return errors === 0 ? exitCodes.ok : exitCodes.refused;
}

/** `path:line rule level message`, and below it the steps that do the same without harm. */
export function findingLines({ path, line, rule, level, message, safeSteps }: LintFinding): readonly string[] {
  return [`${path}:${line} ${rule} ${level} ${message}`, ...safeSteps.map((step) => `    ${step}`)];
}

const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

interface Asked {
  /** In order; with the others of their folders, which say what the tables are. */
  readonly files: readonly MigrationFile[];
  readonly only: ReadonlySet<string>;
}

/** @throws NotFound naming what is not there. */
async function filesOf(paths: readonly string[], variables: Variables): Promise<Asked> {
  const files = new Map<string, MigrationFile>();
  const only = new Set<string>();
  for (const path of paths) {
    const found = await stat(path).catch((cause: unknown) => {
      throw new NotFound(
        `there is no file or folder '${path}' to lint; name another, or the folder with --migrations`,
        {
          cause,
        },
      );
    });
    const folder = await readMigrationFiles(found.isDirectory() ? path : dirname(path), variables);
    for (const file of folder.files) files.set(file.path, file);
    const meant = folder.files.filter((file) => found.isDirectory() || resolve(file.path) === resolve(path));
    for (const file of meant) only.add(file.path);
    if (found.isDirectory() || meant.length > 0) continue;
    // A file that is no migration yet: a draft is linted all the same.
    const draft = await readSqlFile(path, basename(path));
    files.set(path, draft);
    only.add(path);
  }
  return { files: [...files.values()], only };
}

/** The team's configuration; it need not be there. */
async function configOf(directory: string, path: string | undefined): Promise<MigrateSettings | undefined> {
  try {
    return await readMigrateConfig(directory, path);
  } catch (error) {
    if (error instanceof NotFound && path === undefined) return undefined;
    throw error;
  }
}
