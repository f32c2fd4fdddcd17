import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { records, schema, weakGraph } from '../stores/qdrant-recipes.ts';
import { endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** A whole run whose target misses its goal, with `"tune": true`; then with the settings that it found. */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());

test('tune finds settings that hold for Qdrant, which keeps none: unproven until the event says that they are sent', async () => {
  const source = await endpointIn(runs, 'qdrant', 'tune_source');
  await runs.seed(source, schema, records());
  const target = { ...(await endpointIn(runs, 'qdrant', 'tuned')), options: weakGraph };
  const recall = { queries: 80, k: 10, atLeast: 0.9, depths: [], tune: true };
  const { run, outcome, report } = await runs.run({ source, target, validate: { recall }, cutover: null });
  expect([outcome.status, report?.verdict]).toEqual(['FAILED', 'unproven']);
  const [tuned] = report?.tuning ?? [];
  expect(tuned).toMatchObject({ set: 'sampled', k: 10, atLeast: 0.9, kept: false });
  expect(tuned?.curve[0]).toMatchObject({ settings: { efSearch: 24 }, queries: 80 });
  // A wider search finds no less.
  const byWidth = tuned?.curve.toSorted((a, b) => (a.settings.efSearch ?? 0) - (b.settings.efSearch ?? 0)) ?? [];
  for (const [at, point] of byWidth.entries()) expect(point.mean).toBeGreaterThan((byWidth[at - 1]?.mean ?? 0) - 0.01);
  const search = tuned?.chosen ?? {};
  expect(tuned?.curve.find(({ settings }) => settings.efSearch === search.efSearch)?.low).toBeGreaterThanOrEqual(0.9);
  const [finding] = report?.findings ?? [];
  expect(finding).toMatchObject({ severity: 'unproven', causes: [{ cause: 'efSearch too low' }] });
  expect(finding?.next).toContain(`"params": {"hnsw_ef": ${search.efSearch}}`);

  const again = await runs.run({ run, source, target, validate: { recall: { ...recall, search } }, cutover: null });
  const passed = expectValidated(again);
  expect(passed.recall?.sets[0]).toMatchObject({ outcome: 'passed', settings: search });
  expect(passed.tuning ?? []).toEqual([]);
});
