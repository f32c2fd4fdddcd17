import { describe, expect, test } from '@jest/globals';
import type { Batch } from '../../lib/batch.ts';
import { conditionsOf } from '../../lib/filter.ts';
import { encodeFloats } from '../../lib/float-text.ts';
import { askerOf, askLive, currentTruth } from '../../lib/live/live-truth.ts';
import { mapId } from '../../lib/mapping/mapping.ts';
import { openSide, type Side } from '../../lib/recall/search-side.ts';
import type { Truth } from '../../lib/recall/truths.ts';
import type { Plan } from '../../lib/run-files.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { Store } from '../../lib/stores/port.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeSchema } from '../make.ts';
import { makeWorld, plan } from '../world.ts';

const vector = { name: 'embedding', kind: 'dense', dimension: 2, distance: 'euclid', precision: 'float32' } as const;
const schema = makeSchema({ vectors: [vector] });

/** Records on a line; the query is its zero, so that each one's distance is its place. */
function onLine(places: Readonly<Record<string, number>>, topic = 'news'): Batch {
  const ids = Object.keys(places);
  const values = Float32Array.from(Object.values(places).flatMap((place) => [place, 0]));
  return {
    count: ids.length,
    ids,
    vectors: new Map([['embedding', { kind: 'dense', dimension: 2, values }]]),
    payloads: ids.map(() => JSON.stringify({ topic })),
  };
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const places = (from: number, to: number) => Object.fromEntries(numbers(from, to).map((at) => [`r${at}`, at]));

interface Line {
  readonly planned: Plan;
  readonly source: Store;
  readonly target: Store;
  readonly sides: readonly [Side, Side];
  /** As the shards had it: the twenty nearest of all that were there. */
  readonly truth: Truth;
  /** Both sides alike. */
  write(records: Batch): Promise<void>;
  remove(...ids: readonly string[]): Promise<void>;
}

/** r1 at 1, r2 at 2, … on both sides, exported as such. */
async function makeLine(records = 30, { filter = false } = {}): Promise<Line> {
  const world = await makeWorld({ records: onLine(places(1, records)), schema, event: { live: true } });
  const planned = await plan(world);
  const { source, target } = world;
  const write = async (batch: Batch): Promise<void> => {
    for (const side of [source, target]) await side.write(batch, { mode: 'upsert' });
  };
  await target.write(onLine(places(1, records)), { mode: 'upsert' });
  const values = new Float32Array(2);
  const sides = [
    await openSide({ plan: planned, side: 'source', store: source, vector: 'embedding' }),
    await openSide({ plan: planned, side: 'target', store: target, vector: 'embedding' }),
  ] as const;
  return {
    planned,
    source,
    target,
    sides,
    write,
    remove: async (...ids) => {
      for (const side of [source, target]) await side.delete(ids);
    },
    truth: {
      query: { set: 'sampled', vector: 'embedding', id: 'q', values: encodeFloats(values) },
      values,
      nearest: numbers(1, Math.min(20, records)).map((at) => ({ id: `r${at}`, distance: at })),
      candidates: records,
      filter: filter ? conditionsOf({ topic: 'news' }) : [],
    },
  };
}

/** recall@10 of source and target, and how many records they were held to be among. */
async function ask({ planned, source, sides, truth }: Line, k = 10) {
  const answers = await askLive({ plan: planned, source }, sides, truth, { k, distance: 'euclid' });
  return answers.map((answer) => answer && [answer.recall, answer.candidates ?? truth.candidates]);
}

describe('the truth of a live run', () => {
  test('leaves out a neighbour that was deleted on both sides', async () => {
    const line = await makeLine();
    await line.remove('r2', 'r7');
    expect(await ask(line)).toEqual([
      [1, 28],
      [1, 28],
    ]);
  });

  test('is the shards where nothing was missed, and costs no look into the source', async () => {
    const line = await makeLine();
    const fetch = async () => Promise.reject(new Error('looked'));
    const answers = await askLive({ plan: line.planned, source: { fetch } }, line.sides, line.truth, {
      k: 10,
      distance: 'euclid',
    });
    expect(answers.map((answer) => answer?.recall)).toEqual([1, 1]);
  });

  test('holds a target to a record that came after the export, when the source answers with it', async () => {
    const line = await makeLine();
    await line.write(onLine({ new1: 0.5 }));
    expect(await ask(line)).toEqual([
      [1, 30],
      [1, 30],
    ]);
    await line.target.delete(['new1']);
    expect(await ask(line)).toEqual([
      [1, 30],
      [0.9, 30],
    ]);
  });

  test('counts a record that the source has deleted and the target still answers with as a miss', async () => {
    const line = await makeLine();
    await line.source.delete(['r2', 'r4']);
    expect(await ask(line)).toEqual([
      [1, 28],
      [0.8, 28],
    ]);
  });

  test('counts a neighbour that the target has lost as a miss, beside those that were deleted on both sides', async () => {
    const line = await makeLine();
    await line.remove('r1', 'r2', 'r3');
    await line.target.delete(['r5', 'r6', 'r7']);
    expect(await ask(line)).toEqual([
      [1, 27],
      [0.7, 27],
    ]);
  });

  test('ranks what was changed by where it is now, on whichever side it is still where it was', async () => {
    const line = await makeLine();
    await line.write(onLine({ r4: 25, r18: 0.2 }));
    expect(await ask(line)).toEqual([
      [1, 30],
      [1, 30],
    ]);
    // The target goes by the old places: r4 is none of the ten any more, and r18 is not found.
    await line.target.write(onLine({ r4: 4, r18: 18 }), { mode: 'upsert' });
    expect(await ask(line)).toEqual([
      [1, 30],
      [0.9, 30],
    ]);
  });

  test('counts a record that is as far as the last true neighbour, whichever of the two was answered', async () => {
    const line = await makeLine();
    await line.source.write(onLine({ twin: 10 }), { mode: 'upsert' });
    await line.target.delete(['r10']);
    await line.target.write(onLine({ twin: 10 }), { mode: 'upsert' });
    expect(await ask(line)).toEqual([
      [1, 30],
      [1, 30],
    ]);
  });

  test('leaves out what no longer meets the filter, and counts it as a miss where it is still answered', async () => {
    const line = await makeLine(30, { filter: true });
    await line.write(onLine({ r3: 3 }, 'sport'));
    expect(await ask(line)).toEqual([
      [1, 30],
      [1, 30],
    ]);
    await line.target.write(onLine({ r3: 3 }, 'news'), { mode: 'upsert' });
    expect(await ask(line)).toEqual([
      [1, 30],
      [0.9, 30],
    ]);
  });

  test('has as many to find as there are left: two of five are found whole, and none of none', async () => {
    const line = await makeLine(5);
    await line.remove('r1', 'r2', 'r3');
    expect(await ask(line)).toEqual([
      [1, 2],
      [1, 2],
    ]);
    await line.target.delete(['r4']);
    expect(await ask(line)).toEqual([
      [1, 2],
      [0.5, 2],
    ]);
    await line.source.delete(['r4', 'r5']);
    await line.target.delete(['r5']);
    expect(await ask(line)).toEqual([
      [1, 0],
      [1, 0],
    ]);
  });

  test('goes on past the list from the shards, when more of it is gone than it has to spare', async () => {
    const line = await makeLine(60);
    await line.remove(...numbers(1, 20).map((at) => `r${at}`));
    expect(await ask(line)).toEqual([
      [1, 40],
      [1, 40],
    ]);
    await line.target.delete(['r22', 'r23']);
    expect(await ask(line)).toEqual([
      [1, 40],
      [0.8, 40],
    ]);
  });

  test("does not take the target's word for a record that the source has deleted, where that would be near enough", async () => {
    const line = await makeLine(5);
    await line.source.delete(['r2']);
    // Four are left, r1 and r3 to r5; the first four answered are r1 to r4.
    expect(await ask(line)).toEqual([
      [1, 4],
      [0.75, 4],
    ]);
  });

  test('is that of the records known, where neither side finds more: half of what was asked for is half', async () => {
    const line = await makeLine(60);
    await line.remove(...numbers(1, 20).map((at) => `r${at}`));
    const short = (side: Side): Side => ({
      ...side,
      store: { ...side.store, search: async (request) => (await side.store.search(request)).slice(0, 5) },
    });
    const [ours, theirs] = line.sides;
    expect(await ask({ ...line, sides: [short(ours), short(theirs)] })).toEqual([
      [0.5, 40],
      [0.5, 40],
    ]);
  });

  test('is looked at again when a record went between the search and the look into the source', async () => {
    const line = await makeLine();
    await line.write(onLine({ new1: 0.5 }));
    const [ours, theirs] = line.sides;
    let searches = 0;
    const store: Side['store'] = {
      ...theirs.store,
      search: async (request) => {
        const hits = await theirs.store.search(request);
        if (++searches === 1) await line.remove('new1', 'r2');
        return hits;
      },
    };
    expect(await ask({ ...line, sides: [ours, { ...theirs, store }] })).toEqual([
      [1, 29],
      [1, 29],
    ]);
    expect(searches).toBe(2);
  });

  test('knows what a target with other ids answered by the id that its payload keeps', async () => {
    const line = await makeLine();
    await line.source.write(onLine({ new1: 0.5 }), { mode: 'upsert' });
    await line.source.delete(['r2']);
    const { planned } = line;
    const asQdrant: Plan = {
      ...planned,
      event: { ...planned.event, target: { ...planned.event.target, store: 'qdrant' } },
      mapping: { ...planned.mapping, ids: 'uuid5', originalId: '_id' },
    };
    const held = onLine({ new1: 0.5, ...places(1, 30) });
    const uuid = (id: string): string => mapId(qdrant.capabilities.ids, id);
    const target = await memory.open({ connection: { path: `uuid-${process.pid}` }, collection: 'u', options: {} });
    await target.prepare(schema);
    const payloads = held.ids.map((id) => JSON.stringify({ _id: id, topic: 'news' }));
    await target.write({ ...held, ids: held.ids.map(uuid), payloads }, { mode: 'upsert' });
    const side = await openSide({ plan: asQdrant, side: 'target', store: target, vector: 'embedding' });
    // new1 is found, r2 is still there and gone in the source: nine of ten.
    const [answer] = await askLive({ plan: asQdrant, source: line.source }, [side], line.truth, {
      k: 10,
      distance: 'euclid',
    });
    expect([answer?.recall, answer?.candidates]).toEqual([0.9, 29]);
  });

  test('of one side alone is what tuning and diagnosis go by: no miss for what was deleted, one for what it lost', async () => {
    const line = await makeLine();
    await line.remove('r2');
    const asker = askerOf({ plan: line.planned, source: line.source });
    const asked = { k: 10, distance: 'euclid' } as const;
    expect(await asker(line.sides[1], line.truth, asked)).toMatchObject({ recall: 1, ndcg: 1 });
    await line.target.delete(['r5']);
    expect(await asker(line.sides[1], line.truth, asked)).toMatchObject({ recall: 0.9 });
    const quiet: Plan = { ...line.planned, event: { ...line.planned.event, live: false } };
    const before = askerOf({ plan: quiet, source: line.source });
    expect(await before(line.sides[1], line.truth, asked)).toMatchObject({ recall: 0.8 });
  });

  test('keeps its order and distances as a list', async () => {
    const line = await makeLine(3);
    await line.write(onLine({ r1: 2.5, new1: 0.5 }));
    await line.remove('r3');
    const live = { plan: line.planned, source: line.source };
    expect(await currentTruth(live, line.truth, ['new1', 'gone'], 'euclid')).toMatchObject({
      nearest: [
        { id: 'new1', distance: 0.5 },
        { id: 'r2', distance: 2 },
        { id: 'r1', distance: 2.5 },
      ],
      candidates: 3,
      isCurrent: true,
    });
  });
});
