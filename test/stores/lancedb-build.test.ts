import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { connect, type Table } from '@lancedb/lancedb';
import { buildIndex } from '../../lib/stores/lancedb/index.ts';
import { layoutOf } from '../../lib/stores/lancedb/layout.ts';
import { optionsSchema } from '../../lib/stores/lancedb/options.ts';
import { lancedb } from '../../lib/stores/lancedb.ts';
import { makeBatch, makeSchema } from '../make.ts';

/** A build of indexes while an application writes: Lance gives up a commit over fragments that were changed meanwhile. */

const directory = mkdtempSync(join(tmpdir(), 'vecferry-lancedb-build-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const schema = makeSchema({ store: 'lancedb' });
const options = optionsSchema.parse({ indexFrom: 256 });

async function makeTable(name: string): Promise<Table> {
  const ids = Array.from({ length: 300 }, (_, at) => String(at));
  const store = await lancedb.open({ connection: { path: directory }, collection: name, options });
  await store.prepare(schema);
  const position = { run: 'r1', shard: '00000-000', offset: 0 };
  await store.write(makeBatch({ ids, vectors: schema.vectors }), { position, mode: 'upsert' });
  await store.close();
  return await (await connect(directory)).openTable(name);
}

/** The table, whose call is preempted so often first. */
function preempted(table: Table, name: 'optimize' | 'createIndex', times: number, text: string) {
  const calls = { made: 0 };
  const beside = new Proxy(table, {
    get: (target, key) => {
      const value = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]) => {
        if (key === name && ++calls.made <= times) return Promise.reject(new Error(text));
        return Reflect.apply(value, target, given);
      };
    },
  });
  return { beside, calls };
}

const build = async (table: Table): Promise<void> =>
  await buildIndex(table, layoutOf(await table.schema(), table.name, undefined), schema, options);
const indexed = async (table: Table): Promise<readonly string[]> =>
  (await table.listIndices()).flatMap(({ columns }) => columns).sort();

const conflict =
  'lance error: Retryable commit conflict for version 7: This CreateIndex transaction was preempted by concurrent transaction Update at version 7. Please retry.';

test('a commit that writers preempt is tried again', async () => {
  const table = await makeTable('again');
  const { beside, calls } = preempted(table, 'createIndex', 3, conflict);
  await build(beside);
  // The ids' and the vector's.
  expect(calls.made).toBe(3 + 2);
  expect(await indexed(table)).toEqual(['embedding', 'id']);
});

test('fragments that cannot be joined beside an application that never pauses hold up no index', async () => {
  const table = await makeTable('never');
  const { beside, calls } = preempted(table, 'optimize', Number.POSITIVE_INFINITY, conflict);
  await build(beside);
  expect(calls.made).toBe(8);
  expect(await indexed(table)).toEqual(['embedding', 'id']);
});

test('an index that is preempted each time ends as that, and any other failure at once', async () => {
  const always = preempted(await makeTable('always'), 'createIndex', Number.POSITIVE_INFINITY, conflict);
  await expect(build(always.beside)).rejects.toThrow(/Retryable commit conflict/);
  expect(always.calls.made).toBe(8);
  for (const name of ['optimize', 'createIndex'] as const) {
    const full = preempted(await makeTable(`full_${name}`), name, 1, 'No space left on device');
    await expect(build(full.beside)).rejects.toThrow('No space left on device');
    expect(full.calls.made).toBe(1);
  }
});
