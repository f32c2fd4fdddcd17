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

/** A client of the test server's own database, with pgvector in it; whoever asks closes it. */
export async function connectServer(): Promise<{ readonly sql: pg.Client; readonly url: string }> {
  const url = await postgresUrl();
  const sql = new pg.Client(url);
  await sql.connect();
  // Of two that make it at once, one would fail in spite of IF NOT EXISTS.
  await sql.query('SELECT pg_advisory_lock(1)');
  await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
  await sql.query('SELECT pg_advisory_unlock(1)');
  return { sql, url };
}
