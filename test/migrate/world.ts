import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type Answer, type callCommand, spawnCommand } from '../local/cli/command-line.ts';
import { makeDatabase } from '../servers/database.ts';

/** A team's folder of migrations, a database of its own on the real server, and the command line over both. */
export interface MigrateWorld {
  readonly folder: string;
  readonly url: string;
  /** A client beside the migrations, as an application has one. */
  readonly sql: pg.Client;
  write(name: string, text: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** `vecferry migrate …`: as a process, or as the world was made. */
  migrate(...args: readonly string[]): Promise<Answer>;
  /** The same, which must end with 0. */
  done(...args: readonly string[]): Promise<Answer>;
  rows(sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  close(): Promise<void>;
}

/** The secret's name in each world's configuration; one world a test file. */
const secret = 'migrate/db';

/** @param command How `vecferry` is called; callCommand where nothing is about processes. */
export async function makeMigrateWorld(
  name: string,
  { config, command = spawnCommand }: { readonly config?: string; readonly command?: typeof callCommand } = {},
): Promise<MigrateWorld> {
  const database = await makeDatabase(name);
  const root = await mkdtemp(join(tmpdir(), `${name}-`));
  const folder = join(root, 'migrations');
  process.env['VECFERRY_SECRET_MIGRATE_DB'] = JSON.stringify({ url: database.url });
  const write = async (file: string, text: string): Promise<void> => {
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, file), text);
  };
  await write('vecferry.yaml', config ?? `stores:\n  db: {store: pgvector, connection: {secret: ${secret}}}\n`);
  const sql = new pg.Client(database.url);
  sql.on('error', () => undefined);
  await sql.connect();
  let before: Promise<unknown> = Promise.resolve();
  const migrate = (...args: readonly string[]): Promise<Answer> =>
    command(['--dir', join(root, 'runs'), ...beforeOptions(args), '--migrations', folder]);
  return {
    folder,
    url: database.url,
    sql,
    write,
    remove: (file) => rm(join(folder, file)),
    migrate,
    done: async (...args) => {
      const answer = await migrate(...args);
      if (answer.code !== 0)
        throw new Error(`migrate ${args.join(' ')} ended with ${answer.code}: ${answer.err}${answer.out}`);
      return answer;
    },
    rows: async (text) => {
      // One after the other: a client of pg takes no two at once.
      const mine = before.then(() => sql.query(text));
      before = mine.catch(() => undefined);
      return (await mine).rows;
    },
    close: async () => {
      await sql.end();
      await database.drop();
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** `--json` stands before the command. */
function beforeOptions(args: readonly string[]): readonly string[] {
  const json = args.includes('--json') ? ['--json'] : [];
  // What the stores hold is looked at where a test is about that, and says so.
  const unchecked = ['up', 'down', 'to'].includes(args[0] ?? '') && !args.includes('--look') ? ['--no-check'] : [];
  return [...json, 'migrate', ...args.filter((arg) => arg !== '--json' && arg !== '--look'), ...unchecked];
}

/** A SQL migration of two parts. */
export const sqlFile = (up: string, down = ''): string => `-- migrate:up\n${up}\n\n-- migrate:down\n${down}\n`;
