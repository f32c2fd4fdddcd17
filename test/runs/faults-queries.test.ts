import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runKeys } from '../../lib/keys.ts';
import { services } from '../../lib/services.ts';
import { makeSource } from './fault-tools.ts';
import { type EndpointInput, endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** Query sets, filters and search settings that cannot be meant: one clear typed error before anything is moved. */

let runs: Runs;
let source: EndpointInput;
beforeAll(async () => {
  runs = await startRuns();
  source = makeSource(runs, 300, (record, id) => ({ ...record, topic: id % 100 === 0 ? 'rare' : 'common' }));
});
afterAll(async () => await runs.close());

const unit = [1, 0, 0, 0];
const line = (query: unknown): string => `${JSON.stringify(query)}\n`;
const fileOf = (name: string, text: string): string => {
  const path = join(runs.directory, name);
  writeFileSync(path, text);
  return path;
};
const oneSet = (set: Record<string, unknown>) => ({ recall: { sets: [{ name: 'mine', atLeast: null, ...set }] } });

interface Bad {
  readonly what: string;
  /** The event's `validate`. */
  readonly validate: () => unknown;
  readonly error: string;
  readonly said: RegExp;
  readonly target?: 'lancedb' | 'qdrant' | 'files';
}

const bad: readonly Bad[] = [
  {
    what: 'a query of another dimension',
    validate: () => oneSet({ queries: [{ vector: unit }, { id: 'long', vector: [1, 2, 3, 4, 5] }] }),
    error: 'InvalidEvent',
    said: /'mine', query 'long': has 5 floats, and vector 'embedding' has 4/,
  },
  {
    what: 'a query of zeros',
    validate: () => oneSet({ queries: [{ vector: [0, 0, 0, 0] }] }),
    error: 'InvalidEvent',
    said: /query '1': is all zeros/,
  },
  {
    what: 'a number that no float32 holds',
    validate: () => oneSet({ queries: [{ vector: [1e39, 0, 0, 0] }] }),
    error: 'InvalidEvent',
    said: /float 1 is 1e\+39, which no float32 holds/,
  },
  {
    what: 'a vector that the source does not have',
    validate: () => oneSet({ vector: 'title' }),
    error: 'InvalidEvent',
    said: /searches vector 'title'; .* 'embedding'/,
  },
  {
    what: 'a field of a set that there is not',
    validate: () => oneSet({ filters: { topic: 'rare' } }),
    error: 'InvalidEvent',
    said: /filters/,
  },
  {
    what: 'a filter without a condition',
    validate: () => oneSet({ filter: { topic: {} } }),
    error: 'InvalidEvent',
    said: /filter\.topic/,
  },
  {
    what: 'a condition that there is not',
    validate: () => oneSet({ filter: { topic: { like: 'ra%' } } }),
    error: 'InvalidEvent',
    said: /filter\.topic .*like/,
  },
  {
    what: 'two sets of one name',
    validate: () => ({ recall: { sets: [{ name: 'mine' }, { name: 'mine' }] } }),
    error: 'InvalidEvent',
    said: /validate\.recall\.sets have names that are not unique/,
  },
  {
    what: 'queries and a file at once',
    validate: () => oneSet({ queries: [{ vector: unit }], file: 'queries.jsonl' }),
    error: 'InvalidEvent',
    said: /takes one of sample, queries and file/,
  },
  {
    what: 'no queries',
    validate: () => oneSet({ queries: [] }),
    error: 'InvalidEvent',
    said: /queries/,
  },
  {
    what: 'a goal of 1, which no sample shows',
    validate: () => ({ recall: { queries: 100, atLeast: 1 } }),
    error: 'InvalidEvent',
    said: /100 queries cannot show a recall of 1 .*no number of queries shows that; ask for a lower goal/,
  },
  {
    what: 'a goal above 1',
    validate: () => ({ recall: { atLeast: 95 } }),
    error: 'InvalidEvent',
    said: /validate\.recall\.atLeast/,
  },
  {
    what: 'a k of 0',
    validate: () => ({ recall: { k: 0 } }),
    error: 'InvalidEvent',
    said: /validate\.recall\.k/,
  },
  {
    what: 'a search setting that there is not',
    validate: () => ({ recall: { search: { ef: 100 } } }),
    error: 'InvalidEvent',
    said: /validate\.recall\.search.*ef/,
  },
  {
    what: 'a search setting that the store does not heed',
    validate: () => ({ recall: { search: { probes: 8 } } }),
    error: 'Incompatible',
    said: /validate\.recall\.search: Qdrant does not heed probes; it heeds .*efSearch/,
    target: 'qdrant',
  },
  {
    what: 'a file that is not there',
    validate: () => oneSet({ file: join(runs.directory, 'nowhere.jsonl') }),
    error: 'NotFound',
    said: /the query file '.*nowhere\.jsonl' is not there/,
  },
  {
    what: 'a folder for a file',
    validate: () => oneSet({ file: runs.directory }),
    error: 'NotFound',
    said: /is not there/,
  },
  {
    what: 'an empty file',
    validate: () => oneSet({ file: fileOf('empty.jsonl', '') }),
    error: 'InvalidEvent',
    said: /empty\.jsonl' holds 0 lines of queries; it takes 1 to 10,000/,
  },
  {
    what: 'a file with a line that is no JSON',
    validate: () => oneSet({ file: fileOf('torn.jsonl', `${line({ vector: unit })}{"vector": [1, 0`) }),
    error: 'InvalidEvent',
    said: /torn\.jsonl': line 2/,
  },
  {
    what: 'a file of bytes that are no text',
    validate: () => oneSet({ file: fileOf('binary.jsonl', String.fromCharCode(0, 1, 2, 65533)) }),
    error: 'InvalidEvent',
    said: /binary\.jsonl': line 1/,
  },
  {
    what: 'a file with a query of another dimension',
    validate: () => oneSet({ file: fileOf('wide.jsonl', line({ vector: unit }) + line({ vector: [1, 2] })) }),
    error: 'InvalidEvent',
    said: /'mine', query '2': has 2 floats/,
  },
  {
    what: 'a file of ten thousand queries and one',
    validate: () => oneSet({ file: fileOf('many.jsonl', line({ vector: unit }).repeat(10_001)) }),
    error: 'InvalidEvent',
    said: /many\.jsonl' holds 10,001 lines of queries; it takes 1 to 10,000/,
  },
  {
    what: 'a file of 100 MB that holds something else',
    validate: () => oneSet({ file: fileOf('log.jsonl', `${'GET /search?q=cat 200 '.repeat(5)}\n`.repeat(900_000)) }),
    error: 'InvalidEvent',
    said: /log\.jsonl': line 1 .*; so are lines 21, .* and 9,880 more/,
  },
  {
    what: 'a file too few queries for its goal',
    validate: () => oneSet({ atLeast: 0.95, file: fileOf('few.jsonl', line({ vector: unit }).repeat(20)) }),
    error: 'InvalidEvent',
    said: /its 20 queries cannot show a recall of 0\.95/,
  },
  {
    what: 'a field to filter by that the mapping leaves out',
    validate: () => oneSet({ filter: { note: 'note 7' } }),
    error: 'InvalidEvent',
    said: /filters by 'note', which mapping\.payload leaves out of the target/,
  },
];

describe('a recall that asks for', () => {
  const refusals = new Map<string, Promise<{ error: string; cause: string }>>();
  const refusal = async ({ validate, target = 'lancedb' }: Bad): Promise<{ error: string; cause: string }> => {
    const endpoint = await endpointIn(runs, target, 'bad');
    const run = runs.unique('bad');
    const mapping = { vectors: { embedding: { distance: 'cosine' } }, payload: { note: null } };
    const event = { run, source, target: endpoint, validate: validate(), mapping };
    const outcome = await runs.engine.run({ run, event, signal: new AbortController().signal });
    if (outcome.status !== 'FAILED') throw new Error(`the run ended ${outcome.status}`);
    const keys = runKeys(run);
    expect(await services().objects.list(keys.prefix)).toEqual([keys.reportPage, keys.report].toSorted());
    await expect((await runs.open(endpoint)).count()).rejects.toMatchObject({ name: 'NotFound' });
    return { error: outcome.error, cause: outcome.cause };
  };
  // All at once: an engine's run takes a second to see that its queue is empty.
  beforeAll(async () => {
    for (const each of bad) refusals.set(each.what, refusal(each));
    await Promise.allSettled(refusals.values());
  });

  test.each(bad)('$what is refused before anything is written', async ({ what, error, said }) => {
    const refused = await refusals.get(what);
    expect(refused?.error).toBe(error);
    expect(refused?.cause).toMatch(said);
    // Step Functions cuts a cause at 32,768 characters, and a person stops reading long before.
    expect(refused?.cause.length).toBeLessThan(10_000);
  });
});

describe('what may look wrong and is not', () => {
  test('k beyond the collection asks for all there are; filters that few or no records meet are told as they are', async () => {
    const target = await endpointIn(runs, 'qdrant', 'odd');
    const sets = [
      { name: 'beyond', sample: 300, k: 1000 },
      { name: 'rare', filter: { topic: 'rare' }, sample: 300 },
      { name: 'none', filter: { topic: 'of no record' }, atLeast: null },
      { name: 'no such field', filter: { nobody: 7 }, atLeast: null },
    ];
    const report = expectValidated(await runs.run({ source, target, validate: { recall: { depths: [1], sets } } }));
    const entry = (set: string) => report.recall?.sets.find((each) => each.set === set);
    expect(entry('beyond')).toMatchObject({ k: 300, outcome: 'passed', target: { measured: true, mean: 1 } });
    expect(entry('rare')).toMatchObject({ k: 3, candidates: 3 });
    for (const set of ['none', 'no such field']) expect(entry(set)).toMatchObject({ outcome: 'nothing to measure' });
  });

  test('a filter that no record meets does not pass its goal in silence: a misspelt field proves nothing', async () => {
    const target = await endpointIn(runs, 'qdrant', 'odd');
    const sets = [{ name: 'misspelt', filter: { Topic: 'rare' } }];
    const { outcome, report } = await runs.run({ source, target, validate: { recall: { sets } } });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ValidationFailed' });
    expect(report).toMatchObject({ verdict: 'unproven' });
    expect(report?.findings).toMatchObject([
      { check: 'recall', set: 'misspelt', next: expect.stringMatching(/^See that the filter names the field/) },
    ]);
  });
});
