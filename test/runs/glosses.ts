import { readFileSync } from 'node:fs';
import pg from 'pg';
import { embedText } from '../servers/embedding-models.ts';
import { postgresUrl } from '../servers/urls.ts';
import type { EndpointInput } from './world.ts';

/** Definitions of test/data/glosses-5k.jsonl as a table of PostgreSQL, with vectors of the model glove-100. */

export interface Gloss {
  readonly id: string;
  readonly text: string;
  readonly words: readonly string[];
}

export function readGlosses(count: number): readonly Gloss[] {
  const lines = readFileSync('test/data/glosses-5k.jsonl', 'utf8').split('\n').slice(0, count);
  return lines.map((line) => JSON.parse(line));
}

/** The old model's vectors: 100 floats. Ids are texts, as in the file. */
export async function seedGlosses(table: string, glosses: readonly Gloss[]): Promise<EndpointInput> {
  const url = await postgresUrl();
  const sql = new pg.Client(url);
  await sql.connect();
  try {
    await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
    await sql.query(`CREATE TABLE ${table} (id text PRIMARY KEY, words text[], text text, embedding vector(100))`);
    const vectors = await Promise.all(glosses.map(async ({ text }) => `[${(await embedText(text, 100)).join(',')}]`));
    await sql.query(
      `INSERT INTO ${table} SELECT each->>'id', ARRAY(SELECT jsonb_array_elements_text(each->'words')), each->>'text', vector::vector
       FROM unnest($1::jsonb[], $2::text[]) AS rows(each, vector)`,
      [glosses.map((gloss) => JSON.stringify(gloss)), vectors],
    );
  } finally {
    await sql.end();
  }
  return { store: 'pgvector', connection: { url }, collection: table };
}
