import { existsSync, readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { readMoves } from '../../lib/cutover/moves.ts';
import { runKeys } from '../../lib/keys.ts';
import { services } from '../../lib/services.ts';
import { connectServer } from '../servers/database.ts';
import { until } from '../until.ts';
import { deadLettersOf } from './fault-tools.ts';
import { endOf } from './flag-history.ts';
import {
  type EndpointInput,
  endpointIn,
  expectValidated,
  fewQueries,
  type Result,
  type Runs,
  startRuns,
} from './world.ts';

/** A source that is written to while it is exported: what is not moved as the source is now is named, and nothing is cut over. */

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
/** Every record is read back from the source, so each change after the export of its shard shows. */
const validate = { ...fewQueries, spotCheck: records * 2 };

async function makeTable(): Promise<EndpointInput> {
  const table = runs.unique('changing');
  await sql.query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, title text, embedding vector(4))`);
  await sql.query(
    `INSERT INTO ${table} SELECT i * 10, 'title ' || i, ARRAY[sin(i), cos(i), sin(i * 2), 1]::float4[]::vector FROM generate_series(1, ${records}) i`,
  );
  return { store: 'pgvector', connection: { url }, collection: table };
}

/** Runs the event, and changes the source once the first shards are exported, while others still have to be. */
async function runWhile(
  source: EndpointInput,
  more: object,
  change: () => Promise<void>,
): Promise<Result & { target: EndpointInput }> {
  const target = await endpointIn(runs, 'lancedb', 'changed');
  const run = runs.unique('run');
  const folder = services().objects.locate(runKeys(run).exported);
  const exported = (): number => (existsSync(folder) ? readdirSync(folder).length : 0);
  const running = runs.run({ run, source, target, parallel: { shardMiB: 0.01 }, ...more });
  await until(() => exported() >= 2, 'the first shards', endOf(running));
  const before = exported();
  await change();
  const after = exported();
  const result = await running;
  // Else the change came after the export, which is another test.
  expect(before).toBeLessThan(exported());
  expect(after).toBeLessThan(exported());
  expect(await deadLettersOf(run)).toEqual([]);
  return { ...result, target };
}

/** Every record of both sides that is not the same, by id: the truth that the report is held against. */
async function differences(source: EndpointInput, target: EndpointInput): Promise<string[]> {
  const [inSource, inTarget] = await Promise.all(
    [source, target].map(async (endpoint) => {
      const found = new Map<string, string>();
      const store = await runs.open(endpoint);
      for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 1000, maxBytes: 1 << 24 }))
        for (const [at, id] of batch.ids.entries()) found.set(id, batch.payloads[at] ?? '');
      return found;
    }),
  );
  const ids = new Set([...(inSource?.keys() ?? []), ...(inTarget?.keys() ?? [])]);
  return [...ids].filter((id) => inSource?.get(id) !== inTarget?.get(id)).toSorted();
}

describe('a PostgreSQL table that changes while it is exported', () => {
  test('records updated and deleted are each named with the reason, or equal; nothing is cut over', async () => {
    const source = await makeTable();
    const { collection: table } = source;
    const { run, outcome, report, target } = await runWhile(source, { validate }, async () => {
      // In the first shards, which are exported, and in the last, which are not.
      await sql.query(`UPDATE ${table} SET title = 'new' WHERE id IN (10, 20, ${records * 10})`);
      await sql.query(`DELETE FROM ${table} WHERE id IN (30, ${records * 10 - 10})`);
    });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    expect(report?.verdict).toBe('failed');
    const wrong = await differences(source, target);
    expect(wrong).toEqual(expect.arrayContaining(['10', '20', '30']));
    const named = report?.spotCheck?.first ?? [];
    expect(named.map(({ id }) => id).toSorted()).toEqual(wrong);
    const reasonOf = (id: string) => named.find((each) => each.id === id)?.reason;
    expect(reasonOf('10')).toMatch(/it changed after the export.*title/s);
    expect(reasonOf('30')).toMatch(/deleted after the export/);
    expect(report?.guarantee).toMatch(/one snapshot of the source, but not all shards in the same one/);
    expect(report?.guarantee).toMatch(/validate\.spotCheck says how many/);
    expect(await readMoves(services().objects, run)).toEqual([]);
  });

  test('records inserted are missing from the target, and the report says so by name', async () => {
    const source = await makeTable();
    const { collection: table } = source;
    const { run, outcome, report, target } = await runWhile(source, { validate }, async () => {
      await sql.query(
        `INSERT INTO ${table} SELECT i, 'late', '[1,2,3,4]' FROM unnest(ARRAY[1, 15, ${records * 10 + 5}]) i`,
      );
    });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    const wrong = await differences(source, target);
    expect(wrong).toEqual(expect.arrayContaining(['1', '15']));
    expect(report?.counts).toMatchObject({ agree: false, source: records + 3 });
    const finding = report?.findings.find(({ check }) => check === 'counts');
    expect(finding?.what).toMatch(/more than were exported/);
    expect(finding?.ids.toSorted()).toEqual(wrong);
    expect(await readMoves(services().objects, run)).toEqual([]);
  });

  test('as many inserted as deleted: the counts agree, and the run fails all the same', async () => {
    const source = await makeTable();
    const { collection: table } = source;
    const { outcome, report, target } = await runWhile(source, { validate }, async () => {
      await sql.query(`UPDATE ${table} SET id = 15 WHERE id = 10`);
    });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    expect(report?.counts).toMatchObject({ source: records, manifest: records, target: records });
    expect(await differences(source, target)).toEqual(['10', '15']);
    const named = report?.findings.flatMap(({ ids }) => ids) ?? [];
    expect([...new Set(named)].toSorted()).toEqual(['10', '15']);
  });

  test('changed and changed back, the run is validated', async () => {
    const source = await makeTable();
    const { collection: table } = source;
    const result = await runWhile(source, { validate }, async () => {
      await sql.query(`UPDATE ${table} SET title = 'new' WHERE id = 10`);
      await sql.query(`UPDATE ${table} SET title = 'title 1' WHERE id = 10`);
    });
    expectValidated(result);
    expect(await differences(source, result.target)).toEqual([]);
  });
});
