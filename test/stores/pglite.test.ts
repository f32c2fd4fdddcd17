import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pgvector } from '../../lib/stores/pgvector.ts';
import { storeContract } from './contract.ts';

const path = mkdtempSync(join(tmpdir(), 'vecferry-pglite-'));

storeContract('pgvector in PGlite', (collection) => pgvector.open({ connection: { path }, collection, options: {} }), {
  kind: pgvector,
  readsInKeyOrder: true,
});
