import { describe, expect, test } from '@jest/globals';
import { logMove } from '../../../lib/cutover/moves.ts';
import { planRun, readPlan } from '../../../lib/plan.ts';
import { ids, makeEmbedder, makePlanned, type Parts, planned, refused, texts } from './planned.ts';

/** What the plan of an embedding says it will take, and what a run that goes on is held to. */

describe('the estimate', () => {
  test('is exact where the whole collection was read, and says how each figure came about', async () => {
    const { estimate } = (await planned()).embed!;
    // '{title}: {body}': two words, and a space more than the body's words.
    const words = texts(100).map((each) => {
      const { title, body } = JSON.parse(each);
      return `${title}: ${body}`.split(' ').length;
    });
    const tokens = words.reduce((sum, each) => sum + each, 0);
    expect(estimate).toMatchObject({ texts: 100, tokens, sampled: 100, usd: (tokens / 1e6) * 0.5 });
    // 10 requests of 10 texts at 60 a minute.
    expect(estimate.seconds).toBe(10);
    expect(estimate.formula.join('\n')).toMatch(
      /100 records read at .*\n.*0.5 per million.*\n.*10 requests at 60 a minute/s,
    );
  });

  test('of a sample is above the truth, by the upper end of an interval, because a budget hangs on it', async () => {
    const { estimate } = (await planned({ payloads: texts(20_000) })).embed!;
    const truth = texts(20_000).reduce((sum, each) => {
      const { title, body } = JSON.parse(each);
      return sum + `${title}: ${body}`.split(' ').length;
    }, 0);
    expect(estimate.sampled).toBe(1_024);
    expect(estimate.tokens).toBeGreaterThan(truth);
    expect(estimate.tokens).toBeLessThan(truth * 1.1);
    expect(estimate.formula[0]).toMatch(/1,024 records read at 16 places: mean .*95 % interval/);
  });

  test('takes the wider interval where neighbours resemble each other, because a sample of places then says less', async () => {
    const sorted = ids(20_000).map((_, at) =>
      JSON.stringify({ title: 'word '.repeat(1 + Math.floor(at / 500)).trim() }),
    );
    const truth = ids(20_000).reduce((sum, _, at) => sum + 1 + Math.floor(at / 500), 0);
    const { estimate } = (await planned({ payloads: sorted, embed: { text: 'title' } })).embed!;
    expect(estimate.tokens).toBeGreaterThan(truth * 1.15);
  });

  test('counts queries that the event gives as texts, because they are embedded too', async () => {
    const queries = [{ text: 'a b c' }, { vector: [1, 2, 3, 4, 5, 6, 7, 8] }];
    const validate = { recall: { sets: [{ name: 'asked', queries, atLeast: null }] } };
    const [plain, asking] = [await planned(), await planned({ event: { validate } })].map(
      ({ embed }) => embed!.estimate,
    );
    expect(asking).toMatchObject({ texts: plain!.texts + 1, tokens: plain!.tokens + 3 });
    expect(asking?.formula[0]).toMatch(/\+ 3 of 1 query/);
  });

  test('has no price where none is known, and adds its time to that of the run', async () => {
    const plan = await planned({ card: { usdPerMillionTokens: null } });
    expect(plan.embed?.estimate.usd).toBeNull();
    expect(plan.estimate.formula.join('\n')).toMatch(/10 s of embedding.*price is not known/s);
    expect(plan.estimate.seconds).toBeGreaterThan(30);
  });
});

describe('the size of a shard', () => {
  test('is that with the vectors that are made for it, since a function holds both', async () => {
    const payloads = texts(5_000);
    const event = { parallel: { shardMiB: 4 } };
    const [small, large] = [
      await planned({ payloads, event }),
      await planned({ payloads, event, card: { dimensions: 1_024 } }),
    ];
    expect(small.estimate.bytes).toBeLessThan(4 * 2 ** 20);
    expect(large.estimate.bytes).toBeGreaterThan(5_000 * 4 * 1_024);
    expect(small.estimate.shards).toBeLessThan(large.estimate.shards);
  });
});

describe('a budget', () => {
  test.each([
    ['tokens', { tokens: 100 }, /\d+ tokens, and budget\.tokens is 100/],
    ['usd', { usd: 0.0001 }, /0\.000\d+ USD, and budget\.usd is 0\.0001/],
    ['minutes', { minutes: 0.1 }, /10 s, and budget\.minutes is 0\.1/],
  ])('of %s that the estimate passes stops the run before anything is written', async (_, budget, message) => {
    expect(await refused({ embed: { budget } })).toMatchObject({
      name: 'BudgetExceeded',
      message: expect.stringMatching(message),
    });
  });

  test('that holds lets the run begin', async () => {
    expect((await planned({ embed: { budget: { usd: 1, tokens: 1_000, minutes: 1 } } })).embed).toBeDefined();
  });

  test('of money needs a price, because it could not be held otherwise', async () => {
    expect(await refused({ embed: { budget: { usd: 1 } }, card: { usdPerMillionTokens: null } })).toMatchObject({
      name: 'InvalidEvent',
      ids: ['embed.model.usdPerMillionTokens', 'embed.budget.usd'],
    });
  });
});

describe('what a person has to know before', () => {
  test('is that each side needs queries of its own model, where the flag is moved', async () => {
    const note = /by the model of the side that they go to/;
    expect((await planned({ event: { cutover: { canary: {} } } })).notes.join()).toMatch(note);
    expect((await planned({ event: { cutover: null } })).notes.join()).not.toMatch(note);
  });

  test('is that an earlier mark which nothing replaces will be wrong', async () => {
    const parts: Parts = { payloads: texts(10, { embedding_model: 'old' }), embed: { mark: null } };
    expect((await planned(parts)).notes.join()).toMatch(
      /in 'embedding_model' which model made their vectors.*will not/,
    );
    const left = await planned({ ...parts, event: { mapping: { payload: { embedding_model: null } } } });
    expect(left.notes.join()).not.toMatch(/will not/);
  });

  test('is nothing of an empty collection', async () => {
    expect((await planned({ payloads: [] })).embed?.estimate).toMatchObject({
      texts: 0,
      tokens: 0,
      usd: 0,
      seconds: 0,
    });
  });
});

describe('a run that goes on', () => {
  test('may have another budget, price, place and limit of its model, and not another model or text', async () => {
    const { input, plan } = await makePlanned();
    const first = await plan();
    const { embed } = input.event;
    const changed = {
      ...embed!,
      budget: { usd: 3 },
      limits: { concurrency: 1 },
      longText: 'truncate' as const,
      model: { ...embed!.model, usdPerMillionTokens: 2, connection: { url: 'https://other.example/v1' } },
    };
    const embedder = makeEmbedder({ usdPerMillionTokens: 2 });
    const again = await planRun({ ...input, embedder, event: { ...input.event, embed: changed, only: 'failed' } });
    expect(again).toMatchObject({ attempt: 2, fingerprint: first.fingerprint });
    expect(again.embed).toMatchObject({ longText: 'truncate', model: { usdPerMillionTokens: 2 } });
    expect(again.embed?.estimate.usd).toBeCloseTo(4 * first.embed!.estimate.usd!);
    for (const other of [
      { text: 'title' },
      { model: { ...embed!.model, name: 'third' } },
      { records: 'missing' as const },
      { mark: null },
    ])
      await expect(
        planRun({ ...input, event: { ...input.event, embed: { ...embed!, ...other } } }),
      ).rejects.toMatchObject({
        name: 'RunMismatch',
      });
  });
});

describe('a run in the middle of its canary', () => {
  test('is not made live when it is started again, because what is mended would get vectors of the old model', async () => {
    const { input, plan } = await makePlanned({ event: { cutover: { canary: {} } } });
    await plan();
    const move = { at: new Date().toISOString(), action: 'step', kind: 'flag', name: 'f', from: 'a', to: 'b' } as const;
    await logMove(input.objects, 'r1', move);
    await plan();
    expect(await readPlan(input.objects, 'r1')).toMatchObject({
      attempt: 2,
      hasLiveWrites: true,
      event: { live: false },
    });
  });
});
