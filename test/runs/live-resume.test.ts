import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import { runKeys } from '../../lib/keys.ts';
import { bothSides, lookAtSides } from '../../lib/live/both-sides.ts';
import { mapBatch, mapId } from '../../lib/mapping/mapping.ts';
import { readPlan } from '../../lib/plan.ts';
import { services } from '../../lib/services.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { connectServer } from '../servers/database.ts';
import { endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** A live run from PostgreSQL to Qdrant that is started again under its id, while its application has gone on writing. */

let runs: Runs;
let sql: pg.Client;
let url: string;
beforeAll(async () => {
  runs = await startRuns();
  ({ sql, url } = await connectServer());
});
afterAll(async () => {
  await sql.end();
  await runs.close();
});

/** More than comparing mends. */
const records = 3000;
const targetId = (id: string): string => mapId(qdrant.capabilities.ids, id);

async function makeEvent() {
  const table = runs.unique('resumed_source');
  const row = `'w' || i, 'title ' || i, ARRAY[sin(i), cos(i), sin(i * 2), 1]::float4[]::vector`;
  await sql.query(`CREATE TABLE ${table} (id text PRIMARY KEY, title text, embedding vector(4))`);
  await sql.query(`INSERT INTO ${table} SELECT ${row} FROM generate_series(10001, ${10_000 + records}) i`);
  const event = {
    run: runs.unique('run'),
    source: { store: 'pgvector', connection: { url }, collection: table },
    target: await endpointIn(runs, 'qdrant', 'resumed_target'),
    live: { settleSeconds: 0 },
    cutover: null,
    parallel: { shardMiB: 0.02, exporters: 1 },
    validate: { recall: null },
  };
  return { event, table };
}

/** Both sides of a run that was planned. */
async function sidesOf(run: string) {
  const plan = await readPlan(services().objects, run);
  const [source, target] = await Promise.all([services().openSource(plan), services().openTarget(plan)]);
  return { plan, source: source.store, target: target.store };
}

/** What an application does: the source first, then the target. */
async function write(run: string, table: string, ids: readonly string[]): Promise<void> {
  const { plan, source, target } = await sidesOf(run);
  for (const id of ids) {
    const row = `INSERT INTO ${table} VALUES ($1, 'written', '[1,2,3,4]') ON CONFLICT (id) DO UPDATE SET title = 'written'`;
    await sql.query(row, [id]);
    const { batch } = mapBatch(await source.fetch([id]), plan.mapping, qdrant.capabilities.ids);
    await target.write(batch, { mode: 'upsert' });
  }
}

async function expectSame(run: string, table: string): Promise<void> {
  const sides = await sidesOf(run);
  const { rows } = await sql.query<{ id: string }>(`SELECT id FROM ${table}`);
  expect(await sides.target.count()).toBe(rows.length);
  const looks = await lookAtSides(
    await bothSides(sides),
    rows.map(({ id }) => id),
  );
  expect(looks.filter(({ difference }) => difference !== undefined)).toEqual([]);
}

test('goes on though the target holds what the application wrote, loads nothing twice, and compares anew', async () => {
  const { event, table } = await makeEvent();
  expectValidated(await runs.run(event));
  await write(event.run, table, ['w10003', 'w12999', 'w1', 'w99999']);
  const { objects } = services();
  const loaded = await objects.list(runKeys(event.run).loaded);
  expect(loaded.length).toBeGreaterThan(3);
  const before = await Promise.all(loaded.map((key) => objects.get(key)));
  const report = expectValidated(await runs.run(event));
  expect(report.live).toMatchObject({ changed: 2, added: 2, mended: 0 });
  expect(await Promise.all(loaded.map((key) => objects.get(key)))).toEqual(before);
  await expectSame(event.run, table);
});

test('loads its target anew that was emptied, though the application wrote to it before the run was started again', async () => {
  const { event, table } = await makeEvent();
  expectValidated(await runs.run(event));
  const { target } = await sidesOf(event.run);
  const ids = Array.from({ length: records }, (_, i) => targetId(`w${10_001 + i}`));
  for (let at = 0; at < ids.length; at += 1000) await target.delete(ids.slice(at, at + 1000));
  expect(await target.count()).toBe(0);
  await write(event.run, table, ['w10003', 'w12999', 'w1', 'w99999']);
  const report = expectValidated(await runs.run(event));
  // The shards were loaded again, and what was written since is newer than they are.
  expect(report.live).toMatchObject({ mended: 0 });
  await expectSame(event.run, table);
});
