import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { makeBackup } from '../../../lib/migrate/backup/backup.ts';
import { backupsIn, readBackups } from '../../../lib/migrate/backup/folder.ts';
import type { MigratedStore } from '../../../lib/migrate/port.ts';
import { makeWorld, type World } from './world.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('backup_faults');
  await world.record({ number: 1 });
});
afterAll(() => world.close());

const backup = async (more: { readonly pgBin?: string; readonly stores?: readonly MigratedStore[] } = {}) => {
  const { stores, pgBin = world.pgBin } = more;
  const config =
    stores === undefined
      ? world.config
      : { ...world.config, stores: new Map(stores.map((store) => [store.name, store])) };
  return await makeBackup({ config, directory: world.directory, pgBin, reason: 'test', seq: 0 });
};
const unfinished = async () => (await readdir(backupsIn(world.directory))).filter((name) => name.endsWith('.part'));
const articles = async () => (await world.rows('SELECT count(*)::int AS n FROM articles'))[0];

/** Programs of the server's, with one of another behaviour among them. */
async function programsWith(name: string, script: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'programs-'));
  for (const each of ['pg_dump', 'pg_restore', 'psql']) {
    if (each === name) {
      await writeFile(join(folder, each), `#!/bin/sh\nREAL=${join(world.pgBin, each)}\n${script}\n`);
      await chmod(join(folder, each), 0o755);
    } else await symlink(join(world.pgBin, each), join(folder, each));
  }
  return folder;
}

describe('a backup that cannot be made', () => {
  test('says that pg_dump is missing and how to get it, and leaves nothing', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'empty-'));
    await expect(backup({ pgBin: empty })).rejects.toMatchObject({
      name: 'NotFound',
      message: expect.stringMatching(
        /pg_dump.*are not in .*install PostgreSQL's client programs of version 18.*--pg-bin/,
      ),
    });
    expect(await unfinished()).toEqual([]);
  });

  test('refuses a pg_dump that is older than the server, which would refuse in turn', async () => {
    const old = await programsWith('pg_dump', 'echo "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"');
    await expect(backup({ pgBin: old })).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringContaining('the server is PostgreSQL 18, and'),
    });
  });

  test('a pg_dump that dies in the middle leaves no backup', async () => {
    const dying = await programsWith(
      'pg_dump',
      'case "$*" in *--version*) exec $REAL "$@";; esac; $REAL "$@" && echo "pg_dump: error: lost" >&2 && exit 1',
    );
    await expect(backup({ pgBin: dying })).rejects.toThrow('pg_dump failed: pg_dump: error: lost');
    expect(await unfinished()).toEqual([]);
    expect(await readBackups(world.directory)).toEqual([]);
  });

  test('a full disk is said, and what was written is taken away', async () => {
    const full = await programsWith(
      'pg_dump',
      'case "$*" in *--version*) exec $REAL "$@";; esac; echo "pg_dump: error: could not write to output file: No space left on device" >&2; exit 1',
    );
    await expect(backup({ pgBin: full })).rejects.toThrow(/No space left on device; make room on the disk/);
    expect(await unfinished()).toEqual([]);
  });

  test('a dump that was cut while it was written is found before anybody relies on it', async () => {
    const cut = await programsWith(
      'pg_dump',
      'case "$*" in *--version*) exec $REAL "$@";; esac; $REAL "$@"; for a in "$@"; do case $a in --file=*) truncate -s -200 "$(echo $a | cut -c8-)";; esac; done',
    );
    await expect(backup({ pgBin: cut })).rejects.toThrow(/pg_restore failed/);
    expect(await readBackups(world.directory)).toEqual([]);
  });

  test('a wrong password is said, and stands neither in the message nor in the arguments of a program', async () => {
    const user = `backup_${process.pid}`;
    await world.sql.query(`CREATE ROLE ${user} LOGIN PASSWORD 'right' IN ROLE pg_read_all_data`);
    const spying = await programsWith('pg_dump', 'echo "$@" >> "$0.arguments"; exec $REAL "$@"');
    const connection = { url: world.url, user, password: 'hunter-2-secret' };
    process.env['VECFERRY_SECRET_BACKUP_FAULTS'] = JSON.stringify(connection);
    try {
      await backup({
        pgBin: spying,
        stores: [{ name: 'db', store: 'pgvector', connection: { secret: 'backup/faults' }, options: {} }],
      });
      const seen = await readFile(join(spying, 'pg_dump.arguments'), 'utf8');
      expect(seen).toContain(`--dbname=postgresql://${user}@127.0.0.1`);
      expect(seen).not.toContain('hunter-2-secret');
    } finally {
      delete process.env['VECFERRY_SECRET_BACKUP_FAULTS'];
      await world.sql.query(`DROP ROLE ${user}`);
    }
    const refusing = await programsWith(
      'pg_dump',
      'case "$*" in *--version*) exec $REAL "$@";; esac; echo "pg_dump: error: FATAL:  password authentication failed for user" >&2; exit 1',
    );
    await expect(backup({ pgBin: refusing })).rejects.toMatchObject({ name: 'AccessDenied' });
    await rm(backupsIn(world.directory), { recursive: true });
  });

  test('a store that gives no backups refuses by its name, before anything is written', async () => {
    const connection = { path: '/var/lib/app/pglite' };
    const embedded: MigratedStore = { name: 'notes', store: 'pgvector', connection, options: {} };
    await expect(backup({ stores: [...world.config.stores.values(), embedded] })).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/store 'notes' is an embedded PGlite.*copy \/var\/lib\/app\/pglite/),
    });
    expect(await readBackups(world.directory)).toEqual([]);
  });

  test('a process that is killed leaves no backup, and what it left is cleared away by the next', async () => {
    const slow = await programsWith('pg_dump', 'case "$*" in *--version*) exec $REAL "$@";; esac; sleep 30');
    const script = `import { makeBackup } from '${join(import.meta.dirname, '../../../lib/migrate/backup/backup.ts')}';
      await makeBackup({ config: { directory: '', stores: new Map([['db', { name: 'db', store: 'pgvector', connection: { url: '${world.url}' }, options: {} }]]), sql: 'db', history: 'db' },
        directory: '${world.directory}', pgBin: '${slow}', reason: 'killed', seq: 0 });`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: 'ignore' });
    while ((await unfinished().catch(() => [])).length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await unfinished()).toHaveLength(1);
    expect(await readBackups(world.directory)).toEqual([]);
    const made = await backup();
    expect(await unfinished()).toEqual([]);
    expect(await readBackups(world.directory)).toEqual([made]);
    // As secret as the database.
    expect((await stat(join(backupsIn(world.directory), made.id))).mode & 0o077).toBe(0);
  });
});

describe('a restore that cannot be done', () => {
  test('refuses an altered file before anything is touched', async () => {
    const made = await backup();
    const path = join(backupsIn(world.directory), made.id, 'db', 'database.dump');
    const bytes = await readFile(path);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(path, bytes);
    const before = (await readBackups(world.directory)).length;
    await expect(world.restore(made.id)).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringContaining('db was altered'),
    });
    expect(await articles()).toEqual({ n: 500 });
    expect(await readBackups(world.directory)).toHaveLength(before);
    await expect(world.restore('20200101-000000-none')).rejects.toMatchObject({ name: 'NotFound' });
    await expect(world.restore('../other')).rejects.toMatchObject({ name: 'NotFound' });
  });

  test('is rolled back whole when pg_restore dies in the middle, and when what came out is not what was kept', async () => {
    const made = await backup();
    await world.sql.query('DELETE FROM articles WHERE id > 400');
    const dying = await programsWith(
      'pg_restore',
      'case "$*" in *--use-list*) $REAL "$@" | head -c 9000; exit 3;; esac; exec $REAL "$@"',
    );
    await expect(world.restore(made.id, { pgBin: dying })).rejects.toThrow('pg_restore failed');
    expect(await articles()).toEqual({ n: 400 });
    const lacking = await programsWith(
      'pg_restore',
      `case "$*" in *--use-list*) $REAL "$@" | sed '/^2\\t..$/d'; exit 0;; esac; exec $REAL "$@"`,
    );
    await expect(world.restore(made.id, { pgBin: lacking })).rejects.toThrow(
      /what was restored is not what was backed up.*missing: rows "Other Team"\."Notes": 2.*not in the backup: rows "Other Team"\."Notes": 1/,
    );
    expect(await articles()).toEqual({ n: 400 });
    expect((await world.entries()).filter(({ action }) => action === 'restored')).toEqual([]);
    await world.restore(made.id);
    expect(await articles()).toEqual({ n: 500 });
  });

  test('a process that is killed in the middle changes nothing: psql is never told to commit', async () => {
    const made = await backup();
    await world.sql.query('DELETE FROM articles WHERE id > 300');
    const slow = await programsWith(
      'pg_restore',
      'case "$*" in *--use-list*) $REAL "$@"; touch "$0.done"; sleep 30;; esac; exec $REAL "$@"',
    );
    const script = `import { restoreBackup } from '${join(import.meta.dirname, '../../../lib/migrate/backup/backup.ts')}';
      await restoreBackup({ config: { directory: '', stores: new Map([['db', { name: 'db', store: 'pgvector', connection: { url: '${world.url}' }, options: {} }]]), sql: 'db', history: 'db' },
        directory: '${world.directory}', pgBin: '${slow}', id: '${made.id}', by: 'x', seq: 0, append: async () => {} });`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: 'ignore' });
    while (
      !(await stat(join(slow, 'pg_restore.done')).then(
        () => true,
        () => false,
      ))
    )
      await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill('SIGKILL');
    await once(child, 'exit');
    // Waits until the server has let go of the tables.
    expect(await articles()).toEqual({ n: 300 });
    await world.restore(made.id);
    expect(await articles()).toEqual({ n: 500 });
  });

  test('loses no write: a writer waits, and what it wrote before is in the backup that is made first', async () => {
    const made = await backup();
    const writer = new pg.Client(world.url);
    await writer.connect();
    writer.on('error', () => undefined);
    let acknowledged = 0;
    let isStopped = false;
    const writing = (async () => {
      for (; !isStopped; acknowledged++)
        await writer.query('INSERT INTO authors (name) VALUES (gen_random_uuid()::text)');
    })();
    while (acknowledged < 40) await new Promise((resolve) => setTimeout(resolve, 10));
    const { first } = await world.restore(made.id);
    const atEnd = acknowledged;
    while (acknowledged < atEnd + 5) await new Promise((resolve) => setTimeout(resolve, 10));
    isStopped = true;
    await writing;
    await writer.end();
    const before = (first.parts[0]?.counts['public.authors'] ?? 0) - 20;
    const [after] = await world.rows('SELECT count(*)::int - 20 AS n FROM authors');
    expect(before).toBeGreaterThanOrEqual(40);
    expect(after).toEqual({ n: acknowledged - before });
  });

  test('refuses the backup of another database unless it is asked to', async () => {
    const made = await backup();
    const other = await makeWorld('backup_other');
    const into = { config: other.config, directory: world.directory };
    await other.record({ number: 1 });
    await other.sql.query('DROP TABLE articles CASCADE');
    await expect(world.restore(made.id, into)).rejects.toThrow(/the backup is of backup_faults_\d+ at .*--elsewhere/);
    await world.restore(made.id, { ...into, elsewhere: true });
    expect(await other.rows('SELECT count(*)::int AS n FROM articles')).toEqual([{ n: 500 }]);
    await other.close();
  });

  test('a folder without the ending of unfinished ones and without its list is no backup', async () => {
    await mkdir(join(backupsIn(world.directory), '20990101-000000-empty'));
    await expect(readBackups(world.directory)).rejects.toThrow(/20990101-000000-empty/);
    await rm(join(backupsIn(world.directory), '20990101-000000-empty'), { recursive: true });
  });
});
