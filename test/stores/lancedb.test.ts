import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';
import { lancedb } from '../../lib/stores/lancedb.ts';
import { storeContract } from './contract.ts';

const directory = mkdtempSync(join(tmpdir(), 'vecferry-lancedb-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

storeContract('lancedb', (collection) => lancedb.open({ connection: { path: directory }, collection, options: {} }), {
  kind: lancedb,
});
