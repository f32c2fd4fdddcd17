import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from '@jest/globals';
import pg from 'pg';
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
  const deadline = Date.now() + 10_000;
  while ((await connects(url)) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 100));
  expect(await connects(url)).toBe(false);
});

async function connects(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  return await client.connect().then(
    () => client.end().then(() => true),
    () => false,
  );
}
