import { afterAll, beforeAll } from '@jest/globals';
import { pgvector } from '../../lib/stores/pgvector.ts';
import { makeDatabase } from '../servers/database.ts';
import { storeContract } from './contract.ts';

let database: Awaited<ReturnType<typeof makeDatabase>>;
beforeAll(async () => {
  database = await makeDatabase('pgvector_contract');
});
afterAll(async () => {
  await database.drop();
});

storeContract(
  'pgvector',
  (collection) => pgvector.open({ connection: { url: database.url }, collection, options: {} }),
  { kind: pgvector, readsInKeyOrder: true },
);
