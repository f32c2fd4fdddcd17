/** Over 400 lines: every way in which a model is known, or not, over one set of sources. */
import { describe, expect, test } from '@jest/globals';
import { logMove } from '../../../lib/cutover/moves.ts';
import type { Embedder } from '../../../lib/embed/port.ts';
import { planRun, readPlan } from '../../../lib/plan.ts';
import type { Plan } from '../../../lib/run-files.ts';
import type { CollectionSchema, ModelId } from '../../../lib/schema.ts';
import { memory } from '../../../lib/stores/memory.ts';
import type { Capabilities, Source } from '../../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../../make.ts';
import { makeWorld, type World } from '../../world.ts';

/** A model whose tokens are words: planning asks it nothing else. */
const makeEmbedder = (card: Partial<Embedder['card']> = {}): Pick<Embedder, 'card' | 'limits' | 'countTokens'> => ({
  card: {
    provider: 'openai',
    name: 'new-model',
    version: '2',
    dimensions: 8,
    distance: 'cosine',
    maxInputTokens: 50,
    usdPerMillionTokens: 0.5,
    isMatryoshka: false,
    ...card,
  },
  limits: {
    textsPerRequest: 10,
    tokensPerRequest: 1_000,
    requestsPerMinute: 60,
    tokensPerMinute: 100_000,
    concurrency: 2,
  },
  countTokens: (text) => (text === '' ? 0 : text.split(' ').length),
});

const [vector] = makeSchema().vectors;
const withModel = (model: ModelId): CollectionSchema => makeSchema({ vectors: [{ ...vector!, model }] });
const ids = (count: number): string[] => Array.from({ length: count }, (_, at) => String(10_000 + at));
const texts = (count: number, fields: object = {}): string[] =>
  ids(count).map((id, at) => JSON.stringify({ title: `t ${id}`, body: 'word '.repeat(at % 7).trim(), ...fields }));

interface Parts {
  readonly embed?: object;
  readonly event?: object;
  readonly source?: object;
  readonly schema?: CollectionSchema;
  readonly payloads?: readonly string[];
  readonly missing?: readonly number[];
  readonly capabilities?: Partial<Capabilities>;
  readonly card?: Partial<Embedder['card']>;
  /** In place of what the source says of itself. */
  readonly describe?: (source: Source) => Source['describe'];
}

async function makePlanned({ payloads = texts(100), schema = makeSchema(), missing = [], ...parts }: Parts = {}) {
  const records = makeBatch({ ids: ids(payloads.length), vectors: schema.vectors, payloads, missing });
  const world = await makeWorld({ records, schema });
  const { event } = await makeWorld({
    event: {
      ...parts.event,
      source: { ...world.event.source, ...parts.source },
      target: world.event.target,
      embed: { text: '{title}: {body}', model: { provider: 'openai', name: 'new-model' }, ...parts.embed },
    },
  });
  const targetKind = { ...memory, capabilities: { ...memory.capabilities, ...parts.capabilities } };
  const source =
    parts.describe === undefined ? world.source : { ...world.source, describe: parts.describe(world.source) };
  const embedder = makeEmbedder(parts.card);
  const input = { ...world, source, event, run: 'r1', sourceKind: memory, targetKind, embedder, now: new Date() };
  return { world, input, plan: () => planRun(input) };
}

const planned = async (parts: Parts = {}): Promise<Plan> => await (await makePlanned(parts)).plan();

/** @returns what was refused, and sees that nothing was written for it */
async function refused(parts: Parts): Promise<Error> {
  const { world, plan } = await makePlanned(parts);
  const error: Error = await plan().then(
    () => Promise.reject(new Error('was not refused')),
    (reason) => reason,
  );
  expect(await written(world)).toEqual([]);
  return error;
}
const written = async ({ objects }: World): Promise<readonly string[]> => await objects.list('runs/');

describe('which vector is made', () => {
  test("the source's only dense one, of the model's dimension and distance, because the target is made for those", async () => {
    const plan = await planned();
    expect(plan.embed).toMatchObject({ vector: 'embedding', text: '{title}: {body}', records: 'all' });
    expect(plan.target.vectors).toEqual([{ ...vector, dimension: 8, model: { name: 'new-model', version: '2' } }]);
    expect(plan.source.vectors).toEqual([vector]);
  });

  test('the one that is named; several and none named is refused with their names', async () => {
    const schema = makeSchema({ vectors: ['title', 'body'].map((name) => ({ ...vector!, name })) });
    expect((await planned({ schema, embed: { vector: 'body' } })).embed?.vector).toBe('body');
    expect(await refused({ schema })).toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/'title', 'body'.*embed\.vector/),
    });
  });

  test("'embedding' where the source has none: a table of texts alone can be embedded", async () => {
    const plan = await planned({ schema: makeSchema({ vectors: [] }) });
    expect(plan.embed?.vector).toBe('embedding');
    expect(plan.target.vectors).toMatchObject([{ name: 'embedding', kind: 'dense', dimension: 8 }]);
    expect(plan.notes.join('\n')).toMatch(/'embedding' is new and made by new-model, version 2/);
  });

  test('not a sparse one, nor one that the mapping leaves out', async () => {
    const schema = makeSchema({ vectors: [{ name: 'terms', kind: 'sparse', precision: 'float32' }] });
    expect(await refused({ schema, embed: { vector: 'terms' } })).toMatchObject({
      message: expect.stringMatching(/sparse/),
    });
    const mapping = { vectors: { embedding: null } };
    expect(await refused({ event: { mapping } })).toMatchObject({ name: 'InvalidEvent' });
  });

  test('a dimension above what the target holds is refused before anything is paid', async () => {
    expect(await refused({ card: { dimensions: 5_000 }, capabilities: { maxDimension: 2_000 } })).toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/5000 dimensions.*at most 2000/),
    });
  });
});

describe('the text', () => {
  test('of fields that no sampled record has is refused, naming them and those that are there', async () => {
    expect(await refused({ embed: { text: '{heading}' } })).toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(/'heading', which none of 100 sampled records has; its fields are title, body/),
    });
  });

  test('of a field that the source does not declare is refused though others are there', async () => {
    const schema = makeSchema({ fields: ['title', 'body'].map((name) => ({ name, type: 'text', nullable: true })) });
    expect(await refused({ schema, embed: { text: '{title}{heading}' } })).toMatchObject({
      message: expect.stringMatching(/'heading', which the source lacks/),
    });
  });

  test('that names no field is refused, since all records would have the same vector', async () => {
    expect(await refused({ embed: { text: '{{title}}: {{body}}' } })).toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(/names no field.*one brace on either side/),
    });
  });

  test('is none where white space alone stands in its fields, for the plan as for the run', async () => {
    const payloads = [
      ...texts(3),
      JSON.stringify({ title: ' ', body: '\n' }),
      JSON.stringify({ title: 't', body: ' ' }),
    ];
    expect((await planned({ payloads })).notes.join()).toMatch(/1 of 5 sampled records have no text \('10003'\)/);
  });

  test('that is empty or too long is told of, with the first ids', async () => {
    const long = 'word '.repeat(51).trim();
    const plan = await planned({
      payloads: [...texts(98), JSON.stringify({ body: long }), '{}'],
      embed: { text: 'body' },
    });
    const notes = plan.notes.join('\n');
    expect(notes).toMatch(/15 of 100 sampled records have no text \('10000', '10007'.*…\)/);
    expect(notes).toMatch(
      /1 of 100 sampled records are longer than the 50 tokens that new-model takes \('10098'\): they fail/,
    );
    const cut = await planned({
      payloads: [JSON.stringify({ title: long })],
      embed: { longText: 'truncate', text: 'title' },
    });
    expect(cut.notes.join('\n')).toMatch(/what is too long is cut off/);
    expect(cut.embed?.estimate.tokens).toBe(50);
  });

  test('that records lack is refused where the target needs a vector of every record, as it is of vectors', async () => {
    const parts: Parts = { payloads: [...texts(9), '{}'], capabilities: { missingVectors: false } };
    expect(await refused(parts)).toMatchObject({ name: 'Incompatible', ids: ['10009'] });
    const skipping = await planned({ ...parts, event: { mapping: { missingVectors: 'skip' } } });
    expect(skipping.mapping.missingVectors).toBe('skip');
  });
});

describe('the same model', () => {
  const model = { name: 'new-model', version: '2' };
  const four = { dimensions: 4 };

  test.each<[string, Parts]>([
    ['the event says it', { source: { model } }],
    ['the files or shards say it', { schema: withModel(model) }],
    [
      'the mark of every sampled record says it',
      { payloads: texts(100, { embedding_model: 'new-model', embedding_version: '2' }) },
    ],
    [
      'a mark of other names says it',
      {
        payloads: texts(100, { by: 'new-model', of: '2' }),
        embed: { mark: { model: 'by', version: 'of' } },
      },
    ],
  ])('is copied, and nothing is paid for, where %s', async (_, parts) => {
    const plan = await planned({ ...parts, card: four });
    expect(plan.embed).toBeUndefined();
    expect(plan.notes.join('\n')).toMatch(
      /made by new-model, version 2.*(says? so|so say the 100 sampled records).*copied/,
    );
    expect(plan.source.vectors[0]?.model).toEqual(model);
    expect(plan.target.vectors[0]?.model).toEqual(model);
    expect(Object.values(plan.mapping.mark?.fields ?? {})).toEqual(['new-model', '2']);
    // Records that were not sampled may name another model.
    expect(plan.mapping.mark?.isKept).toBe('payloads' in parts ? true : undefined);
  });

  test.each<[string, Parts, RegExp]>([
    ['another version', { source: { model: { ...model, version: '1' } }, card: four }, /new-model, version 1, 4 dim/],
    ['another name', { source: { model: { ...model, name: 'old' } }, card: four }, /of old, version 2/],
    [
      'another dimension',
      { source: { model } },
      /made anew by new-model, version 2 \(8 dim.*new-model, version 2, 4 dim/,
    ],
    [
      'a version that only one side says',
      { source: { model: { name: 'new-model' } }, card: four },
      /of unknown version/,
    ],
    [
      'a version that neither says',
      { source: { model: { name: 'new-model' } }, card: { ...four, version: 'unknown' } },
      /of unknown version/,
    ],
    [
      'a version that its files call unknown',
      { schema: withModel({ name: 'new-model', version: 'unknown' }), card: { ...four, version: 'unknown' } },
      /of unknown version/,
    ],
    ['nothing that is known of it', { card: four }, /a model that is not known/],
    [
      'a mark that one sampled record lacks',
      {
        payloads: [...texts(99, { embedding_model: 'new-model', embedding_version: '2' }), '{"title":"t 3"}'],
        card: four,
      },
      /several models.*new-model, version 2; some say nothing/,
    ],
    [
      'several models side by side',
      {
        payloads: [...texts(50, { embedding_model: 'a' }), ...texts(50, { embedding_model: 'b' })].map((each, at) =>
          each.replace(/t \d+/, `t ${at}`),
        ),
        embed: { mark: null },
        card: four,
      },
      /several models.*a of unknown version; b of unknown version/s,
    ],
  ])('is not %s: then vectors are made anew, and a note names both', async (_, parts, note) => {
    const plan = await planned(parts);
    expect(plan.embed).toBeDefined();
    expect(plan.notes.join('\n')).toMatch(note);
  });

  test('is needed where records keep their vectors, because those of two models cannot be compared', async () => {
    const parts: Parts = { embed: { records: 'missing' }, missing: [3, 4], card: four };
    expect(await refused(parts)).toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(/a model that is not known, 4 dimensions.*source\.model/),
    });
    const plan = await planned({ ...parts, source: { model } });
    expect(plan.embed).toMatchObject({ records: 'missing', estimate: { texts: 2 } });
    expect(plan.notes.join('\n')).toMatch(/2 records that lack it is made by new-model/);
    expect(plan.withoutVector).toEqual({});
  });

  test('is not needed where no record has a vector that it could keep', async () => {
    const plan = await planned({ embed: { records: 'missing' }, missing: ids(100).map((_, at) => at) });
    expect(plan.embed?.estimate.texts).toBe(100);
  });
});

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

describe('the mark', () => {
  test('is two fields of every record that has a vector', async () => {
    expect((await planned()).mapping.mark).toEqual({
      vector: 'embedding',
      fields: { embedding_model: 'new-model', embedding_version: '2' },
      isDeclared: false,
    });
    expect((await planned({ embed: { mark: null } })).mapping.mark).toBeUndefined();
    expect((await planned({ embed: { mark: { version: null } } })).mapping.mark?.fields).toEqual({
      embedding_model: 'new-model',
    });
  });

  test('is declared where the target declares its fields', async () => {
    const fields = ['title', 'body'].map((name) => ({ name, type: 'text' as const, nullable: true }));
    const plan = await planned({ schema: makeSchema({ fields }) });
    expect(plan.target.fields?.map(({ name }) => name)).toEqual([
      'title',
      'body',
      'embedding_model',
      'embedding_version',
    ]);
    expect(plan.mapping.mark?.isDeclared).toBe(true);
  });

  test('does not take the place of something else, and does that of an earlier mark', async () => {
    expect(await refused({ embed: { mark: { model: 'title' } } })).toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/embed\.mark.*'title'.*mapping\.payload \{"title": null\}/),
    });
    const renamed = await planned({
      embed: { mark: { model: 'title' } },
      event: { mapping: { payload: { title: null } } },
    });
    expect(renamed.mapping.mark?.fields).toMatchObject({ title: 'new-model' });
    const again = await planned({ payloads: texts(10, { embedding_model: 'old', embedding_version: '1' }) });
    expect(again.mapping.mark?.fields).toMatchObject({ embedding_model: 'new-model' });
    expect(again.notes.join('\n')).toMatch(/of old, version 1/);
    const named = { payloads: texts(10, { made_by: 'old' }), embed: { mark: { model: 'made_by', version: null } } };
    const said = await planned({ ...named, source: { model: { name: 'old' } } });
    expect(said.mapping.mark?.fields).toEqual({ made_by: 'new-model' });
  });

  test('does not take the place of a field that is alike in all sampled records, since it may not be in the rest', async () => {
    const parts: Parts = { payloads: texts(10, { lang: 'en' }), embed: { mark: { model: 'lang' } } };
    const known = { model: { name: 'old', version: '1' } };
    expect(await refused(parts)).toMatchObject({ name: 'Incompatible', ids: ['embed.mark', 'lang'] });
    expect(await refused({ ...parts, source: known })).toMatchObject({ name: 'Incompatible' });
    const renamed = { mapping: { payload: { lang: { to: 'made_by' } } } };
    const taken = { ...parts, source: known, embed: { mark: { model: 'made_by' } }, event: renamed };
    expect(await refused(taken)).toMatchObject({ message: expect.stringMatching(/something else under 'made_by'/) });
  });

  test('is refused under one name for model and version, of which only the version would be left', async () => {
    await expect(planned({ embed: { mark: { model: 'made_by', version: 'made_by' } } })).rejects.toThrow(
      /one name for both/,
    );
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

describe('Matryoshka truncation', () => {
  const mapping = { vectors: { embedding: { dimensions: 2 } } };
  test('is planned where the event says that the model allows it, and refused where nothing does', async () => {
    const { event, input } = await makePlanned({ event: { mapping } }).then(({ input }) => ({
      input,
      event: input.event,
    }));
    const { embed: _, ...plain } = event;
    await expect(planRun({ ...input, event: plain })).rejects.toMatchObject({
      name: 'Incompatible',
      message: expect.stringMatching(/2 of its 4 dimensions.*a model that is not known.*source\.model/),
    });
    const model = { name: 'ours', isMatryoshka: true };
    const plan = await planRun({ ...input, event: { ...plain, source: { ...plain.source, model } } });
    expect(plan.mapping.truncate).toEqual({ embedding: 2 });
    expect(plan.target.vectors).toMatchObject([{ dimension: 2, model }]);
    expect(plan.notes.join('\n')).toMatch(/first 2 of 4 floats.*measured among the truncated/);
  });

  test('of what is made goes by the model that makes it, which could be asked for so few itself', async () => {
    const isMatryoshka = true;
    const plan = await planned({ event: { mapping }, card: { isMatryoshka } });
    expect(plan.target.vectors).toMatchObject([{ dimension: 2 }]);
    expect(plan.notes.join('\n')).toMatch(/embed\.model \{"dimensions": 2\}/);
    expect(await refused({ event: { mapping } })).toMatchObject({ message: expect.stringMatching(/embed\.model \{/) });
  });

  test('only shortens', async () => {
    const model = { provider: 'openai', name: 'new-model', isMatryoshka: true };
    const longer = { vectors: { embedding: { dimensions: 9 } } };
    expect(await refused({ event: { mapping: longer }, embed: { model } })).toMatchObject({
      message: expect.stringMatching(/has 8 dimensions.*asks for 9/),
    });
  });
});
