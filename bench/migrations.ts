import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { startServer } from '../test/servers/start.ts';
import { start, vecferry } from './command.ts';
import { inFolder } from './folder.ts';
import { type BenchRow, inTurns, Taken } from './row.ts';

/**
 * A hundred small SQL files, up and down again, each tool as one process as its users start it: `vecferry migrate`, node-pg-migrate and
 * dbmate, each file a transaction of its own with all three, and the same statements as bare transactions of a client that is connected
 * already. Ours lints the files too, which it always does, and adds a line tied to those before it; the others note a name.
 */

const files = 100;
const rounds = 3;
/** Installed into a folder that goes: whoever does not measure does not have them. */
const peers = ['node-pg-migrate@9.0.0', 'dbmate@2.36.0', 'pg@8.23.1'];

export async function run(): Promise<BenchRow[]> {
  const server = await startServer('postgres', { own: true });
  const sql = new pg.Client(server.addresses.POSTGRES_URL);
  await sql.connect();
  try {
    return await inFolder(async (directory) => await measure(sql, server.addresses.POSTGRES_URL ?? '', directory));
  } finally {
    await sql.end();
    await server.stop();
  }
}

const up = (number: number): string => `CREATE TABLE bench_${number} (id bigint PRIMARY KEY, title text NOT NULL)`;
const down = (number: number): string => `DROP TABLE bench_${number}`;
const numbers = Array.from({ length: files }, (_, at) => at + 1);

async function measure(sql: pg.Client, url: string, directory: string): Promise<BenchRow[]> {
  const [ours, theirs] = [join(directory, 'ours'), join(directory, 'theirs')];
  await Promise.all([mkdir(ours), mkdir(theirs)]);
  await writeFile(join(ours, 'vecferry.yaml'), 'stores:\n  db: {store: pgvector, connection: {secret: bench/db}}\n');
  for (const number of numbers) {
    const name = `${String(number).padStart(3, '0')}_bench.sql`;
    await writeFile(join(ours, name), `-- migrate:up\n${up(number)};\n\n-- migrate:down\n${down(number)};\n`);
    await writeFile(join(theirs, name), `-- Up Migration\n${up(number)};\n\n-- Down Migration\n${down(number)};\n`);
  }
  const env = { VECFERRY_SECRET_BENCH_DB: JSON.stringify({ url }), DATABASE_URL: `${url}?sslmode=disable` };
  const migrate = (...args: readonly string[]): Promise<void> =>
    vecferry(directory, ['migrate', ...args, '--migrations', ours], env);
  const installed = await start('npm', ['install', '--prefix', directory, '--no-audit', '--no-fund', ...peers]).then(
    () => join(directory, 'node_modules'),
    () => undefined,
  );
  const pgMigrate = (...args: readonly string[]): Promise<void> => {
    const program = join(installed ?? '', 'node-pg-migrate', 'bin', 'node-pg-migrate.js');
    const options = ['--migrations-dir', theirs, '--no-single-transaction', '--no-verbose'];
    return start(process.execPath, [program, ...args, ...options], env);
  };
  const dbmate = (...args: readonly string[]): Promise<void> => {
    const options = ['--migrations-dir', ours, '--migrations-table', 'bench_dbmate', '--no-dump-schema'];
    return start(join(installed ?? '', '.bin', 'dbmate'), [...options, ...args], env);
  };
  const bare = async (statements: readonly string[]): Promise<void> => {
    for (const statement of statements) {
      await sql.query('BEGIN');
      await sql.query(statement);
      await sql.query('COMMIT');
    }
  };
  // The history is only added to: dropped each time, so that every round begins alike.
  const anew = async (): Promise<void> => {
    await sql.query('DROP TABLE IF EXISTS vecferry_migrations, vecferry_migrations_head');
    await sql.query('DROP FUNCTION IF EXISTS vecferry_migrations_is_append_only');
  };
  const tasks = {
    up: () => migrate('up', '--no-check'),
    down: () => migrate('to', '0'),
    whole: async () => {
      await anew();
      const from = performance.now();
      await migrate('up');
      const taken = new Taken(from);
      await migrate('to', '0');
      await anew();
      return taken;
    },
    nothing: () => migrate('status'),
    bareUp: () => bare(numbers.map(up)),
    bareDown: () => bare(numbers.map(down)),
    ...(installed === undefined
      ? {}
      : {
          pgMigrateUp: () => pgMigrate('up'),
          pgMigrateDown: () => pgMigrate('down', String(files)),
          dbmateUp: async () => {
            const from = performance.now();
            await dbmate('migrate');
            const taken = new Taken(from);
            await bare(numbers.map(down));
            await sql.query('TRUNCATE bench_dbmate');
            return taken;
          },
        }),
  };
  const ms = await inTurns(tasks, { rounds, warmUps: 0 });
  const row = (name: string, value: number, against: string, other: number): BenchRow => ({
    name: `${files} small SQL files ${name}`,
    value,
    unit: 'ms',
    against: installed === undefined && Number.isNaN(other) ? `${against}, which could not be installed` : against,
    ...(Number.isNaN(other) ? {} : { ratio: value / other }),
  });
  const [upMs, downMs] = [ms('up'), ms('down')];
  return [
    row('up, linted', upMs, 'node-pg-migrate', ms('pgMigrateUp')),
    row('up, linted', upMs, 'dbmate', ms('dbmateUp')),
    row('up, linted', upMs, 'bare transactions', ms('bareUp')),
    row('up, linted, all stores checked after it', ms('whole'), 'node-pg-migrate', ms('pgMigrateUp')),
    row('down', downMs, 'node-pg-migrate', ms('pgMigrateDown')),
    row('down', downMs, 'bare transactions', ms('bareDown')),
    row('status, all of them pending', ms('nothing'), 'up', upMs),
  ];
}
