import { describe, expect, test } from '@jest/globals';
import { parseEvent } from '../lib/event.ts';
import { comparedKey, exportedKey, failedKey, loadedKey, runKeys } from '../lib/keys.ts';
import { type ObjectStore, putJson } from '../lib/objects.ts';
import type { Compared, Failed, Loaded, Plan, ShardEntry } from '../lib/run-files.ts';
import { type RunStatus, runStatus } from '../lib/status.ts';
import { memoryObjects } from './local/memory-objects.ts';
import { makePlan } from './make-plan.ts';

const run = 'r1';
const keys = runKeys(run);
const at = '2026-01-01T00:00:00.000Z';

const entry = (shard: string, records: number): ShardEntry => ({
  shard,
  range: 0,
  part: 0,
  records,
  bytes: 1,
  checksum: '',
  rest: null,
  startedAt: at,
  at,
});
const loaded = (shard: string, records: number, skipped = 0): Loaded => ({
  shard,
  records,
  written: records - skipped,
  skipped,
  skippedIds: [],
  throttled: 0,
  startedAt: at,
  at,
});
const failed = (shard: string): Failed => ({
  shard,
  error: 'RecordRefused',
  message: 'bad',
  ids: [],
  attempts: 1,
  final: true,
  at,
});

const compared = (shard: string, tallies: Partial<Compared>): Compared => ({
  shard,
  done: false,
  offset: 0,
  records: 0,
  equal: 0,
  nearNumbers: 0,
  changed: 0,
  gone: 0,
  different: 0,
  missing: 0,
  unchecked: 0,
  notInSample: 0,
  duplicates: 0,
  skipped: 0,
  skippedIds: [],
  differences: [],
  changes: [],
  spotChecked: 0,
  spotDifferent: 0,
  spotDifferences: [],
  mended: 0,
  mendedIds: [],
  of: '',
  startedAt: at,
  at,
  ...tallies,
});
const cache = new Map<string, unknown>();

async function makeObjects(files: Record<string, unknown>, plan: Plan = makePlan()): Promise<ObjectStore> {
  const objects = memoryObjects({});
  for (const [key, value] of Object.entries({ [keys.plan]: plan, ...files })) await putJson(objects, key, value);
  return objects;
}
const stages = ({ stages: all }: RunStatus) => all.map(({ name, state, done }) => `${name} ${state} ${done}`);

describe('the status of a run', () => {
  test('says that there is no such run, and where it looked', async () => {
    const looking = runStatus({ objects: memoryObjects({}), run });
    await expect(looking).rejects.toMatchObject({ name: 'NotFound', message: expect.stringContaining('runs/') });
  });

  test('of a run just planned has its export under way and nothing else', async () => {
    const status = await runStatus({ objects: await makeObjects({}), run });
    expect(stages(status)).toEqual([
      'export running 0',
      'import waiting 0',
      'index waiting 0',
      'compare waiting 0',
      'recall waiting 0',
      'cutover waiting 0',
    ]);
    expect(status).toMatchObject({ records: 100, report: undefined, lastMove: undefined });
  });

  test('shows import while the export is still going on, from the markers of both', async () => {
    const objects = await makeObjects({
      [exportedKey(run, '00000-000')]: entry('00000-000', 40),
      [exportedKey(run, '00001-000')]: entry('00001-000', 30),
      [loadedKey(run, '00000-000')]: loaded('00000-000', 40, 3),
    });
    const status = await runStatus({ objects, run });
    expect(stages(status).slice(0, 2)).toEqual(['export running 70', 'import running 40']);
    expect(status.skipped).toBe(3);
  });

  test('counts the records that were exported once the manifest says how many, not those that were planned', async () => {
    const shards = [entry('00000-000', 55), entry('00001-000', 50)];
    const objects = await makeObjects({
      [keys.manifest]: { format: 1, run, records: 105, bytes: 2, shards },
      ...Object.fromEntries(shards.map((each) => [exportedKey(run, each.shard), each])),
      ...Object.fromEntries(shards.map(({ shard, records }) => [loadedKey(run, shard), loaded(shard, records)])),
    });
    const status = await runStatus({ objects, run });
    expect(status.records).toBe(105);
    expect(stages(status)).toEqual([
      'export done 105',
      'import done 105',
      'index running 0',
      'compare waiting 0',
      'recall waiting 0',
      'cutover waiting 0',
    ]);
  });

  test('names the shards that failed, but not those that a later try has loaded', async () => {
    const objects = await makeObjects({
      [failedKey(run, '00000-000')]: failed('00000-000'),
      [failedKey(run, '00001-000')]: failed('00001-000'),
      [loadedKey(run, '00001-000')]: loaded('00001-000', 5),
    });
    const status = await runStatus({ objects, run });
    expect(status.failed).toEqual([{ shard: '00000-000', error: 'RecordRefused', message: 'bad', final: true }]);
  });

  test('of a run that failed on its way shows as done only what was done', async () => {
    const objects = await makeObjects({
      [exportedKey(run, '00000-000')]: entry('00000-000', 40),
      [keys.report]: { verdict: 'failed', failure: { error: 'Error', message: 'ENOSPC' } },
    });
    expect(stages(await runStatus({ objects, run }))).toEqual([
      'export running 40',
      'import waiting 0',
      'index waiting 0',
      'compare waiting 0',
      'recall waiting 0',
      'cutover ended 0',
    ]);
  });

  test('says that the search is being tuned, and how far that is', async () => {
    const point = { settings: {}, queries: 9, mean: 1, low: 1, high: 1, p50: 1, p95: 1 };
    const set = { set: 'a', targetVector: 'v', k: 9, atLeast: 1, curve: [point, point], chosen: null };
    const tuning = { done: false, measuring: false, goal: {}, sets: [{ ...set, kept: false, how: '' }] };
    const objects = await makeObjects({ [keys.recall]: { sets: [] }, [keys.tuning]: tuning });
    const { stages: all } = await runStatus({ objects, run });
    const recall = all.find(({ name }) => name === 'recall');
    expect(recall?.detail).toBe('tuning the search, 2 settings tried');
    expect(recall?.state).not.toBe('done');
  });

  test('shows the build of an index whose old one was asked first as under way, though the queries are chosen by then', async () => {
    const hnsw = (m: number) => ({ index: { kind: 'hnsw', m } }) as const;
    const change = { vector: 'v', from: hnsw(4), to: hnsw(16), how: 'beside' } as const;
    const source = { store: 'pgvector', connection: { secret: 's' }, collection: 'docs' };
    const event = parseEvent({ source, target: { into: 'place' }, index: { to: { kind: 'hnsw' } } });
    const there = { [keys.manifest]: { format: 1, run, records: 0, bytes: 0, shards: [] }, [keys.queries]: [] };
    const indexOf = async (more: object, oldAsked: 'before' | 'in turn' = 'before') => {
      const plan: Plan = { ...makePlan({}), event, index: { ...change, oldAsked, advice: [] } };
      const { stages: all } = await runStatus({ objects: await makeObjects({ ...there, ...more }, plan), run });
      const { state, detail } = all.find(({ name }) => name === 'index') ?? {};
      return [state, detail];
    };
    expect(await indexOf({})).toEqual(['running', expect.stringMatching(/the old one is asked first/)]);
    const looked = { done: false, detail: 'building, 40 %' };
    expect(await indexOf({ [keys.index]: looked })).toEqual(['running', 'building, 40 %']);
    expect(await indexOf({ [keys.index]: { ...looked, done: true } })).toEqual(['done', 'building, 40 %']);
    expect(await indexOf({}, 'in turn')).toEqual(['done', undefined]);
  });

  test('skips recall where the event asks for none', async () => {
    const objects = await makeObjects({}, makePlan({ validate: { recall: null } }));
    expect(stages(await runStatus({ objects, run }))).toContain('recall skipped 0');
  });

  test('skips import and index where two collections are only held against each other', async () => {
    const shards = [entry('00000-000', 60), entry('00001-000', 40)];
    const objects = await makeObjects(
      {
        [keys.manifest]: { format: 1, run, records: 100, bytes: 2, shards },
        ...Object.fromEntries(shards.map((each) => [exportedKey(run, each.shard), each])),
        [comparedKey(run, '00000-000')]: compared('00000-000', { records: 60, equal: 25 }),
      },
      makePlan({ mode: 'validate' }),
    );
    const looked = await runStatus({ objects, run, cache });
    // A shard that is half compared counts as far as it is.
    expect(stages(looked)).toEqual([
      'export done 100',
      'import skipped 0',
      'index skipped 0',
      'compare running 25',
      'recall waiting 0',
      'cutover skipped 0',
    ]);
    await putJson(
      objects,
      comparedKey(run, '00000-000'),
      compared('00000-000', { records: 60, equal: 60, done: true }),
    );
    expect(stages(await runStatus({ objects, run, cache }))[3]).toBe('compare running 60');
  });

  test('has nothing under way for a plan alone', async () => {
    const objects = await makeObjects({}, makePlan({ dryRun: true }));
    expect(stages(await runStatus({ objects, run }))[0]).toBe('export waiting 0');
  });

  test('reads a marker once, however often a run is looked at', async () => {
    const objects = await makeObjects({ [loadedKey(run, '00000-000')]: loaded('00000-000', 40) });
    const reads: string[] = [];
    const counting: ObjectStore = {
      ...objects,
      get: async (key) => {
        reads.push(key);
        return await objects.get(key);
      },
    };
    const cache = new Map<string, unknown>();
    await runStatus({ objects: counting, run, cache });
    await runStatus({ objects: counting, run, cache });
    expect(reads.filter((key) => key === loadedKey(run, '00000-000'))).toHaveLength(1);
  });

  test('fails clearly when a file of the run is not ours', async () => {
    const objects = await makeObjects({ [keys.manifest]: { format: 99 } });
    await expect(runStatus({ objects, run })).rejects.toMatchObject({ name: 'ShardDamaged' });
  });
});
