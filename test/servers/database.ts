import pg from 'pg';
import { postgresUrl } from './urls.ts';

/** A new database on the test server, with pgvector; dropped by `drop`. */
export async function makeDatabase(name: string): Promise<{ readonly url: string; drop(): Promise<void> }> {
  const server = await postgresUrl();
  const database = `${name}_${process.pid}`;
  const run = async (url: string, ...statements: string[]): Promise<void> => {
    const client = new pg.Client(url);
    await client.connect();
    try {
      for (const statement of statements) await client.query(statement);
    } finally {
      await client.end();
    }
  };
  const drop = `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`;
  await run(server, drop, `CREATE DATABASE ${database}`);
  const url = new URL(server);
  url.pathname = `/${database}`;
  await run(url.href, 'CREATE EXTENSION vector');
  return { url: url.href, drop: () => run(server, drop) };
}
