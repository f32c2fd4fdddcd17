import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Engine, startEngine } from '../../infra/local/engine.ts';
import { loadDeployment } from '../../infra/local/synthesize.ts';
import { errorNames } from '../../lib/errors.ts';
import { runStatus } from '../../lib/status.ts';
import { memory } from '../../lib/stores/memory.ts';
import { makeBatch, makeSchema } from '../make.ts';

const directory = mkdtempSync(join(tmpdir(), 'vecferry-failure-'));
const connection = { path: 'failure-test' };
let engine: Engine;

beforeAll(async () => {
  engine = await startEngine({ directory, deployment: await loadDeployment(directory) });
});
afterAll(async () => {
  await engine.close();
});

test("a run whose map fails ends under its child's error and message, not under a count of failed children", async () => {
  const source = await memory.open({ connection, collection: 'poisoned', options: {} });
  await source.prepare(makeSchema());
  const batch = makeBatch({ ids: ['1', '2', '3'] });
  for (const column of batch.vectors.values()) column.values[0] = Number.NaN;
  await source.write(batch, { position: { run: 'seed', shard: '00000-000', offset: 0 }, mode: 'upsert' });
  const event = {
    source: { store: 'memory', connection, collection: 'poisoned' },
    target: { store: 'memory', connection, collection: 'clean' },
  };
  const outcome = await engine.run({ run: 'poisoned', event, signal: new AbortController().signal });
  expect(outcome).toEqual({
    status: 'FAILED',
    error: errorNames.recordRefused,
    cause: expect.stringMatching(/NaN/),
  });
  const { objects } = engine;
  const status = await runStatus({ objects, run: 'poisoned' });
  expect(status.report).toBeDefined();
  const report = new TextDecoder().decode(await objects.get('runs/poisoned/report.json'));
  expect(JSON.parse(report)).toMatchObject({ verdict: 'failed', failure: { error: errorNames.recordRefused } });
});
