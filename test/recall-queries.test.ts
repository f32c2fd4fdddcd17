import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseEvent } from '../lib/event.ts';
import { runKeys } from '../lib/keys.ts';
import { readManifest } from '../lib/manifest.ts';
import { planRun } from '../lib/plan.ts';
import { chooseQueries, readQueries } from '../lib/recall/queries.ts';
import { openQueryFiles, parseQueryFile } from '../lib/recall/query-file.ts';
import type { Query } from '../lib/run-files.ts';
import { drawPositions } from '../lib/sample.ts';
import { memory } from '../lib/stores/memory.ts';
import { makeBatch, makeSchema } from './make.ts';
import { ids } from './recall-world.ts';
import { load, makeWorld, type World } from './world.ts';

describe('a seeded sample', () => {
  test('has each position once, all in range, and every position as often as any other', () => {
    const seen = new Float64Array(40);
    for (let seed = 0; seed < 4000; seed++) {
      const drawn = drawPositions(40, 10, seed);
      expect(new Set(drawn).size).toBe(10);
      for (const at of drawn) seen[at]! += 1;
    }
    // Expected 1,000 each with a standard deviation of 27.
    expect(Math.min(...seen)).toBeGreaterThan(870);
    expect(Math.max(...seen)).toBeLessThan(1130);
    expect(drawPositions(3, 10, 1).sort()).toEqual([0, 1, 2]);
    expect(drawPositions(0, 10, 1)).toEqual([]);
  });
});

const here = openQueryFiles({ isLocal: true });

async function choose(world: World): Promise<readonly Query[]> {
  const plan = await load(world);
  const manifest = await readManifest(world.objects, plan.run);
  await chooseQueries({ plan, manifest, objects: world.objects, files: here });
  return (await readQueries(world.objects, plan.run)).queries;
}

const idsOf = (queries: readonly Query[], set: string): string[] =>
  queries.filter((query) => query.set === set).map(({ id }) => id);

describe('a sampled set', () => {
  const records = makeBatch({ ids: ids(2000) });

  test('draws other records than the others, and the same whatever other sets there are', async () => {
    const draw = async (...names: string[]) =>
      await choose(
        await makeWorld({ records, event: { validate: { recall: { sets: names.map((name) => ({ name })) } } } }),
      );
    const both = await draw('one', 'two');
    expect(idsOf(both, 'one')).toHaveLength(200);
    expect(idsOf(both, 'one')).not.toEqual(idsOf(both, 'two'));
    expect(idsOf(await draw('two'), 'two')).toEqual(idsOf(both, 'two'));
  });

  test('with a filter draws records that meet it alone, evenly from the whole collection, however few they are', async () => {
    const payloads = records.ids.map((_, at) => JSON.stringify({ half: at % 2, rare: at % 50 === 7 ? 'yes' : 'no' }));
    const sets = [
      { name: 'half', filter: { half: 1 }, sample: 100 },
      { name: 'rare', filter: { rare: 'yes' }, sample: 30, atLeast: 0.8 },
      { name: 'too few', filter: { rare: 'yes' }, sample: 100 },
      { name: 'none', filter: { rare: 'perhaps' }, sample: 100 },
    ];
    const event = { validate: { recall: { sets } } };
    const queries = await choose(await makeWorld({ records: { ...records, payloads }, event, shardBytes: 20_000 }));
    const places = (set: string): number[] => idsOf(queries, set).map((id) => Number(id) - 10_000);
    expect(places('half')).toHaveLength(100);
    expect(places('half').every((at) => at % 2 === 1)).toBe(true);
    expect(places('rare')).toHaveLength(30);
    expect(new Set(places('rare')).size).toBe(30);
    expect(places('rare').every((at) => at % 50 === 7)).toBe(true);
    expect(places('too few').sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, i) => 50 * i + 7));
    expect(places('none')).toEqual([]);
    // As likely from either half, and not in the order of the collection.
    expect(places('rare').filter((at) => at < 1000).length).toBeGreaterThan(7);
    expect(places('rare')).not.toEqual(places('rare').toSorted((a, b) => a - b));
  });

  test('by the full pass draws every record that meets the filter equally often', async () => {
    const some = makeBatch({ ids: ids(400), payloads: ids(400).map((_, at) => `{"rare": ${at % 20 === 0}}`) });
    const seen = new Map<string, number>();
    const world = await makeWorld({ records: some });
    const plan = await load(world);
    const manifest = await readManifest(world.objects, 'r1');
    for (let seed = 0; seed < 300; seed++) {
      const validate = { seed, recall: { sets: [{ name: 'rare', filter: { rare: true }, sample: 5 }] } };
      const { event } = await makeWorld({ event: { validate } });
      await chooseQueries({
        plan: { ...plan, event: { ...plan.event, validate: event.validate } },
        manifest,
        objects: world.objects,
      });
      for (const { id } of (await readQueries(world.objects, 'r1')).queries) seen.set(id, (seen.get(id) ?? 0) + 1);
    }
    // Expected 75 each with a standard deviation of 7.5.
    expect(seen.size).toBe(20);
    expect(Math.min(...seen.values())).toBeGreaterThan(45);
    expect(Math.max(...seen.values())).toBeLessThan(108);
  });

  test('draws from where the vector is when most records lack it, and writes the same every time', async () => {
    const missing = Array.from({ length: 380 }, (_, at) => at);
    const event = { validate: { recall: { queries: 15, atLeast: 0.5 } } };
    const worlds = [0, 1].map(() => makeWorld({ records: makeBatch({ ids: ids(400), missing }), event }));
    const [one, other] = await Promise.all(worlds);
    expect(await choose(one!)).toHaveLength(15);
    await choose(other!);
    const key = runKeys('r1').queries;
    expect(await one!.objects.get(key)).toEqual(await other!.objects.get(key));
  });

  test('searches each vector of the mapping, or the one it names', async () => {
    const vectors = ['title', 'body'].map((name) => ({ ...makeSchema().vectors[0]!, name }));
    const sets = [{ name: 'each' }, { name: 'body alone', vector: 'body', sample: 80 }];
    const event = { validate: { recall: { sets } } };
    const schema = makeSchema({ vectors });
    const queries = await choose(await makeWorld({ schema, records: makeBatch({ ids: ids(500), vectors }), event }));
    const tally = Object.groupBy(queries, ({ set, vector }) => `${set} ${vector}`);
    expect(Object.entries(tally).map(([name, some]) => [name, some?.length])).toEqual([
      ['each title', 200],
      ['each body', 200],
      ['body alone body', 80],
    ]);
  });
});

/** What the plan says to an event with these sets. */
async function refusal(sets: readonly unknown[], more: Record<string, unknown> = {}, world?: World): Promise<string> {
  const made = world ?? (await makeWorld({ records: makeBatch({ ids: ids(300) }) }));
  const { source, target } = made.event;
  try {
    const event = parseEvent({ source, target, validate: { recall: { sets } }, ...more });
    const kinds = { sourceKind: memory, targetKind: memory };
    await planRun({ ...made, ...kinds, event, run: 'r1', now: new Date(), queryFiles: here });
  } catch (error) {
    if (error instanceof Error && error.name === 'InvalidEvent') return error.message;
    throw error;
  }
  return 'accepted';
}

describe('a given set', () => {
  const queries = [
    { id: 'q1', vector: [1, 2, 3, 4] },
    { vector: [0, 0, 0, 1], filter: { even: true }, expected: ['10000'] },
  ];

  test('is taken as it stands, each query under its id or its number, with the conditions of the set', async () => {
    const sets = [{ name: 'gold', queries, filter: { rank: { lt: 100 } }, atLeast: null }];
    const event = { validate: { recall: { sets } } };
    const chosen = await choose(await makeWorld({ records: makeBatch({ ids: ids(300) }), event }));
    const values = Buffer.from(Float32Array.of(1, 2, 3, 4).buffer).toString('base64');
    expect(chosen).toEqual([
      { set: 'gold', vector: 'embedding', id: 'q1', values, filter: { rank: { lt: 100 } } },
      expect.objectContaining({ id: '2', filter: { rank: { lt: 100 }, even: true }, expected: ['10000'] }),
    ]);
  });

  test.each([
    ['a wrong length', { vector: [1, 2, 3] }, /sets 'gold', query '1': has 3 floats, and vector 'embedding' has 4/],
    [
      'a float that float32 lacks',
      { id: 'big', vector: [1e300, 0, 0, 0] },
      /query 'big': float 1 is 1e\+300, which no float32 holds/,
    ],
    ['no direction', { vector: [0, 0, 0, 0] }, /query '1': is all zeros, which has no direction/],
    ['a text and a vector', { text: 'ships', vector: [1, 2, 3, 4] }, /takes one of vector and text/],
    ['neither', { id: 'empty' }, /takes one of vector and text/],
    [
      'a text that no model can be asked for',
      { text: 'ships' },
      /'1': has a text, and no model is known that made vector 'embedding': say how it is asked in source\.model/,
    ],
    [
      "a vector of the source's own, where both sides hold the same",
      { vector: [1, 2, 3, 4], sourceVector: [1, 2, 3, 4] },
      /'1': has a sourceVector, and both sides hold the same vectors; leave it out/,
    ],
    [
      'NaN, which JSON cannot even say',
      { vector: [Number.NaN, 0, 0, 0] },
      /vector\.0 is wrong: expected number, received NaN/,
    ],
  ])('is refused for %s, by set and query', async (_, query, message) => {
    expect(await refusal([{ name: 'gold', queries: [query], atLeast: null }])).toMatch(message);
  });

  test('is refused for a condition that stands twice, or a field that the target does not get as it is', async () => {
    const set = { name: 'gold', queries: [{ vector: [1, 2, 3, 4], filter: { rank: 3 } }], atLeast: null };
    expect(await refusal([{ ...set, filter: { rank: { gt: 1 } } }])).toMatch(
      /has a condition on 'rank', and so has its set/,
    );
    expect(await refusal([set], { mapping: { payload: { rank: null } } })).toMatch(
      /filters by 'rank', which mapping\.payload leaves out/,
    );
    const cast = await refusal([{ name: 's', filter: { rank: 3 } }], { mapping: { payload: { rank: 'string' } } });
    expect(cast).toMatch(/sets 's': filters by 'rank', which mapping\.payload carries as string/);
    expect(await refusal([set])).toBe('accepted');
  });

  test('is refused for a field that the source declares none of, as a typing error is', async () => {
    const fields = [{ name: 'rank', type: 'integer' as const, nullable: true }];
    const world = await makeWorld({ schema: makeSchema({ fields }), records: makeBatch({ ids: ids(300) }) });
    const said = await refusal([{ name: 's', filter: { rnak: 1 } }], {}, world);
    expect(said).toBe(
      "validate.recall.sets 's': filters by 'rnak', which the source does not have; its fields are 'rank'",
    );
  });

  test('has to name its vector where there are several, and one that the mapping keeps', async () => {
    const vectors = ['title', 'body'].map((name) => ({ ...makeSchema().vectors[0]!, name }));
    const world = await makeWorld({ schema: makeSchema({ vectors }), records: makeBatch({ ids: ids(300), vectors }) });
    const set = { name: 'gold', queries: [{ vector: [1, 2, 3, 4] }], atLeast: null };
    expect(await refusal([set], {}, world)).toMatch(
      /sets 'gold': names no vector .* one of 'title', 'body' as "vector"/,
    );
    expect(await refusal([{ ...set, vector: 'head' }], {}, world)).toMatch(/searches vector 'head'/);
    expect(await refusal([{ ...set, vector: 'body' }], {}, world)).toBe('accepted');
  });

  test('is refused, also when the run is started again, where its queries cannot show its goal', async () => {
    const few = { name: 'gold', queries: [{ vector: [1, 2, 3, 4] }] };
    const world = await makeWorld({ records: makeBatch({ ids: ids(300) }) });
    expect(await refusal([few], {}, world)).toMatch(/sets 'gold': 1 queries cannot show a recall of 0\.95/);
    expect(await refusal([{ ...few, atLeast: null }], {}, world)).toBe('accepted');
    expect(await refusal([few], {}, world)).toMatch(/cannot show a recall/);
  });

  test('and all the others together have a limit, since their neighbours are held in memory', async () => {
    const world = await makeWorld();
    const sets = Array.from({ length: 3 }, (_, at) => ({ name: `set ${at}`, sample: 10_000 }));
    expect(await refusal(sets, {}, world)).toMatch(
      /30,000 queries with 3,300,000 neighbours in all are more than the 20,000 queries and 2,000,000 neighbours/,
    );
    expect(await refusal([{ name: 'deep', sample: 5_000, k: 1000 }], {}, world)).toMatch(/5,500,000 neighbours/);
  });
});

describe('a file of queries', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-queries-'));
  const write = (name: string, text: string): string => {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  };
  const line = (id: string): string => JSON.stringify({ id, vector: [1, 2, 3, 4] });

  test('is read a JSON object a line', async () => {
    const file = write('good.jsonl', `${line('a')}\r\n\n${line('b')}`);
    const event = { validate: { recall: { sets: [{ name: 'file', file, atLeast: null }] } } };
    const world = await makeWorld({ records: makeBatch({ ids: ids(300) }) });
    const planned = await load({ ...world, event: parseEvent({ ...world.event, ...event }) }, 'r1').catch(
      (error) => error,
    );
    // test/world.ts plans without files, and says so.
    expect(planned.message).toMatch(/cannot be read here; give its queries in the event/);
    expect(await refusal(event.validate.recall.sets, {}, world)).toBe('accepted');
    expect(parseQueryFile(await here.read(file), file).map(({ id }) => id)).toEqual(['a', 'b']);
  });

  test('is refused with every line that is wrong, and what is wrong with it', async () => {
    const file = write('bad.jsonl', `${line('a')}\n{"vector": []}\nnot json\n{"text": " "}\n${line('b')}`);
    const said = await refusal([{ name: 'file', file, atLeast: null }]);
    expect(said).toContain(`the query file '${file}': line 2 is not valid: vector`);
    expect(said).toMatch(/line 3 is not valid: expected object, received string/);
    expect(said).toMatch(/line 4 is not valid: text is blank/);
    const many = Array.from({ length: 30 }, () => '[]').join('\n');
    expect(await refusal([{ name: 'file', file: write('many.jsonl', many) }])).toMatch(
      /; so are lines 21, 22, .*, 30$/,
    );
  });

  test('is refused when it is empty, has too few queries for its goal, or is a path on AWS', async () => {
    expect(await refusal([{ name: 'file', file: write('empty.jsonl', '\n') }])).toMatch(/it takes 1 to 10,000/);
    expect(await refusal([{ name: 'file', file: write('few.jsonl', line('a')) }])).toMatch(
      /its 1 queries cannot show a recall of 0\.95/,
    );
    const missing = refusal([{ name: 'file', file: join(directory, 'no.jsonl') }]);
    await expect(missing).rejects.toMatchObject({ name: 'NotFound' });
    const onAws = openQueryFiles({ isLocal: false }).read('queries.jsonl');
    await expect(onAws).rejects.toThrow(/a path, which a function on AWS does not have; .* s3:\/\/BUCKET\/KEY/);
    await expect(here.read('s3://bucket')).rejects.toThrow(/must be s3:\/\/BUCKET\/KEY/);
  });
});
