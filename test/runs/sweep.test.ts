import { existsSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { storeSide } from '../../lib/client/store-side.ts';
import { endpointSchema } from '../../lib/event.ts';
import { runKeys, tombstoneKey } from '../../lib/keys.ts';
import { bothSides, lookAtSides } from '../../lib/live/both-sides.ts';
import { type Sweep, sweepSchema } from '../../lib/live/live-files.ts';
import { sweepWrites } from '../../lib/live/sweep.ts';
import { readManifest } from '../../lib/manifest.ts';
import { mapId } from '../../lib/mapping/mapping.ts';
import { getJson, putJson } from '../../lib/objects.ts';
import { readPlan } from '../../lib/plan.ts';
import type { Plan } from '../../lib/run-files.ts';
import { services } from '../../lib/services.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import type { Store } from '../../lib/stores/port.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { connectServer } from '../servers/database.ts';
import { until } from '../until.ts';
import { nearAfter, noDeadline } from '../world.ts';
import { endOf } from './flag-history.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** A live run from PostgreSQL to Qdrant whose source is written to past the client, so that every write is lost on its way. */

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

const records = 3000;

/** Text ids, which Qdrant keeps as UUIDs with the original in the payload. */
async function makeTable(): Promise<EndpointInput> {
  const table = runs.unique('live_source');
  await sql.query(`CREATE TABLE ${table} (id text PRIMARY KEY, title text, embedding vector(4))`);
  await sql.query(`INSERT INTO ${table} SELECT ${row} FROM generate_series(10001, ${10_000 + records}) i`);
  return { store: 'pgvector', connection: { url }, collection: table };
}
const row = `'w' || i, 'title ' || i, ARRAY[sin(i), cos(i), sin(i * 2), 1]::float4[]::vector`;

/** In the source alone: two changed (one in its vector), three added, one of them in the last range, two deleted. */
async function writePastTheClient(table: string): Promise<void> {
  await sql.query(`UPDATE ${table} SET title = 'changed' WHERE id = 'w10007'`);
  await sql.query(`UPDATE ${table} SET embedding = '[9,9,9,9]' WHERE id = 'w12999'`);
  await sql.query(`INSERT INTO ${table} SELECT ${row} FROM unnest(ARRAY[1, 20000, 99999]) i`);
  await sql.query(`DELETE FROM ${table} WHERE id IN ('w10003', 'w12000')`);
}
const written = { changed: 2, added: 3, deleted: 2 };

interface Moved {
  readonly plan: Plan;
  readonly source: Store;
  readonly target: Store;
  readonly table: string;
}

async function openSides(plan: Plan): Promise<Pick<Moved, 'source' | 'target'>> {
  const [source, target] = await Promise.all([services().openSource(plan), services().openTarget(plan)]);
  return { source: source.store, target: target.store };
}

/** A live run that has ended well; what is written after it nobody has looked at. */
async function moved(): Promise<Moved> {
  const source = await makeTable();
  const target = await endpointIn(runs, 'qdrant', 'live_target');
  const live = { settleSeconds: 0 };
  const result = await runs.run({
    source,
    target,
    live,
    cutover: null,
    parallel: { shardMiB: 0.01 },
    validate: { recall: null },
  });
  expectValidated(result);
  // As a run that is started again: its sweep is made anew.
  const plan = { ...(await readPlan(services().objects, result.run)), attempt: 2 };
  return { plan, ...(await openSides(plan)), table: source.collection };
}

async function sweep(
  { plan, source, target }: Omit<Moved, 'table'>,
  steps?: number,
): Promise<Sweep & { calls: number }> {
  const { objects } = services();
  const manifest = await readManifest(objects, plan.run);
  // Small pieces, so that calls end anywhere.
  const pieces = (store: Store): Store => ({
    ...store,
    read: (range, options) => store.read(range, { ...options, maxRecords: 200 }),
  });
  const sides = steps === undefined ? { source, target } : { source: pieces(source), target: pieces(target) };
  for (let calls = 1; ; calls++) {
    const deadline = steps === undefined ? noDeadline : nearAfter(steps);
    const { done } = await sweepWrites({ plan, manifest, objects, ...sides, deadline, lookAgainMs: 5 });
    const found = await getJson(objects, runKeys(plan.run).sweep, sweepSchema);
    if (found === undefined || calls > 300) throw new Error('the sweep does not end');
    if (done) return { ...found, calls };
  }
}

/** Both hold the same records, whatever the sweep says: counted and looked at by their own. */
async function expectSame({ plan, source, target, table }: Moved): Promise<void> {
  const { rows } = await sql.query<{ id: string }>(`SELECT id FROM ${table}`);
  expect(await target.count()).toBe(rows.length);
  const looks = await lookAtSides(
    await bothSides({ plan, source, target }),
    rows.map(({ id }) => id),
  );
  expect(looks.filter(({ difference }) => difference !== undefined)).toEqual([]);
}

const targetId = (id: string): string => mapId(qdrant.capabilities.ids, id);

describe('a sweep from PostgreSQL to Qdrant', () => {
  test('of a run whose source is written to past the client, while it is exported, mends each write, and the report says so', async () => {
    const source = await makeTable();
    const target = await endpointIn(runs, 'qdrant', 'live_target');
    const run = runs.unique('run');
    const folder = services().objects.locate(runKeys(run).exported);
    const exported = (): number => (existsSync(folder) ? readdirSync(folder).length : 0);
    const live = { settleSeconds: 0 };
    const validate = { recall: null, spotCheck: records };
    const running = runs.run({ run, source, target, live, cutover: null, parallel: { shardMiB: 0.01 }, validate });
    await until(() => exported() >= 2, 'the first shards', endOf(running));
    await writePastTheClient(source.collection);
    const report = expectValidated(await running);
    // What was written before its range was read is exported as it is now.
    expect(report.live?.mended).toBeGreaterThan(0);
    expect(report.summary).toMatch(/records? had to be mended, since a write had not reached both sides/);
    const plan = await readPlan(services().objects, run);
    await expectSame({ plan, ...(await openSides(plan)), table: source.collection });
  });

  test('mends what is in one side alone, in either direction, and names it by its id in the source', async () => {
    const run = await moved();
    await writePastTheClient(run.table);
    // Deleted from the source with a tombstone, and brought back by an importer given up for dead.
    await sql.query(`DELETE FROM ${run.table} WHERE id = 'w10500'`);
    const at = new Date().toISOString();
    await putJson(services().objects, tombstoneKey(run.plan.run, at), { at, ids: ['w10500'] });
    // Written to the target alone: one that the source has otherwise, one that it never had.
    const alone = makeBatch({
      ids: [targetId('w10600'), targetId('w77777')],
      vectors: run.plan.target.vectors,
      payloads: ['w10600', 'w77777'].map((id) => JSON.stringify({ original_id: id, title: 'lost' })),
    });
    await run.target.write(alone, { mode: 'upsert' });
    await sql.query(`UPDATE ${run.table} SET title = 'found' WHERE id = 'w10600'`);
    const found = await sweep(run);
    expect(found).toMatchObject({ ...written, changed: 3, deleted: 3, tombstones: 1, mended: 10 });
    expect(found).toMatchObject({ missing: 0, different: 0, extra: 0, unchecked: 0, note: '' });
    const mended = ['w1', 'w10003', 'w10007', 'w10500', 'w10600', 'w12000', 'w12999', 'w20000', 'w77777', 'w99999'];
    expect(found.mends.map(({ id }) => id).sort()).toEqual(mended);
    await expectSame(run);
  });

  test('that is cut off again and again finds the same', async () => {
    const run = await moved();
    await writePastTheClient(run.table);
    const found = await sweep(run, 0);
    expect(found).toMatchObject({ ...written, mended: 7, missing: 0, different: 0, extra: 0 });
    expect(found.calls).toBeGreaterThan(20);
    await expectSame(run);
  });
});

test('writes that go on while the sweep is under way count for nothing, and those that were lost before it are mended', async () => {
  const run = await moved();
  await writePastTheClient(run.table);
  const { objects } = services();
  const source = storeSide({ store: run.source, kind: pgvector, vector: 'embedding' });
  const target = storeSide({ store: run.target, kind: qdrant, vector: 'embedding', mapping: run.plan.mapping });
  let isOver = false;
  let writes = 0;
  // As the client does: the tombstone, the source, the target. Each has ids of its own.
  const writers = [0, 1, 2].map(async (writer) => {
    for (let at = 0; !isOver; at++, writes++) {
      const id = at % 5 === 4 ? `n${writer}-${at}` : `w${10_100 + writer * 100 + (at % 80)}`;
      if (at % 3 === 2) {
        await putJson(objects, tombstoneKey(run.plan.run, new Date().toISOString()), {
          at: new Date().toISOString(),
          ids: [id],
        });
        for (const side of [source, target]) await side.delete([id]);
      } else {
        const record = {
          id,
          vectors: { embedding: [Math.sin(at), writer, 1, 1] },
          payload: { title: `written ${at}` },
        };
        for (const side of [source, target]) await side.upsert([record]);
      }
    }
  });
  // So that some of it comes before the sweep.
  await until(() => writes > 50, 'the first writes');
  const before = writes;
  const found = await sweep(run, 3);
  const during = writes - before;
  isOver = true;
  await Promise.all(writers);
  expect(during).toBeGreaterThan(10);
  expect(found).toMatchObject({ missing: 0, different: 0, extra: 0, unchecked: 0 });
  const lost = ['w1', 'w10003', 'w10007', 'w12000', 'w12999', 'w20000', 'w99999'];
  expect(found.mends.map(({ id }) => id)).toEqual(expect.arrayContaining(lost));
  await expectSame(run);
});

test.each([
  ['qdrant', 'pgvector'],
  ['chroma', 'lancedb'],
  ['lancedb', 'chroma'],
] as const)(
  'a sweep from %s to %s covers every key of the source once, where shards end within a range',
  async (from, to) => {
    const [source, target] = [await endpointIn(runs, from, 'swept'), await endpointIn(runs, to, 'swept')];
    const ids = Array.from({ length: 900 }, (_, at) => String(10_000 + at));
    const vectors = makeSchema().vectors.map((each) => ({ ...each, name: vectorNames[from] ?? each.name }));
    await runs.seed(
      source,
      makeSchema({ vectors, idType: from === 'chroma' ? 'string' : 'integer' }),
      makeBatch({ ids, vectors }),
    );
    const live = { settleSeconds: 0 };
    const asked = { source, target, live, cutover: null, parallel: { shardMiB: 0.005 }, validate: { recall: null } };
    const result = await runs.run(asked);
    expectValidated(result);
    const plan = { ...(await readPlan(services().objects, result.run)), attempt: 2 };
    const manifest = await readManifest(services().objects, plan.run);
    expect(manifest.shards.length).toBeGreaterThan(5);
    // In the source alone, by a writer of its own: the first and the last record and one between, as many added as deleted.
    const writer = (await services().open(endpointSchema.parse(source), { omitFields: ['no field'] })).store;
    const added = ['9999', '99999', '1'];
    await writer.write(makeBatch({ ids: [...added, '10000', '10450', '10899'], vectors, seed: 7 }), { mode: 'upsert' });
    await writer.delete(['10050', '10250', '10850']);
    const sides = await openSides(plan);
    const found = await sweep({ plan, ...sides }, 2);
    expect(found).toMatchObject({
      changed: 3,
      added: 3,
      deleted: 3,
      mended: 9,
      missing: 0,
      different: 0,
      extra: 0,
      unchecked: 0,
    });
    expect(await sides.target.count()).toBe(900);
    const looks = await lookAtSides(await bothSides({ plan, ...sides }), [...ids, ...added]);
    expect(looks.filter(({ difference }) => difference !== undefined)).toEqual([]);
  },
);

const vectorNames: Readonly<Record<string, string>> = { chroma: 'embedding', lancedb: 'vector', qdrant: 'embedding' };
