import { describe, expect, test } from '@jest/globals';
import { planRun } from '../../../lib/plan.ts';
import { makeSchema } from '../../make.ts';
import { ids, makePlanned, type Parts, planned, refused, texts, vector, withModel } from './planned.ts';

/** What the plan of an embedding makes: which vector, of which text, by which model. */

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
