import { InvalidEvent } from '../errors.ts';
import { openFileObjects } from '../objects-files.ts';
import { historyInFiles, isInFiles } from './config.ts';
import { filesHistory } from './history-files.ts';
import type { KeptHistory } from './history-lines.ts';
import { postgresHistory } from './history-postgres.ts';
import type { MigrateConfig } from './port.ts';
import { openSession, type SqlSession } from './session.ts';

export interface OpenHistory {
  readonly history: KeptHistory;
  /** Of a history in PostgreSQL: the connection that it shares with SQL files. */
  readonly session: SqlSession | undefined;
}

/** Opens the history where the configuration has it. @param directory where runs are kept on this machine */
export async function openHistory(
  { history, historySchema, stores, sql }: MigrateConfig,
  {
    directory,
    by,
    onNotice,
  }: { readonly directory: string; readonly by: string; readonly onNotice: (message: string) => void },
): Promise<OpenHistory> {
  if (isInFiles(history)) {
    if (sql !== undefined)
      throw new InvalidEvent(`SQL files run on '${sql}', so their history is kept there; leave history out`);
    if (history === historyInFiles)
      return { history: filesHistory(openFileObjects(directory), `${directory}/migrations`), session: undefined };
    const [{ openS3Objects }, { S3Client }] = await Promise.all([
      import('../objects-s3.ts'),
      import('@aws-sdk/client-s3'),
    ]);
    return {
      history: filesHistory(openS3Objects(history.slice('s3://'.length), new S3Client({})), history),
      session: undefined,
    };
  }
  const store = stores.get(history);
  if (store === undefined) throw new InvalidEvent(`the history's store '${history}' is not named among the stores`);
  const session = await openSession({ store, by, onNotice });
  return { history: postgresHistory(session, store.name, historySchema), session };
}
