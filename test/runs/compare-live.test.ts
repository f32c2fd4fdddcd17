import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import type { Batch } from '../../lib/batch.ts';
import { compareShard } from '../../lib/compare/compare.ts';
import { readCompared } from '../../lib/compare/counts.ts';
import { runKeys } from '../../lib/keys.ts';
import { bothSides, lookAtSides } from '../../lib/live/both-sides.ts';
import { type Sweep, sweepSchema } from '../../lib/live/live-files.ts';
import { sweepWrites } from '../../lib/live/sweep.ts';
import { readManifest } from '../../lib/manifest.ts';
import { mapBatch, mapId } from '../../lib/mapping/mapping.ts';
import { getJson } from '../../lib/objects.ts';
import { readPlan } from '../../lib/plan.ts';
import type { Compared, Plan } from '../../lib/run-files.ts';
import { seededRandom } from '../../lib/sample.ts';
import { services } from '../../lib/services.ts';
import type { Store } from '../../lib/stores/port.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { postgresUrl } from '../servers/urls.ts';
import { until } from '../until.ts';
import { noDeadline } from '../world.ts';
import { endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** A live run from PostgreSQL to Qdrant is compared while an application goes on writing to both, and has lost some writes. */

let runs: Runs;
let sql: pg.Pool;
let url: string;
beforeAll(async () => {
  runs = await startRuns();
  url = await postgresUrl();
  sql = new pg.Pool({ connectionString: url, max: 5 });
  await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
});
afterAll(async () => {
  await sql.end();
  await runs.close();
});

const records = 4000;
const writers = 4;
/** Ids from here on are the application's own; those below are written to by nobody but the test. */
const firstWritten = 1000;

interface Moved {
  readonly plan: Plan;
  readonly table: string;
  readonly source: Store;
  readonly target: Store;
}

/** A run that has ended well, started again as far as its comparison goes. */
async function moved(): Promise<Moved> {
  const table = runs.unique('compared_source');
  await sql.query(`CREATE TABLE ${table} (id text PRIMARY KEY, title text, embedding vector(4))`);
  const row = `'w' || i, 'title ' || i, ARRAY[sin(i), cos(i), sin(i * 2), 1]::float4[]::vector`;
  await sql.query(`INSERT INTO ${table} SELECT ${row} FROM generate_series(0, ${records - 1}) i`);
  const result = await runs.run({
    source: { store: 'pgvector', connection: { url }, collection: table },
    target: await endpointIn(runs, 'qdrant', 'compared_target'),
    live: { settleSeconds: 0 },
    cutover: null,
    parallel: { shardMiB: 0.02 },
    validate: { recall: null, spotCheck: 500 },
  });
  expectValidated(result);
  const plan = { ...(await readPlan(services().objects, result.run)), attempt: 2 };
  const [source, target] = await Promise.all([services().openSource(plan), services().openTarget(plan)]);
  return { plan, table, source: source.store, target: target.store };
}

const targetId = (id: string): string => mapId(qdrant.capabilities.ids, id);

/** Writes to both sides in the client's order: the source first, and then the target what the source has. */
async function write({ table, target, plan }: Moved, id: string, at: number): Promise<void> {
  const vector = [Math.sin(at), Math.cos(at), at % 7, 1];
  await sql.query(
    `INSERT INTO ${table} VALUES ($1, $2, $3::float4[]::vector) ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title, embedding = EXCLUDED.embedding`,
    [id, `written ${at}`, vector],
  );
  const values = Float32Array.from(vector);
  const batch: Batch = {
    count: 1,
    ids: [id],
    vectors: new Map([['embedding', { kind: 'dense', dimension: 4, values }]]),
    payloads: [JSON.stringify({ title: `written ${at}` })],
  };
  await target.write(mapBatch(batch, plan.mapping, qdrant.capabilities.ids).batch, { mode: 'upsert' });
}

async function remove({ table, target }: Moved, id: string): Promise<void> {
  await sql.query(`DELETE FROM ${table} WHERE id = $1`, [id]);
  await target.delete([targetId(id)]);
}

/** An application with several writers, each with records of its own: it changes, deletes and adds until it is stopped. */
function startWriting(run: Moved) {
  const state = { isOver: false, writes: 0 };
  const work = async (writer: number): Promise<void> => {
    const random = seededRandom(writer + 1);
    while (!state.isOver) {
      const place = firstWritten + writer + writers * Math.floor(random() * ((records - firstWritten) / writers));
      const kind = random();
      // One in ten goes to a few records that are written all the time.
      const id = kind < 0.1 ? `w${firstWritten + writer}` : kind < 0.3 ? `added-${writer}-${place}` : `w${place}`;
      if (kind > 0.85) await remove(run, id);
      else await write(run, id, ++state.writes);
    }
  };
  const all = Promise.all(Array.from({ length: writers }, (_, writer) => work(writer)));
  return {
    state,
    stop: async () => {
      state.isOver = true;
      await all;
    },
  };
}

/** Second writes that never came: of records that the application does not write to again, so that nothing else mends them. */
async function loseWrites({ table, target }: Moved): Promise<readonly string[]> {
  const ids = (from: number): string[] => [0, 1, 2].map((at) => `w${from + at * 7}`);
  const [changed, deleted, lost] = [ids(100), ids(400), ids(700)];
  await sql.query(`UPDATE ${table} SET title = 'changed in the source alone' WHERE id = ANY($1)`, [changed]);
  await sql.query(`DELETE FROM ${table} WHERE id = ANY($1)`, [deleted]);
  await target.delete(lost.map(targetId));
  await sql.query(`INSERT INTO ${table} SELECT 'lost-' || i, 'new', '[1,2,3,4]' FROM generate_series(1, 3) i`);
  return [...changed, ...deleted, ...lost, 'lost-1', 'lost-2', 'lost-3'];
}

async function compareAll({ plan, source, target }: Moved): Promise<readonly Compared[]> {
  const { objects } = services();
  const manifest = await readManifest(objects, plan.run);
  expect(manifest.shards.length).toBeGreaterThan(3);
  const step = { plan, source, target, objects, deadline: noDeadline, secondLookMs: 200 };
  for (const { shard } of manifest.shards) await compareShard({ ...step, shard });
  return await readCompared(plan, manifest, objects);
}

async function sweepAll({ plan, source, target }: Moved): Promise<Sweep> {
  const { objects } = services();
  const manifest = await readManifest(objects, plan.run);
  const { done } = await sweepWrites({
    plan,
    manifest,
    objects,
    source,
    target,
    deadline: noDeadline,
    lookAgainMs: 200,
  });
  const found = await getJson(objects, runKeys(plan.run).sweep, sweepSchema);
  if (!done || found === undefined) throw new Error('the sweep did not end');
  return found;
}

test('while an application writes, no write of it is a difference, and every second write that was lost is mended and named', async () => {
  const run = await moved();
  const application = startWriting(run);
  const whileItWrites = async () => {
    await until(() => application.state.writes >= 200, 'the first writes');
    const lost = await loseWrites(run);
    const before = application.state.writes;
    const compared = await compareAll(run);
    const during = application.state.writes - before;
    return { lost, during, compared, swept: await sweepAll(run) };
  };
  const { lost, during, compared, swept } = await whileItWrites().finally(application.stop);

  const sum = (of: (each: Compared) => number): number => compared.reduce((total, each) => total + of(each), 0);
  expect(during).toBeGreaterThan(100);
  expect(sum((each) => each.records)).toBe(records);
  expect(sum((each) => each.equal)).toBe(records);
  expect(sum((each) => each.changed)).toBeGreaterThan(100);
  expect(sum((each) => each.spotDifferent)).toBe(0);
  expect(compared.flatMap((each) => each.differences)).toEqual([]);
  expect(swept).toMatchObject({ missing: 0, different: 0, extra: 0, unchecked: 0 });

  const named = [...compared.flatMap((each) => each.mendedIds), ...swept.mends.map(({ id }) => id)];
  expect(named.toSorted()).toEqual(lost.toSorted());

  const { rows } = await sql.query<{ id: string }>(`SELECT id FROM ${run.table}`);
  expect(await run.target.count()).toBe(rows.length);
  const looks = await lookAtSides(
    await bothSides(run),
    rows.map(({ id }) => id),
  );
  expect(looks.filter(({ difference }) => difference !== undefined)).toEqual([]);
});
