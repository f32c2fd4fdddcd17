import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { PGlite } from '@electric-sql/pglite';
import { vector } from '@electric-sql/pglite-pgvector';
import { readParquet } from '../../lib/shard/parquet-wasm.ts';

/** 10,000 English words with their GloVe vectors; origin and licence stand in test/data/README.md. */
const words = fileURLToPath(new URL('../../test/data/words-10k.parquet', import.meta.url));

/**
 * Makes a PostgreSQL with pgvector in `directory` that holds the words as an application would: a table with a primary
 * key, two columns beside the vector, and an HNSW index. Does nothing when it is there already.
 * @returns true when it was made now.
 */
export async function makeSampleDatabase(directory: string): Promise<boolean> {
  if (await exists(directory)) return false;
  // Renamed when it is whole: a process that was killed here leaves no half database behind.
  const half = `${directory}.making`;
  await rm(half, { recursive: true, force: true });
  await mkdir(half, { recursive: true });
  const database = await PGlite.create(half, { extensions: { vector } });
  try {
    await database.exec(`
      CREATE EXTENSION vector;
      CREATE TABLE words (id bigint PRIMARY KEY, word text NOT NULL, rank integer NOT NULL, embedding vector(100) NOT NULL);
    `);
    const blob = new Blob([toCopyText(await readFile(words))]);
    await database.query(`COPY words FROM '/dev/blob'`, [], { blob });
    await database.exec(`CREATE INDEX ON words USING hnsw (embedding vector_cosine_ops); ANALYZE words;`);
  } finally {
    await database.close();
  }
  await rename(half, directory);
  return true;
}

/** PostgreSQL's COPY text format: a line a record, tabs between columns. The words hold neither tabs nor backslashes. */
function toCopyText(file: Uint8Array): string {
  const lines: string[] = [];
  for (const batch of readParquet(file, { batchRecords: 10_000 })) {
    for (const row of batch) {
      const { id, word, rank, embedding } = row.toJSON();
      lines.push(`${id}\t${word}\t${rank}\t[${[...embedding].join(',')}]\n`);
    }
  }
  return lines.join('');
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
