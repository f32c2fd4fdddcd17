import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import pg from 'pg';
import { until } from '../until.ts';
import { chromaUrl, postgresUrl } from './urls.ts';

test('PostgreSQL 18 answers and has pgvector, because the pgvector store is tested against the real thing', async () => {
  const client = new pg.Client({ connectionString: await postgresUrl() });
  await client.connect();
  try {
    const version = await client.query("select current_setting('server_version_num')::int as number");
    expect(version.rows[0].number).toBeGreaterThanOrEqual(180000);
    const vector = await client.query("select default_version from pg_available_extensions where name = 'vector'");
    expect(vector.rows).toHaveLength(1);
  } finally {
    await client.end();
  }
});

test('Chroma answers its heartbeat', async () => {
  const answer = await fetch(`${await chromaUrl()}/api/v2/heartbeat`);
  expect(answer.status).toBe(200);
});

test('a server ends with the process that started it, even when that is killed', async () => {
  const script = `
    import { startServer } from ${JSON.stringify(`${import.meta.dirname}/start.ts`)};
    const running = await startServer('postgres');
    console.log(running.addresses.POSTGRES_URL);
    setInterval(() => {}, 1000);`;
  const { POSTGRES_URL: _, ...environment } = process.env;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { env: environment });
  const [line] = await once(child.stdout, 'data');
  const url = String(line).trim();
  await connects(url).then((connected) => expect(connected).toBe(true));
  child.kill('SIGKILL');
  await until(async () => !(await connects(url)), 'the end of the server');
});

test('the installer does nothing when the same requirements are installed', () => {
  const done = spawnSync(process.execPath, [join(import.meta.dirname, 'install.mjs')], { encoding: 'utf8' });
  expect([done.status, done.stdout.trim()]).toEqual([0, 'The test servers are installed already.']);
});

test('the installer says in one sentence what is missing where there is no Python', () => {
  const project = mkdtempSync(join(tmpdir(), 'vecferry-test-'));
  try {
    const copy = join(project, 'test', 'servers');
    for (const file of ['install.mjs', 'requirements.txt']) cpSync(join(import.meta.dirname, file), join(copy, file));
    const done = spawnSync(process.execPath, [join(copy, 'install.mjs')], { encoding: 'utf8', env: { PATH: project } });
    expect(done.status).toBe(1);
    expect(done.stderr).toMatch(/^The test servers need Python 3\.11 or newer as python3; .+\n$/);
  } finally {
    rmSync(project, { recursive: true });
  }
});

async function connects(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  return await client.connect().then(
    () => client.end().then(() => true),
    () => false,
  );
}
