import { describe, expect, test } from '@jest/globals';
import { type Batch, concatBatches, denseVector, selectRecords } from '../../lib/batch.ts';
import { compareShard } from '../../lib/compare/compare.ts';
import { countSides } from '../../lib/compare/counts.ts';
import { parseEvent } from '../../lib/event.ts';
import { forgetVerdict } from '../../lib/forget.ts';
import { comparedKey, shardKey } from '../../lib/keys.ts';
import type { Deadline } from '../../lib/log.ts';
import { readManifest, sealManifest } from '../../lib/manifest.ts';
import { getJson } from '../../lib/objects.ts';
import { type Compared, comparedSchema, type Plan } from '../../lib/run-files.ts';
import { seededRandom } from '../../lib/sample.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import { exportAll, load, makeWorld, nearAfter, noDeadline, plan, type World } from '../world.ts';

const vectors: VectorSpec[] = [
  { name: 'title', kind: 'dense', dimension: 16, distance: 'cosine', precision: 'float32' },
  { name: 'body', kind: 'dense', dimension: 8, distance: 'dot', precision: 'float32' },
  { name: 'words', kind: 'sparse', precision: 'float32' },
];
const schema = makeSchema({ vectors });

function makeRecords(count: number): Batch {
  const ids = Array.from({ length: count }, (_, i) => String(1000 + i));
  const payloads = ids.map((id, at) =>
    JSON.stringify({ title: `record ${id}`, rank: at, note: null, tags: ['a', { deep: { er: at * 1.5 } }] }),
  );
  return makeBatch({ ids, vectors, payloads });
}

interface CompareParts {
  readonly deadline?: () => Deadline;
  readonly source?: Store;
  readonly target?: Store;
  readonly goOn?: boolean;
  readonly saveEveryMs?: number;
}

/** Anew, whatever was compared before; `goOn`: as a try does that follows one which was cut off. */
async function compareAll(world: World, planned: Plan, parts: CompareParts = {}): Promise<Compared[]> {
  if (parts.goOn !== true) await forgetVerdict(world.objects, planned.run);
  const manifest = await readManifest(world.objects, planned.run);
  const found: Compared[] = [];
  for (const { shard } of manifest.shards) {
    const input = { ...world, ...parts, plan: planned, shard, secondLookMs: 0 };
    let result = await compareShard({ ...input, deadline: parts.deadline?.() ?? noDeadline });
    while (!result.done) {
      result = await compareShard({ ...input, offset: result.offset, deadline: parts.deadline?.() ?? noDeadline });
    }
    const compared = await getJson(world.objects, comparedKey(planned.run, shard), comparedSchema);
    if (compared !== undefined) found.push(compared);
  }
  return found;
}

const withoutTimes = ({ startedAt, at, ...rest }: Compared) => rest;

/** Counts what is fetched from the target, and breaks, as a killed process does, once `until` ids are. */
function countingFetches(store: Store, until = Number.POSITIVE_INFINITY): { store: Store; fetched: string[] } {
  const fetched: string[] = [];
  const fetch: Store['fetch'] = async (ids) => {
    if (fetched.length >= until) throw new Error('killed');
    fetched.push(...ids);
    return await store.fetch(ids);
  };
  return { store: { ...store, fetch }, fetched };
}

function total(compared: readonly Compared[], of: 'equal' | 'different' | 'missing' | 'unchecked' | 'spotDifferent') {
  return compared.reduce((sum, each) => sum + each[of], 0);
}

const write = { position: { run: 'r1', shard: '00000-000', offset: 0 }, mode: 'upsert' } as const;

/** One record changed in one way; undefined takes it away. */
type Fault = (record: Batch, random: () => number, others: Batch) => Batch | undefined;

function withFloats(record: Batch, name: string, change: (values: Float32Array) => void): Batch {
  const column = record.vectors.get(name)!;
  const values = column.values.slice();
  change(values);
  return { ...record, vectors: new Map(record.vectors).set(name, { ...column, values }) };
}

const faults: Record<string, Fault> = {
  lost: () => undefined,
  'one float by 1e-5': (record, random) =>
    withFloats(record, 'title', (values) => {
      const at = Math.floor(random() * values.length);
      values[at] = (values[at] ?? 0) + 1e-5;
    }),
  'a sparse value': (record) =>
    withFloats(record, 'words', (values) => {
      values[0] = (values[0] ?? 0) + 1e-5;
    }),
  'another record of the vector': (record, random, others) => {
    const other = selectRecords(others, [Math.floor(random() * others.count)]);
    return { ...record, vectors: new Map(record.vectors).set('body', other.vectors.get('body')!) };
  },
  'another record of the payload': (record, random, others) => {
    const { payloads } = selectRecords(others, [Math.floor(random() * others.count)]);
    return { ...record, payloads };
  },
  'nothing in place of null': (record) => ({ ...record, payloads: [record.payloads[0]!.replace('"note":null,', '')] }),
  'null in place of nothing': (record) => ({
    ...record,
    payloads: [record.payloads[0]!.replace('}', ',"more":null}')],
  }),
  'a nested key': (record) => ({ ...record, payloads: [record.payloads[0]!.replace('"er"', '"other"')] }),
  'a nested number': (record) => ({ ...record, payloads: [record.payloads[0]!.replace(/"er":/, '"er":1')] }),
  'no vector': (record) => {
    const column = record.vectors.get('body')!;
    const none = { ...column, values: column.values.slice().fill(0), present: Uint8Array.from([0]) };
    return { ...record, vectors: new Map(record.vectors).set('body', none) };
  },
};

describe('comparing a shard with the target', () => {
  test('finds and names each of 1,000 random faults, and no fault where none is', async () => {
    const records = makeRecords(3000);
    const world = await makeWorld({ records, schema, shardBytes: 30_000 });
    const planned = await plan(world);
    await exportAll(world, planned);
    const manifest = await sealManifest({ plan: planned, objects: world.objects });
    const random = seededRandom(42);
    const kinds = Object.entries(faults);
    const planted = new Map<string, string>();
    const order = Array.from({ length: records.count }, (_, at) => at).sort(() => random() - 0.5);
    order.slice(0, 1000).forEach((at, i) => {
      planted.set(records.ids[at]!, kinds[i % kinds.length]![0]);
    });
    const spare = makeBatch({ ids: Array.from({ length: 50 }, (_, i) => String(900_000 + i)), vectors, seed: 9 });
    const written = records.ids.flatMap((id, at) => {
      const record = selectRecords(records, [at]);
      const kind = planted.get(id);
      return (kind === undefined ? record : faults[kind]!(record, random, spare)) ?? [];
    });
    const added = Array.from({ length: 40 }, (_, i) => `added-${i}`);
    const extra = makeBatch({ ids: added, vectors });
    await world.target.write(concatBatches([...written, extra]), write);

    const compared = await compareAll(world, planned);
    const named = new Map(compared.flatMap((each) => each.differences.map((found) => [found.id, found.verdict])));
    const expected = [...planted].map(([id, kind]) => [id, kind === 'lost' ? 'missing' : 'different'] as const);
    expect([...named].sort()).toEqual(expected.sort());
    expect(total(compared, 'equal')).toBe(2000);
    expect(total(compared, 'different') + total(compared, 'missing')).toBe(1000);
    const counts = await countSides({ ...world, plan: planned, manifest });
    expect(counts).toMatchObject({ agree: false, extra: 40, note: '' });
    expect([...counts.extraIds].sort()).toEqual(added.sort());
  });

  test('names records that were added when as many were lost, though the counts agree', async () => {
    const records = makeRecords(50);
    const world = await makeWorld({ records, schema });
    const planned = await plan(world);
    await exportAll(world, planned);
    const manifest = await sealManifest({ plan: planned, objects: world.objects });
    const kept = selectRecords(
      records,
      Array.from({ length: 49 }, (_, at) => at),
    );
    await world.target.write(concatBatches([kept, makeBatch({ ids: ['foreign'], vectors })]), write);
    await compareAll(world, planned);
    const counts = await countSides({ ...world, plan: planned, manifest });
    expect(counts).toMatchObject({ source: 50, manifest: 50, target: 50, extra: 1, extraIds: ['foreign'] });
  });

  test('counts nothing twice when calls are cut off by the deadline, or come again', async () => {
    const world = await makeWorld({ records: makeRecords(9000), schema });
    const planned = await load(world);
    const whole = await compareAll(world, planned);
    let [calls, fetched] = [0, 0];
    const counting: Store = {
      ...world.target,
      fetch: async (ids) => {
        fetched += ids.length;
        return await world.target.fetch(ids);
      },
    };
    const inPieces = await compareAll(world, planned, {
      target: counting,
      deadline: () => nearAfter(calls++ % 2),
    });
    expect(calls).toBeGreaterThan(whole.length);
    expect(inPieces.map(withoutTimes)).toEqual(whole.map(withoutTimes));
    // A call that goes on starts where the last one ended: nothing is fetched twice.
    expect(fetched).toBe(9000);
    const { shard, offset } = whole[0]!;
    // A last call that is delivered again finds its work done.
    const again = { ...world, plan: planned, shard, offset: offset - 1, deadline: noDeadline };
    expect(await compareShard(again)).toEqual({ done: true });
    const [last] = inPieces;
    expect(await getJson(world.objects, comparedKey('r1', shard), comparedSchema)).toEqual(last);
    expect(total(await compareAll(world, planned), 'equal')).toBe(9000);
  });

  test('leaves out of a sample what it did not look at, and never calls that equal', async () => {
    const world = await makeWorld({
      records: makeRecords(500),
      schema,
      event: { validate: { compare: { sample: 60 } } },
      shardBytes: 20_000,
    });
    const compared = await compareAll(world, await load(world));
    expect(compared.length).toBeGreaterThan(3);
    expect([total(compared, 'equal'), total(compared, 'unchecked')]).toEqual([60, 440]);
  });

  test('looks a second time before it calls a record different, because writes may still be settling', async () => {
    const world = await makeWorld({ records: makeRecords(20), schema });
    const planned = await load(world);
    let calls = 0;
    const slow: Store = {
      ...world.target,
      fetch: async (ids) => await world.target.fetch(calls++ === 0 ? ids.slice(1) : ids),
    };
    const compared = await compareAll(world, planned, { target: slow });
    expect(compared[0]).toMatchObject({ equal: 20, missing: 0, changed: 0 });
  });

  test('tells a change that both sides made after the export from a fault', async () => {
    const world = await makeWorld({ records: makeRecords(20), schema });
    const planned = await load(world);
    const changed = makeBatch({ ids: ['1003'], vectors, seed: 77 });
    await world.source.write(changed, write);
    await world.target.write(changed, write);
    const compared = await compareAll(world, planned);
    expect(compared[0]).toMatchObject({ equal: 20, changed: 1, different: 0, spotDifferent: 0 });
    expect(compared[0]?.changes[0]?.reason).toMatch(/^the source changed after the export, and the target is as/);
  });

  test('holds the export against the source, because a fault of the export hides in its own output', async () => {
    const world = await makeWorld({
      records: makeRecords(300),
      schema,
      shardBytes: 20_000,
      event: { validate: { spotCheck: 50 } },
    });
    const planned = await load(world);
    const clean = await compareAll(world, planned);
    expect(clean.reduce((sum, each) => sum + each.spotChecked, 0)).toBe(50);
    expect(total(clean, 'spotDifferent')).toBe(0);
    const wrong: Store = {
      ...world.source,
      fetch: async (ids) => {
        const batch = await world.source.fetch(ids);
        return withFloats(batch, 'title', (values) => values.fill(0.5));
      },
    };
    const faulty = await compareAll(world, planned, { source: wrong });
    expect(total(faulty, 'spotDifferent')).toBe(50);
    expect(total(faulty, 'equal')).toBe(300);
    expect(faulty.flatMap((each) => each.spotDifferences)[0]?.reason).toMatch(
      /changed after the export, or the export is wrong; vector title, float 0/,
    );
  });

  test('compares with the vector as the target was told to name it, and the original of a mapped id', async () => {
    const world = await makeWorld({
      records: makeRecords(10),
      schema,
      event: { mapping: { vectors: { body: { to: 'text' }, words: null }, payload: { rank: 'string', note: null } } },
    });
    const compared = await compareAll(world, await load(world));
    expect(compared[0]).toMatchObject({ equal: 10, different: 0, unchecked: 0 });
  });

  test('reads only present vectors, so that a zero vector and none are not the same', async () => {
    const records = makeBatch({ ids: ['1', '2', '3'], vectors, missing: [1] });
    const world = await makeWorld({ records, schema });
    const planned = await load(world);
    const zero = withFloats(makeBatch({ ids: ['2'], vectors }), 'title', (values) => values.fill(0));
    expect(denseVector({ kind: 'dense', dimension: 16, values: zero.vectors.get('title')!.values }, 0)[0]).toBe(0);
    await world.target.write({ ...zero, payloads: [records.payloads[1]!] }, write);
    const compared = await compareAll(world, planned);
    expect(compared[0]?.differences).toEqual([
      { id: '2', verdict: 'different', reason: 'vector title: expected no vector, found one' },
    ]);
  });
});

describe('a comparison that was cut off', () => {
  test('goes on where it was: a shard that is done is not read again, one half done is read from its middle on', async () => {
    const world = await makeWorld({ records: makeRecords(9000), schema, shardBytes: 1_000_000 });
    const planned = await load(world);
    const first = countingFetches(world.target, 7000);
    await expect(compareAll(world, planned, { target: first.store, saveEveryMs: 0 })).rejects.toThrow('killed');
    const second = countingFetches(world.target);
    const compared = await compareAll(world, planned, { target: second.store, goOn: true });
    expect(compared.length).toBeGreaterThan(1);
    expect(total(compared, 'equal')).toBe(9000);
    // What was under way when the process died is read again: at most the four fetches in flight.
    expect(first.fetched.length + second.fetched.length).toBeLessThanOrEqual(9000 + 4000);
    expect(second.fetched.length).toBeLessThan(6000);
    const third = countingFetches(world.target);
    expect(await compareAll(world, planned, { target: third.store, goOn: true })).toEqual(compared);
    expect(third.fetched).toEqual([]);
  });

  test('looks again at a shard where it had found something, because that may have been mended', async () => {
    const records = makeRecords(600);
    const world = await makeWorld({ records, schema, shardBytes: 40_000 });
    const planned = await load(world);
    const at = 300;
    const wrong = withFloats(selectRecords(records, [at]), 'title', (values) => values.fill(0.5));
    await world.target.write(wrong, write);
    const before = await compareAll(world, planned);
    expect(total(before, 'different')).toBe(1);
    await world.target.write(selectRecords(records, [at]), write);
    const again = countingFetches(world.target);
    const after = await compareAll(world, planned, { target: again.store, goOn: true });
    expect(total(after, 'equal')).toBe(600);
    const faulty = before.find(({ different }) => different > 0);
    expect(again.fetched).toHaveLength(faulty?.records ?? 0);
  });

  test.each([
    ['another sample is asked for', { validate: { compare: { sample: 400 } } }],
    ['another seed is asked for', { validate: { compare: 'all', seed: 9 } }],
    ['more records are to be read back from the source', { validate: { compare: 'all', spotCheck: 300 } }],
  ])('begins anew when %s, because the tallies are those of another question', async (_, change) => {
    const world = await makeWorld({ records: makeRecords(600), schema, shardBytes: 40_000 });
    const planned = await load(world);
    await compareAll(world, planned);
    const again = countingFetches(world.target);
    const event = parseEvent({ ...world.event, ...change });
    await compareAll(world, { ...planned, event }, { target: again.store, goOn: true });
    expect(again.fetched.length).toBeGreaterThanOrEqual(400);
  });

  test.each([
    ['qdrant', 0],
    ['pgvector', 1],
  ])(
    'takes other last digits in a source of %s, which may read its doubles anew, for %d changes',
    async (store, spotDifferent) => {
      const records = makeRecords(40);
      const world = await makeWorld({ records, schema });
      const given = await load(world);
      const planned = { ...given, event: { ...given.event, source: { ...given.event.source, store } } };
      const [digits, others] = ['0.46379464253972724', '0.4637946425397272'];
      const scored = (score: string) => ({ ...selectRecords(records, [3]), payloads: [`{"score":${score}}`] });
      await world.source.write(scored(digits), write);
      await world.target.write(scored(digits), write);
      await world.objects.delete(shardKey('r1', '00000-000'));
      await exportAll(world, given);
      await sealManifest({ plan: given, objects: world.objects });
      await world.source.write(scored(others), write);
      expect(total(await compareAll(world, planned), 'spotDifferent')).toBe(spotDifferent);
    },
  );

  test('and takes nothing from a shard that was exported anew', async () => {
    const records = makeRecords(100);
    const world = await makeWorld({ records, schema });
    const planned = await load(world);
    await compareAll(world, planned);
    const changed = withFloats(selectRecords(records, [3]), 'title', (values) => values.fill(0.5));
    await world.source.write(changed, write);
    await world.objects.delete(shardKey('r1', '00000-000'));
    await exportAll(world, planned);
    await sealManifest({ plan: planned, objects: world.objects });
    const compared = await compareAll(world, planned, { goOn: true });
    expect(compared[0]?.differences).toMatchObject([{ id: '1003', verdict: 'different' }]);
  });
});
