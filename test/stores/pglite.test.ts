import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { pgvector } from '../../lib/stores/pgvector.ts';
import { storeContract } from './contract.ts';

const path = mkdtempSync(join(tmpdir(), 'vecferry-pglite-'));

storeContract('pgvector in PGlite', (collection) => pgvector.open({ connection: { path }, collection, options: {} }), {
  kind: pgvector,
  readsInKeyOrder: true,
});

test('a path that is wrong is NotFound, and no empty database is made there', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'vecferry-none-')), 'typo');
  const store = await pgvector.open({ connection: { path }, collection: 'words', options: {} });
  await expect(store.describe()).rejects.toMatchObject({
    name: 'NotFound',
    message: expect.stringContaining('no database'),
  });
  expect(existsSync(path)).toBe(false);
  await store.close();
});
