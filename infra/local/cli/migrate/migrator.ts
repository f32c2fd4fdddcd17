import { userInfo } from 'node:os';
import { readMigrateConfig } from '../../../../lib/migrate/config.ts';
import { readMigrationFiles } from '../../../../lib/migrate/files.ts';
import { openHistory } from '../../../../lib/migrate/open-history.ts';
import type { Migrator } from '../../../../lib/migrate/runner.ts';
import { whoAndWhere } from '../../../../lib/migrate/session.ts';
import { usualLimits } from '../../../../lib/migrate/sql-step.ts';
import { withGiven } from '../../../../lib/migrate/variables.ts';
import type { CommandContext } from '../commands.ts';
import { newsLines } from './migrate-lines.ts';

/** What every command of `vecferry migrate` works with: the files, the history, and who does it. */

export interface MigrateOptions {
  readonly migrations: string;
  readonly config?: string;
  readonly by?: string;
  /** `name=value` each. */
  readonly set?: readonly string[];
}

export interface MoveOptions extends MigrateOptions {
  readonly dryRun: boolean;
  readonly backup?: boolean;
  readonly check: boolean;
  /** undefined: nothing goes up. */
  readonly lint?: boolean;
  /** What comes before an applied one is applied all the same. */
  readonly outOfOrder?: boolean;
  readonly pgBin?: string;
  /** In seconds. */
  readonly lockWait: number;
  readonly lockTimeout: number;
  readonly lockTries: number;
  readonly statementTimeout: number;
}

/** Opens the files, the history and its connection for `work`, and closes it whatever happens. */
export async function withMigrator<T>(
  context: CommandContext,
  options: MigrateOptions & Partial<MoveOptions>,
  work: (migrator: Migrator) => Promise<T>,
): Promise<T> {
  const { output } = context;
  const settings = await readMigrateConfig(options.migrations, options.config);
  const variables = withGiven(settings.variables, options.set ?? [], settings.path);
  const folder = await readMigrationFiles(options.migrations, variables);
  const by = options.by ?? whoAndWhere(userInfo().username);
  const onNotice = (message: string): void => {
    output.event({ type: 'warning', message });
    output.line(`says     ${message}`);
  };
  const open = () => openHistory(settings, { directory: context.directory, by, onNotice });
  const { history, session } = await open();
  const { lockTimeout, lockTries, statementTimeout } = options;
  try {
    return await work({
      settings,
      folder,
      history,
      session,
      by,
      limits: {
        lockTimeoutMs: lockTimeout === undefined ? usualLimits.lockTimeoutMs : lockTimeout * 1000,
        lockTries: lockTries ?? usualLimits.lockTries,
        statementTimeoutMs: (statementTimeout ?? 0) * 1000,
      },
      copy: async (event, run) => (await loadCopy()).copyBy(context, event, run),
      rollBack: async (run) => (await loadCopy()).rollBackBy(context, run),
      reconnect: async () => (await open()).history,
      tell: (news) => {
        if (news.kind === 'retry') output.event({ type: 'warning', message: news.message });
        else output.event({ ...news, type: 'migration', state: news.kind });
        for (const line of newsLines(news)) output.line(line);
      },
      now: () => new Date(),
    });
  } finally {
    await history.close();
  }
}

const loadCopy = () => import('./migrate-copy.ts');
