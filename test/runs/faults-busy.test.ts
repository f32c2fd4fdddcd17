import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { services } from '../../lib/services.ts';
import { makeDatabase } from '../servers/database.ts';
import { failQdrant, pendingFaults } from '../servers/faults.ts';
import { startProxy } from '../servers/proxy.ts';
import { chromaUrl, qdrantUrl } from '../servers/urls.ts';
import { expectExact, makeSource, messagesInFlight } from './fault-tools.ts';
import { endpointIn, expectValidated, fewQueries, type Runs, startRuns } from './world.ts';

/** A target that is busy or away for a while slows the run, and does not fail it. */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());

const noneLeft = async (collection: string): Promise<void> => {
  expect((await pendingFaults()).filter(({ path }) => path?.includes(collection))).toEqual([]);
};

describe('a Qdrant that answers 429 and 503', () => {
  const upserts = {
    grpc: (collection: string) => `/qdrant.Points/Upsert ${collection}`,
    rest: (collection: string) => `PUT /collections/${collection}/points`,
  };
  const reads = {
    grpc: (collection: string) => [`/qdrant.Points/Get ${collection}`, `/qdrant.Points/Query ${collection}`],
    rest: (collection: string) => [`POST /collections/${collection}/points`],
  };

  test.each(['grpc', 'rest'] as const)(
    'during the import over %s: more often than a message is delivered, and none counts as a failed delivery',
    async (transport) => {
      const source = makeSource(runs, 500);
      const target = { ...(await endpointIn(runs, 'qdrant', 'busy')), options: { transport } };
      const path = upserts[transport](target.collection);
      // A write is four requests. The pauses grow while nothing goes through, so those that the store asks for come last.
      await failQdrant({ status: 429, times: 8, path });
      await failQdrant({ status: 503, times: 4, path });
      await failQdrant({ status: 429, times: 12, retryAfter: 0.05, path });
      await failQdrant({ status: 503, times: 12, retryAfter: 0.05, path });
      const result = await runs.run({ source, target, validate: fewQueries });
      const report = expectValidated(result);
      await noneLeft(target.collection);
      expect(report.throttled).toBe(9);
      await expectExact(runs, result, target, 500);
    },
  );

  test.each(['grpc', 'rest'] as const)(
    'during the validation over %s: more often than one call tries, and than the state machine alone does',
    async (transport) => {
      const source = makeSource(runs, 500);
      const target = { ...(await endpointIn(runs, 'qdrant', 'busy')), options: { transport } };
      const faults: Promise<void>[] = [];
      const result = await runs.run({ source, target, validate: fewQueries }, ({ type, state }) => {
        if (type !== 'entered' || state !== 'Build the index') return;
        for (const path of reads[transport](target.collection)) {
          faults.push(failQdrant({ status: 503, times: 1, path }));
          faults.push(failQdrant({ status: 429, times: 19, retryAfter: 0.02, path }));
        }
      });
      expect(faults.length).toBeGreaterThan(0);
      await Promise.all(faults);
      expectValidated(result);
      await noneLeft(target.collection);
      await expectExact(runs, result, target, 500);
    },
  );
});

test('a PostgreSQL that ends every connection and takes none for three seconds of the import', async () => {
  const database = await makeDatabase('vecferry_faults');
  const admin = new pg.Client(database.url.replace(/\/[^/]*$/, '/postgres'));
  await admin.connect();
  try {
    const name = new URL(database.url).pathname.slice(1);
    let ended = 0;
    const cut = async (): Promise<void> => {
      await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
      // From when an importer has a shard, which it is to meet in vain.
      for (let since: number | undefined; since === undefined || Date.now() < since + 3000; ) {
        if ((await messagesInFlight()) > 0) since ??= Date.now();
        const { rowCount } = await admin.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'vecferry'`,
          [name],
        );
        ended += rowCount ?? 0;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
    };
    const source = makeSource(runs, 2000);
    const target = { store: 'pgvector', connection: { url: database.url }, collection: 'public.words' };
    let cutting: Promise<void> | undefined;
    const result = await runs.run(
      { source, target, parallel: { shardMiB: 0.02 }, validate: fewQueries },
      ({ type, state }) => {
        if (type === 'entered' && state === 'Export every range') cutting ??= cut();
      },
    );
    await cutting;
    const report = expectValidated(result);
    expect(ended).toBeGreaterThan(0);
    expect(report.throttled).toBeGreaterThan(0);
    await expectExact(runs, result, target, 2000);
  } finally {
    await admin.end();
    await services().close();
    await database.drop();
  }
});

describe('connections that are cut in the middle of a write, and refused for three seconds', () => {
  test('to Chroma', async () => {
    const proxy = await startProxy(await chromaUrl());
    const target = { store: 'chroma', connection: { url: proxy.url }, collection: runs.unique('cut') };
    proxy.cutAt('/upsert', 3000);
    const result = await runs.run({
      source: makeSource(runs, 2000),
      target,
      parallel: { shardMiB: 0.05 },
      validate: fewQueries,
    });
    const report = expectValidated(result);
    expect(proxy.cuts).toBeGreaterThan(1);
    expect(report.throttled).toBeGreaterThan(0);
    await expectExact(runs, result, target, 2000);
    await proxy.close();
  });

  test('to Qdrant', async () => {
    const proxy = await startProxy(await qdrantUrl());
    const options = { transport: 'rest' };
    const target = { store: 'qdrant', connection: { url: proxy.url }, collection: runs.unique('cut'), options };
    proxy.cutAt('points?wait=true', 3000);
    const result = await runs.run({
      source: makeSource(runs, 2000),
      target,
      parallel: { shardMiB: 0.05 },
      validate: fewQueries,
    });
    const report = expectValidated(result);
    expect(proxy.cuts).toBeGreaterThan(1);
    expect(report.throttled).toBeGreaterThan(0);
    await expectExact(runs, result, target, 2000);
    await proxy.close();
  });
});
