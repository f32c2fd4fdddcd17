import { readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { asInForce, dropAll, stateOf } from '../migrate/collection/qdrant-state.ts';
import { type MigrateWorld, makeMigrateWorld } from '../migrate/world.ts';
import { frontUrl } from '../servers/urls.ts';

/**
 * The sample folder events/migrations as it stands, 001 to 011 of mixed kind, on a real PostgreSQL and the test Qdrant: up by two processes
 * at once, down to 005, and up again.
 */

let world: MigrateWorld;
let qdrant: string;
const collection = `migrations_${process.pid}_articles`;

beforeAll(async () => {
  qdrant = await frontUrl();
  process.env['VECFERRY_SECRET_APP_SEARCH'] = JSON.stringify({ url: qdrant });
  world = await makeMigrateWorld('migrations_run');
  process.env['VECFERRY_SECRET_APP_DB'] = JSON.stringify({ url: world.url });
  for (const name of readdirSync('events/migrations')) {
    const text = readFileSync(`events/migrations/${name}`, 'utf8');
    // The server is shared with other tests: the collection has a name of its own, and no gRPC address is known.
    const own = text.replace(/^collection: articles$/m, `collection: ${collection}`);
    await world.write(name, own.replace('{secret: app/search}}', '{secret: app/search}, options: {transport: rest}}'));
  }
});
afterAll(async () => {
  await dropAll(qdrant, collection);
  await world.close();
});

/** All that migrations may change, without oids, and without numbers that dropped columns leave. */
async function schema(): Promise<unknown> {
  const [columns, indexes, constraints, types, views] = await Promise.all([
    world.rows(`SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, pg_get_expr(d.adbin, d.adrelid) AS standard
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
      WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, a.attnum`),
    world.rows(`SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made, i.indisvalid FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1`),
    world.rows(`SELECT conrelid::regclass::text AS "table", conname, pg_get_constraintdef(oid) AS made, convalidated FROM pg_constraint
      WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 ORDER BY 1, 2`),
    world.rows(
      `SELECT t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY 1 ORDER BY 1`,
    ),
    world.rows(`SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1`),
  ]);
  return { columns, indexes, constraints, types, views, search: asInForce(await stateOf(qdrant, collection)) };
}

const lines = (): Promise<readonly Readonly<Record<string, unknown>>[]> =>
  world.rows('SELECT number::int, action FROM vecferry_migrations ORDER BY seq');
const ended = async (action: string): Promise<readonly unknown[]> =>
  (await lines()).filter((line) => line['action'] === action).map(({ number }) => number);

test('migrations of mixed kind go up by two processes at once, each once, down to 005 and up again to the same schema', async () => {
  await world.done('up', '--to', '5');
  const at5 = await schema();
  const both = await Promise.all([world.migrate('up', '--by', 'ada'), world.migrate('up', '--by', 'bob')]);
  expect(both.map(({ code, err }) => [code, err])).toEqual([
    [0, ''],
    [0, ''],
  ]);
  expect(await ended('up')).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  const at11 = await schema();
  expect(at11).not.toEqual(at5);
  expect(await world.rows('SELECT count(*)::int AS n FROM articles WHERE author_id = 1')).toEqual([{ n: 2 }]);

  await world.done('to', '5');
  expect(await ended('down')).toEqual([11, 10, 9, 8, 7, 6]);
  expect(await schema()).toEqual(at5);

  await world.done('up');
  expect(await schema()).toEqual(at11);
  expect((await world.done('status')).out).toContain('11 applied, 0 pending, 0 problems');

  await world.done('to', '0');
  expect(await schema()).toMatchObject({
    columns: expect.not.arrayContaining([expect.objectContaining({ relname: 'articles' })]),
    types: [],
    views: [],
  });
});
