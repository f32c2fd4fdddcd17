import { type ChildProcess, spawn } from 'node:child_process';
import { access, readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { environmentOfChild, readProgramsFolder } from '../../environment.ts';
import { AccessDenied, Incompatible, NotFound, StoreUnavailable } from '../../errors.ts';
import { poolConfig } from '../../stores/pgvector/connect.ts';
import type { ResolvedConnection } from '../../stores/port.ts';

/** pg_dump, pg_restore and psql: PostgreSQL's own programs, of the server's major version or newer. */

export const programNames = ['pg_dump', 'pg_restore', 'psql'] as const;
export type ProgramName = (typeof programNames)[number];

export interface PgPrograms {
  readonly folder: string;
  /** Of pg_dump: 18. */
  readonly major: number;
  /** Starts one of them on the database. The password is in its environment alone. */
  start(name: ProgramName, args: readonly string[]): ChildProcess;
  /** Runs one to its end. @returns what it printed, unless `silent`. @throws StoreUnavailable, AccessDenied or Incompatible with its last words. */
  run(name: ProgramName, args: readonly string[], options?: { readonly silent?: boolean }): Promise<string>;
  /** `--dbname=…`, without a password. */
  readonly database: string;
}

/**
 * Finds the programs for a server: in `folder`, or VECFERRY_PG_BIN, or on the PATH, or where Debian and RHEL put them. pg_dump refuses a
 * server of a newer major version than its own (its manual, "Notes").
 * @throws NotFound when there are none; Incompatible when all are too old.
 */
export async function findPrograms(
  connection: ResolvedConnection,
  serverMajor: number,
  folder: string | undefined = readProgramsFolder(),
): Promise<PgPrograms> {
  const target = targetOf(connection);
  const folders = folder === undefined ? await usualFolders() : [folder];
  const tooOld: string[] = [];
  for (const each of folders) {
    const there = await Promise.all(programNames.map((name) => isThere(join(each, name))));
    if (there.includes(false)) continue;
    const said = await collect(
      spawn(join(each, 'pg_dump'), ['--version'], { env: environmentOfChild({}) }),
      'pg_dump --version',
    );
    const major = Number(/\) (\d+)/.exec(said)?.[1]);
    if (major >= serverMajor) return programsIn(each, major, target);
    tooOld.push(`${join(each, 'pg_dump')} is ${major}`);
  }
  const mend = `install PostgreSQL's client programs of version ${serverMajor} (Debian: postgresql-client-${serverMajor}) and name their folder with --pg-bin or VECFERRY_PG_BIN`;
  if (tooOld.length > 0)
    throw new Incompatible(
      `the server is PostgreSQL ${serverMajor}, and ${tooOld.join(', ')}: pg_dump refuses a server that is newer than itself; ${mend}`,
    );
  const looked = folder === undefined ? 'on the PATH' : `in ${folder}`;
  throw new NotFound(
    `${programNames.join(', ')} are not ${looked}, and a backup of PostgreSQL needs all three; ${mend}`,
  );
}

async function usualFolders(): Promise<readonly string[]> {
  const path = (environmentOfChild({})['PATH'] ?? '').split(delimiter).filter((each) => each !== '');
  const versions = await readdir('/usr/lib/postgresql').catch(() => []);
  const debian = versions.map(Number).sort((a, b) => b - a);
  const rpm = (await readdir('/usr').catch(() => [])).filter((name) => /^pgsql-\d+$/.test(name));
  return [
    ...path,
    ...debian.map((each) => `/usr/lib/postgresql/${each}/bin`),
    ...rpm.map((each) => `/usr/${each}/bin`),
  ];
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

interface Target {
  readonly database: string;
  readonly secrets: Readonly<Record<string, string>>;
}

/** The database as libpq takes it, and what belongs into the environment. */
function targetOf(connection: ResolvedConnection): Target {
  const config = poolConfig(connection);
  if (config.connectionString === undefined) {
    const { host, port, database, user, password } = config;
    const parts = { host, port, dbname: database, user };
    const given = Object.entries(parts).filter(([, value]) => value !== undefined);
    return {
      database: `--dbname=${given.map(([name, value]) => `${name}=${quoted(String(value))}`).join(' ')}`,
      secrets: typeof password === 'string' ? { PGPASSWORD: password } : {},
    };
  }
  const url = new URL(config.connectionString);
  const password = decodeURIComponent(url.password) || url.searchParams.get('password');
  url.password = '';
  // What node-postgres alone knows.
  for (const name of ['password', 'uselibpqcompat', 'encoding']) url.searchParams.delete(name);
  return {
    database: `--dbname=${url.href}`,
    secrets: password === null || password === '' ? {} : { PGPASSWORD: password },
  };
}

const quoted = (value: string): string => `'${value.replace(/[\\']/g, '\\$&')}'`;

function programsIn(folder: string, major: number, { database, secrets }: Target): PgPrograms {
  const start = (name: ProgramName, args: readonly string[]): ChildProcess =>
    // Messages are told apart by their English words.
    spawn(join(folder, name), args, {
      env: environmentOfChild({ ...secrets, LC_MESSAGES: 'C', PGAPPNAME: 'vecferry' }),
    });
  return {
    folder,
    major,
    database,
    start,
    run: async (name, args, options) => await collect(start(name, args), name, options),
  };
}

async function collect(child: ChildProcess, name: string, { silent = false } = {}): Promise<string> {
  const out: Buffer[] = [];
  let words = '';
  child.stdin?.on('error', () => undefined).end();
  child.stdout?.on('data', (chunk: Buffer) => {
    if (!silent) out.push(chunk);
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(-4000);
  });
  const code = await new Promise<number | string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal ?? 'unknown'));
  });
  if (code === 0) return Buffer.concat(out).toString();
  throw programError(name, code, words);
}

/** What a program said last, as one of our errors. */
export function programError(name: string, code: number | string, words: string): Error {
  const said = words.trim() === '' ? `it ended with ${code}` : words.trim();
  const text = `${name} failed: ${said}`;
  if (
    /password authentication failed|no password supplied|permission denied|must be owner|must be superuser/i.test(words)
  )
    return new AccessDenied(`${text}; check the user and the password of the connection, and what that user may do`);
  if (/server version mismatch/i.test(words)) return new Incompatible(text);
  if (/role ".*" does not exist/.test(words))
    return new Incompatible(
      `${text}; nothing was changed: make the role, or restore with --no-owner, which leaves owners and grants out`,
    );
  if (/No space left/i.test(words))
    return new StoreUnavailable(`${text}; make room on the disk, or keep backups elsewhere with --dir`);
  return new StoreUnavailable(text);
}
