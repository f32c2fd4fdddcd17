import { describe, expect, test } from '@jest/globals';
import { column, denseVector, hasVector } from '../../../lib/batch.ts';
import { getMade } from '../../../lib/embed/stage/made.ts';
import { BudgetExceeded, ImportFailed, StoreUnavailable } from '../../../lib/errors.ts';
import { embeddedKey, loadedKey, runKeys, shardKey, textsKey } from '../../../lib/keys.ts';
import { readManifest } from '../../../lib/manifest.ts';
import type { Plan } from '../../../lib/run-files.ts';
import { embedAll, embeddingOf, makeModel, makeStageWorld, planAgain, vectorOf } from '../../embed-stage-world.ts';
import { makeBatch } from '../../make.ts';
import { importAll, nearAfter, type World } from '../../world.ts';

const hundred = Array.from({ length: 100 }, (_, at) => `text ${at}`);
const idOf = (text: string): string => String(1000 + hundred.indexOf(text));

/** Every record's made vector, as the import reads it; undefined: it has none. */
async function madeOf({ objects }: World, plan: Plan): Promise<Map<string, Float32Array | undefined>> {
  const found = new Map<string, Float32Array | undefined>();
  for (const { shard } of (await readManifest(objects, plan.run)).shards) {
    const { batch } = await getMade(objects, plan, shard);
    const made = column(batch, 'embedding');
    if (made.kind !== 'dense') throw new Error('no dense vector');
    for (const [at, id] of batch.ids.entries())
      found.set(id, hasVector(made, at) ? denseVector(made, at).slice() : undefined);
  }
  return found;
}

const once = (texts: readonly string[]): [string, number][] => texts.map((text): [string, number] => [text, 1]).sort();

describe('the embedding of a run', () => {
  test('every text is asked for once, and every record has the vector of its own text', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    expect(world.waiting).toEqual([]);
    expect(await embedAll(world, plan, model)).toEqual({ done: true });
    expect([...model.answered].sort()).toEqual(once(hundred));
    const made = await madeOf(world, plan);
    for (const [at, text] of hundred.entries()) expect(made.get(String(1000 + at))).toEqual(vectorOf(text));
    const { shards } = await readManifest(world.objects, 'r1');
    expect(shards.length).toBeGreaterThan(4);
    expect(world.waiting.map(({ shard }) => shard)).toEqual(shards.map(({ shard }) => shard));
    expect(await embeddingOf(world.objects)).toMatchObject({
      done: true,
      records: 100,
      pending: 0,
      processing: 0,
      completed: 100,
      failed: 0,
      shared: 0,
      texts: 100,
      tokens: 690,
      usd: 0.00069,
      shards: shards.length,
      attempt: { number: 1, texts: 100 },
    });
  });

  test('a text that stands in two records, of one shard or of two, is paid for once', async () => {
    const texts = hundred.map((_, at) => `text ${at % 10}`);
    const { world, model, plan } = await makeStageWorld({ texts });
    await embedAll(world, plan, model);
    expect([...model.answered].sort()).toEqual(once(texts.slice(0, 10)));
    const made = await madeOf(world, plan);
    for (const [at, text] of texts.entries()) expect(made.get(String(1000 + at))).toEqual(vectorOf(text));
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 100, texts: 10, shared: 90 });
  });

  test('says why it waits while the provider is away, since nothing else is seen of it for minutes', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    const seen: unknown[] = [];
    let isAway = true;
    const away = {
      ...model,
      embed: async (request: Parameters<typeof model.embed>[0]) => {
        if (!isAway) return await model.embed(request);
        const { trouble } = await embeddingOf(world.objects);
        seen.push(trouble);
        isAway = trouble === undefined && seen.length < 60;
        throw new StoreUnavailable('nobody listens there');
      },
    };
    expect(await embedAll(world, plan, away)).toEqual({ done: true });
    expect(seen).toContain('nobody listens there');
    expect((await embeddingOf(world.objects)).trouble).toBeUndefined();
  });

  test('records without text have no vector and cost nothing', async () => {
    const texts = hundred.map((text, at) => (at % 10 === 0 ? ' \n' : text));
    const { world, model, plan } = await makeStageWorld({ texts });
    await embedAll(world, plan, model);
    expect(model.answered.size).toBe(90);
    const made = await madeOf(world, plan);
    expect([...made].filter(([, vector]) => vector === undefined)).toHaveLength(10);
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 90, withoutText: 10, pending: 0 });
    expect((await embeddingOf(world.objects)).done).toBe(true);
  });

  test('where only missing vectors are made, the others keep their own', async () => {
    const vectors = [{ name: 'embedding', kind: 'dense' as const, dimension: 8, precision: 'float32' as const }];
    const records = makeBatch({
      ids: hundred.map(idOf),
      vectors,
      missing: [3, 50],
      payloads: hundred.map((text) => JSON.stringify({ text })),
    });
    const { world, model, plan } = await makeStageWorld({
      texts: hundred,
      records,
      schema: { store: 'memory', idType: 'integer', key: [], vectors, payloadIndexes: [], native: {} },
      embed: { records: 'missing' },
      event: {
        source: {
          store: 'memory',
          connection: { path: 'x' },
          collection: 'articles',
          model: { name: 'test', version: '1' },
        },
      },
    });
    await embedAll(world, plan, model);
    expect([...model.answered.keys()].sort()).toEqual(['text 3', 'text 50']);
    const own = column(records, 'embedding');
    const made = await madeOf(world, plan);
    for (const [at, text] of hundred.entries()) {
      const expected = own.kind === 'dense' && hasVector(own, at) ? denseVector(own, at).slice() : vectorOf(text);
      expect(made.get(idOf(text))).toEqual(expected);
    }
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 100, copied: 98, texts: 2, shared: 0 });
  });

  test('a text that is too long fails by its own words, or is cut off where the event says so, and then costs no more than the model takes', async () => {
    const long = 'much '.repeat(50);
    const texts = [...hundred.slice(0, 30), long];
    const failing = await makeStageWorld({ texts });
    await embedAll(failing.world, failing.plan, failing.model);
    const { failures, failed } = await embeddingOf(failing.world.objects);
    expect(failed).toBe(1);
    expect(failures).toEqual([{ id: '1030', reason: expect.stringContaining('250 tokens, and test takes 100') }]);
    const cutting = await makeStageWorld({ texts, embed: { longText: 'truncate' } });
    await embedAll(cutting.world, cutting.plan, cutting.model);
    expect(cutting.model.answered.get(long.slice(0, 100))).toBe(1);
    expect(await embeddingOf(cutting.world.objects)).toMatchObject({ failed: 0, completed: 31 });
  });

  test('near its deadline it hands over, and what is left is done by the next calls without asking anything again', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    let calls = 0;
    for (let done = false; !done; calls++) {
      ({ done } = await embedAll(world, plan, model, { deadline: nearAfter(12) }));
      const { records, pending, processing, completed } = await embeddingOf(world.objects);
      expect(pending + processing + completed).toBe(records);
      expect(processing).toBe(0);
      if (calls > 60) throw new Error('it never ends');
    }
    expect(calls).toBeGreaterThan(2);
    expect([...model.answered].sort()).toEqual(once(hundred));
    const { shards } = await readManifest(world.objects, 'r1');
    expect(new Set(world.waiting.map(({ shard }) => shard)).size).toBe(shards.length);
    expect(world.waiting).toHaveLength(shards.length);
  });

  test('a second call adds nothing: no request, no message', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    await embedAll(world, plan, model);
    const [requests, messages] = [model.requests, world.waiting.length];
    expect(await embedAll(world, plan, model)).toEqual({ done: true });
    expect([model.requests, world.waiting.length]).toEqual([requests, messages]);
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 100, texts: 100, requests });
  });

  test('a run that is started again queues what is not loaded, and nothing else', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    await embedAll(world, plan, model);
    const last = world.waiting.pop();
    await importAll(world, plan);
    const again = await planAgain(world, model);
    await embedAll(world, again, model);
    expect(world.waiting.map(({ shard, attempt }) => [shard, attempt])).toEqual([[last?.shard, 2]]);
    await importAll(world, again);
    expect(await world.target.count()).toBe(100);
    expect([...model.answered].sort()).toEqual(once(hundred));
  });

  test('made vectors that are damaged or gone are made anew from the answers that are there', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    await embedAll(world, plan, model);
    const [first, second] = (await readManifest(world.objects, 'r1')).shards.map(({ shard }) => shard);
    const bytes = Buffer.from((await world.objects.get(embeddedKey('r1', first ?? ''))) ?? []);
    bytes[60] = (bytes[60] ?? 0) ^ 1;
    await world.objects.put(embeddedKey('r1', first ?? ''), bytes);
    await world.objects.delete(embeddedKey('r1', second ?? ''));
    const again = await planAgain(world, model);
    await embedAll(world, again, model);
    const made = await madeOf(world, again);
    for (const text of hundred) expect(made.get(idOf(text))).toEqual(vectorOf(text));
    expect([...model.answered].sort()).toEqual(once(hundred));
  });

  test('answers that are damaged are asked for again, and no others', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    await embedAll(world, plan, model, { deadline: nearAfter(12) });
    const known = [...model.answered.keys()];
    const keys = await world.objects.list(runKeys('r1').texts);
    const bytes = Buffer.from((await world.objects.get(keys[0] ?? '')) ?? []);
    bytes[60] = (bytes[60] ?? 0) ^ 1;
    await world.objects.put(keys[0] ?? '', bytes);
    const warnings: unknown[] = [];
    const log = { info: () => {}, warn: (_: string, fields: unknown) => void warnings.push(fields) };
    const again = await planAgain(world, model);
    await embedAll(world, again, model, { log });
    expect(warnings).toHaveLength(1);
    const twice = [...model.answered].filter(([, times]) => times > 1).map(([text]) => text);
    expect(twice.length).toBeGreaterThan(0);
    expect(twice.length).toBeLessThan(known.length);
    const made = await madeOf(world, again);
    for (const text of hundred) expect(made.get(idOf(text))).toEqual(vectorOf(text));
  });

  test('small objects of answers become one, and each answer is still found', async () => {
    const texts = Array.from({ length: 900 }, (_, at) => `text ${at}`);
    const model = makeModel({ textsPerRequest: 3 });
    const { world, plan } = await makeStageWorld({ texts, model, shardBytes: 8000 });
    let busy = false;
    // One request at a time is one object a request.
    model.before = async () => {
      while (busy) await new Promise((resolve) => setImmediate(resolve));
      busy = true;
      await new Promise((resolve) => setImmediate(resolve));
      busy = false;
    };
    await embedAll(world, plan, model);
    const objects = await world.objects.list(runKeys('r1').texts);
    expect(model.requests).toBe(300);
    expect(objects.length).toBeLessThan(150);
    expect(await world.objects.get(textsKey('r1', 0))).toBeUndefined();
    for (const key of await world.objects.list(runKeys('r1').embedded)) await world.objects.delete(key);
    await embedAll(world, plan, model);
    expect([...model.answered.values()].every((times) => times === 1)).toBe(true);
    expect(await embeddingOf(world.objects)).toMatchObject({ texts: 900, tokens: texts.join('').length });
    const made = await madeOf(world, plan);
    for (const [at, text] of texts.entries()) expect(made.get(String(1000 + at))).toEqual(vectorOf(text));
  });

  test('a shard that was exported anew is not given the vectors of what it held before', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    await embedAll(world, plan, model);
    const { shards } = await readManifest(world.objects, 'r1');
    const [first] = shards;
    if (first === undefined) throw new Error('no shard');
    await world.objects.put(
      runKeys('r1').manifest,
      JSON.stringify({
        ...(await readManifest(world.objects, 'r1')),
        shards: shards.map((each) => (each === first ? { ...each, checksum: 'another' } : each)),
      }),
    );
    await importAll(world, plan);
    await embedAll(world, plan, model);
    expect(world.waiting.map(({ shard }) => shard)).toEqual([first.shard]);
    expect(await world.objects.get(loadedKey('r1', first.shard))).toBeUndefined();
    expect(await world.objects.get(shardKey('r1', first.shard))).toBeDefined();
  });
});

describe('a text that the model refuses', () => {
  const isOdd = (text: string): boolean => text.endsWith('7');
  const refused = hundred.filter(isOdd);

  async function withFailures() {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    model.refuses = isOdd;
    await embedAll(world, plan, model);
    return { world, model, plan };
  }

  test('fails by itself, with its reason, and the others are made and loaded', async () => {
    const { world, plan } = await withFailures();
    const embedding = await embeddingOf(world.objects);
    expect(embedding).toMatchObject({ done: true, completed: 90, failed: 10, pending: 0 });
    expect(embedding.failures.map(({ id }) => id)).toEqual(refused.map(idOf));
    expect(embedding.failures[0]?.reason).toContain("refuses 'text 7'");
    await importAll(world, plan);
    expect(await world.target.count()).toBe(90);
  });

  test('is asked for again by the next start of the run, by that alone, and then its shard is loaded again', async () => {
    const { world, model, plan } = await withFailures();
    await importAll(world, plan);
    const asked = model.requests;
    await embedAll(world, plan, model);
    expect(model.requests).toBe(asked);
    model.refuses = () => false;
    const again = await planAgain(world, model);
    await embedAll(world, again, model);
    await importAll(world, again);
    expect([...model.answered].sort()).toEqual(once(hundred));
    expect(await world.target.count()).toBe(100);
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 100, failed: 0, failures: [], texts: 100 });
  });

  test('that is refused again leaves what is loaded as it is', async () => {
    const { world, model, plan } = await withFailures();
    await importAll(world, plan);
    const again = await planAgain(world, model);
    await embedAll(world, again, model);
    expect(world.waiting).toEqual([]);
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 90, failed: 10 });
  });

  test('is all that is asked for with "only": "failed"', async () => {
    const { world, model } = await withFailures();
    model.refuses = () => false;
    const again = await planAgain(world, model, { only: 'failed' });
    const before = new Set(model.answered.keys());
    expect(await embedAll(world, again, model)).toEqual({ done: true });
    expect([...model.answered.keys()].filter((text) => !before.has(text)).sort()).toEqual(refused.toSorted());
  });

  test('that was too long is cut off and asked for with "only": "failed", once the event says so', async () => {
    const long = 'much '.repeat(50);
    const { world, model, plan } = await makeStageWorld({ texts: [...hundred, long] });
    await embedAll(world, plan, model);
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 100, failed: 1 });
    const embed = { ...world.event.embed, longText: 'truncate' };
    const again = await planAgain(world, model, { only: 'failed', embed });
    expect(await embedAll(world, again, model)).toEqual({ done: true });
    expect([...model.answered.keys()].filter((text) => !hundred.includes(text))).toEqual([long.slice(0, 100)]);
    expect(await embeddingOf(world.objects)).toMatchObject({ completed: 101, failed: 0, pending: 0 });
  });

  test('of a run that was cut off leaves the others pending, says so, and a start without it goes on', async () => {
    const { world, model, plan } = await makeStageWorld({ texts: hundred });
    model.refuses = isOdd;
    await embedAll(world, plan, model, { deadline: nearAfter(14) });
    const { completed, failed } = await embeddingOf(world.objects);
    expect(failed).toBeGreaterThan(0);
    expect(completed + failed).toBeLessThan(100);
    model.refuses = () => false;
    const only = await planAgain(world, model, { only: 'failed' });
    const message = await embedAll(world, only, model).catch((error: unknown) => error);
    expect(message).toBeInstanceOf(ImportFailed);
    expect(String(message)).toMatch(/\d+ records of run 'r1' in \d+ shards? were never asked for.*start the run again/);
    const between = await embeddingOf(world.objects);
    expect(between).toMatchObject({ done: false, completed: completed + failed, failed: 0, processing: 0 });
    expect(between.pending).toBe(100 - completed - failed);
    const whole = await planAgain(world, model);
    expect(await embedAll(world, whole, model)).toEqual({ done: true });
    expect([...model.answered].sort()).toEqual(once(hundred));
  });
});

describe('a budget', () => {
  test.each([
    ['tokens', { tokens: 300 }, { tokens: 5000 }],
    ['usd', { usd: 0.0003 }, { usd: 1 }],
  ])(
    'of %s stops before it is passed, and a greater one goes on with nothing paid for twice',
    async (name, little, much) => {
      const { world, model, plan } = await makeStageWorld({ texts: hundred });
      const poor: Plan = { ...plan, event: { ...plan.event, embed: withBudget(plan, little) } };
      const error = await embedAll(world, poor, model).catch((each: unknown) => each);
      expect(error).toBeInstanceOf(BudgetExceeded);
      expect(String(error)).toContain(`embed.budget.${name}`);
      const spent = await embeddingOf(world.objects);
      expect(spent.tokens).toBeLessThanOrEqual(300);
      expect(spent.tokens).toBeGreaterThan(200);
      expect(spent.tokens).toBe([...model.answered.keys()].join('').length);
      const rich: Plan = { ...plan, event: { ...plan.event, embed: withBudget(plan, much) } };
      expect(await embedAll(world, rich, model)).toEqual({ done: true });
      expect([...model.answered].sort()).toEqual(once(hundred));
    },
  );

  function withBudget({ event }: Plan, budget: { readonly tokens?: number; readonly usd?: number }) {
    if (event.embed === undefined) throw new Error('no embed');
    return { ...event.embed, budget };
  }
});
