import { describe, expect, test } from '@jest/globals';
import { type Batch, column, type DenseColumn } from '../lib/batch.ts';
import { compareShard } from '../lib/compare/compare.ts';
import { comparedKey } from '../lib/keys.ts';
import { readManifest } from '../lib/manifest.ts';
import { mapBatch } from '../lib/mapping/mapping.ts';
import { getJson } from '../lib/objects.ts';
import { type Compared, comparedSchema, type Plan } from '../lib/run-files.ts';
import { memory } from '../lib/stores/memory.ts';
import { embedAll, makeModel, makeStageWorld, planAgain, type StageWorldParts, vectorOf } from './embed-stage-world.ts';
import { importAll, noDeadline, type World } from './world.ts';

const texts = Array.from({ length: 30 }, (_, at) => `text ${at}`);
const write = { position: { run: 'r1', shard: '00000-000', offset: 0 }, mode: 'upsert' } as const;

async function loaded(parts: Partial<StageWorldParts> = {}) {
  const stage = await makeStageWorld({ texts, event: { validate: { spotCheck: 1000 } }, ...parts });
  await embedAll(stage.world, stage.plan, stage.model);
  await importAll(stage.world, stage.plan);
  return stage;
}

const counted = ['equal', 'changed', 'different', 'missing', 'skipped', 'spotChecked', 'spotDifferent'] as const;

/** Tallies and differences of all shards. */
async function compareAll(world: World, plan: Plan) {
  const { shards } = await readManifest(world.objects, plan.run);
  const found: Compared[] = [];
  for (const { shard } of shards) {
    await compareShard({ ...world, plan, shard, secondLookMs: 0, deadline: noDeadline });
    const compared = await getJson(world.objects, comparedKey(plan.run, shard), comparedSchema);
    if (compared !== undefined) found.push(compared);
  }
  const sums = counted.map((name) => [name, found.reduce((sum, each) => sum + each[name], 0)]);
  return {
    ...Object.fromEntries(sums),
    differences: found.flatMap(({ differences }) => differences),
    spotDifferences: found.flatMap(({ spotDifferences }) => spotDifferences),
  };
}

/** Record 1003 as the source holds it, with another payload. */
async function changedRecord({ source }: World, payload: Record<string, unknown>): Promise<Batch> {
  const record = await source.fetch(['1003']);
  return { ...record, payloads: [JSON.stringify(payload)] };
}

const withVector = (record: Batch, values: Float32Array): Batch => {
  const made: DenseColumn = { kind: 'dense', dimension: values.length, values };
  return { ...record, vectors: new Map([...record.vectors, ['embedding', made]]) };
};

describe('the comparison of a run that embeds', () => {
  test('holds the target against the made vectors, and what was exported against the source, which has other ones', async () => {
    const { world, plan } = await loaded();
    expect(await compareAll(world, plan)).toMatchObject({ equal: 30, spotChecked: 30, spotDifferent: 0 });
  });

  test('finds a target that has the vector of another text', async () => {
    const { world, plan } = await loaded();
    const wrong = withVector(await world.target.fetch(['1003']), vectorOf('text 4'));
    await world.target.write(wrong, write);
    const { different, differences } = await compareAll(world, plan);
    expect(different).toBe(1);
    expect(differences[0]).toMatchObject({ id: '1003', reason: expect.stringContaining('vector embedding') });
  });

  test('a record that changed on both sides is equal while its text is the one that was embedded', async () => {
    const { world, plan } = await loaded();
    const changed = await changedRecord(world, { text: 'text 3', rank: 7 });
    await world.source.write(changed, write);
    const { batch } = mapBatch(withVector(changed, vectorOf('text 3')), plan.mapping, memory.capabilities.ids);
    await world.target.write(batch, write);
    expect(await compareAll(world, plan)).toMatchObject({ equal: 30, changed: 1, different: 0, spotDifferent: 0 });
  });

  test('a record whose text changed since is different, and told so, though both sides hold the new text', async () => {
    const { world, plan } = await loaded();
    const changed = await changedRecord(world, { text: 'another text' });
    await world.source.write(changed, write);
    const { batch } = mapBatch(withVector(changed, vectorOf('text 3')), plan.mapping, memory.capabilities.ids);
    await world.target.write(batch, write);
    const { equal, different, differences, spotDifferences } = await compareAll(world, plan);
    expect({ equal, different }).toEqual({ equal: 29, different: 1 });
    for (const [found] of [differences, spotDifferences])
      expect(found).toMatchObject({ id: '1003', reason: expect.stringContaining('its text changed since') });
  });

  test.each(['refuse', 'skip'])(
    'a record whose text failed is missing with the reason, not left out, where missing vectors are said to %s',
    async (missingVectors) => {
      const model = makeModel();
      model.refuses = (text) => text === 'text 3';
      const parts = { model, texts: texts.map((text, at) => (at === 5 ? '' : text)) };
      const mapping = { missingVectors };
      const { world, plan } = await loaded({ ...parts, event: { mapping, validate: { spotCheck: 1000 } } });
      const skipped = missingVectors === 'skip' ? 1 : 0;
      expect(await world.target.count()).toBe(29 - skipped);
      const compared = await compareAll(world, plan);
      expect(compared).toMatchObject({ equal: 29 - skipped, missing: 1, skipped, different: 0, spotDifferent: 0 });
      const reason = expect.stringMatching(/could not be embedded: .*refuses 'text 3'/);
      expect(compared.differences).toEqual([{ id: '1003', verdict: 'missing', reason }]);
    },
  );

  test('what was found is not taken for what is there once a failed text has its vector', async () => {
    const model = makeModel();
    model.refuses = (text) => text === 'text 3';
    const { world, plan } = await loaded({ model });
    const before = await compareAll(world, plan);
    expect(before.missing).toBe(1);
    model.refuses = () => false;
    const again = await planAgain(world, model, { only: 'failed' });
    await embedAll(world, again, model);
    await importAll(world, again);
    expect(await compareAll(world, again)).toMatchObject({ equal: 30, missing: 0, differences: [] });
    expect(column(await world.target.fetch(['1003']), 'embedding').values).toEqual(vectorOf('text 3'));
  });
});
