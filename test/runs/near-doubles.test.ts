import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { seededRandom } from '../../lib/sample.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** Doubles that Qdrant reads otherwise than they were written: docs/stores.md. */

let runs: Runs;
let source: EndpointInput;
let target: EndpointInput;

const schema = makeSchema({
  vectors: [
    { name: 'embedding', kind: 'dense', dimension: 4, distance: 'dot', precision: 'float32', index: { kind: 'none' } },
  ],
});
const count = 300;
const random = seededRandom(7);
/** A share, and nanoseconds as a double has them, both with 16 or 17 digits. */
const payloads = Array.from({ length: count }, () => {
  const at = 1.7e18 + Math.floor(random() * 2 ** 50);
  return `{"score":${random()},"at":${at.toExponential()}}`;
});
const batch = makeBatch({ ids: payloads.map((_, at) => String(at)), vectors: schema.vectors, payloads });
const validate = { recall: { queries: 5, k: 3, atLeast: 0.1 } };

beforeAll(async () => {
  runs = await startRuns();
  source = await endpointIn(runs, 'files', 'near');
  target = await endpointIn(runs, 'qdrant', 'near');
  await runs.seed(source, schema, batch);
});
afterAll(async () => await runs.close());

test('numbers that Qdrant reads a unit beside are equal, and counted: a proof that allows them in silence is none', async () => {
  const { compare, summary } = expectValidated(await runs.run({ source, target, validate, cutover: null }));
  expect(compare).toMatchObject({ equal: count, different: 0 });
  expect(compare!.nearNumbers).toBeGreaterThan(count / 50);
  expect(compare!.nearNumbers).toBeLessThan(count);
  expect(summary).toContain(`compared and equal, ${compare!.nearNumbers} numbers with other last digits`);
});

test('a change of the thirteenth digit is none of those', async () => {
  const store = await runs.open(target);
  const score: number = JSON.parse(payloads[0]!).score;
  const name = (await store.describe()).schema.vectors[0]!.name;
  const other = {
    ...batch,
    vectors: new Map([[name, batch.vectors.get('embedding')!]]),
    payloads: [payloads[0]!.replace(`${score}`, `${score * (1 + 2e-13)}`), ...payloads.slice(1)],
  };
  await store.write(other, { position: { run: 'x', shard: '00000-000', offset: 0 }, mode: 'upsert' });
  const { report } = await runs.run({ mode: 'validate', source, target, validate, cutover: null });
  expect(report!.compare).toMatchObject({ equal: count - 1, different: 1 });
  expect(report!.compare!.first.different[0]!.reason).toMatch(/payload field score: expected/);
});
