import { describe, expect, test } from '@jest/globals';
import { runKeys } from '../lib/keys.ts';
import { getJson } from '../lib/objects.ts';
import { planRun, readPlan } from '../lib/plan.ts';
import { planSchema } from '../lib/run-files.ts';
import { memory } from '../lib/stores/memory.ts';
import { makeBatch, makeSchema } from './make.ts';
import { load, makeWorld, plan, type World } from './world.ts';

async function written(world: World): Promise<readonly string[]> {
  return await world.objects.list('runs/');
}

async function planOnly(world: World, event = world.event) {
  return await planRun({ ...world, event, run: 'r1', sourceKind: memory, targetKind: memory, now: new Date() });
}

describe('the plan', () => {
  test('says what the run will take, with the formula, and writes nothing into a store', async () => {
    const world = await makeWorld();
    const planned = await planOnly(world);
    expect(planned).toMatchObject({ records: 100, attempt: 1, estimate: { records: 100, shards: 1 } });
    expect(planned.estimate.bytes).toBeGreaterThan(100 * 16);
    expect(planned.estimate.usd).toBeGreaterThan(0);
    expect(planned.estimate.formula.join('\n')).toMatch(/bytes = 100 records[\s\S]*USD = /);
    expect(planned.guarantee).toMatch(/snapshot/);
    await expect(world.target.describe()).rejects.toMatchObject({ name: 'NotFound' });
    expect(await getJson(world.objects, runKeys('r1').plan, planSchema)).toEqual(planned);
  });

  test('goes on though every shard was deleted, as who mends a record in the source does: the target holds its own records', async () => {
    const world = await makeWorld();
    await load(world);
    for (const key of await world.objects.list(runKeys('r1').shards)) await world.objects.delete(key);
    expect(await planOnly(world)).toMatchObject({ attempt: 2 });
  });

  test('refuses a target that already holds records, before anything is written', async () => {
    const world = await makeWorld();
    await load(world, 'earlier');
    await expect(planOnly(world)).rejects.toMatchObject({
      name: 'TargetNotEmpty',
      message: expect.stringMatching(/holds 100 records.*"into": "existing"/),
    });
    expect((await written(world)).filter((key) => key.startsWith('runs/r1/'))).toEqual([]);
    await expect(
      planOnly(world, { ...world.event, target: { ...world.event.target, into: 'existing' } }),
    ).resolves.toMatchObject({ records: 100 });
  });

  test('refuses to copy a collection onto itself', async () => {
    const world = await makeWorld();
    const event = { ...world.event, target: { ...world.event.target, collection: world.event.source.collection } };
    await expect(planOnly(world, event)).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringContaining('same collection'),
    });
  });

  test.each([
    [{ queries: 50, atLeast: 0.95 }, /50 queries cannot show a recall of 0.95.*ask for \d+ queries/],
    [{ queries: 60, atLeast: 1 }, /lower goal/],
  ])('refuses a goal that %j could not show at the end of the run', async (recall, message) => {
    const world = await makeWorld({ event: { validate: { recall } } });
    await expect(planOnly(world)).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(message),
    });
  });

  test('refuses a search setting that the target does not heed, because the report would speak of another search', async () => {
    const world = await makeWorld({ event: { validate: { recall: { search: { efSearch: 200 } } } } });
    await expect(planOnly(world)).rejects.toMatchObject({
      name: 'Incompatible',
      ids: ['validate.recall.search.efSearch'],
    });
    expect(await written(world)).toEqual([]);
  });

  test('refuses a query set that searches a vector which is not moved, because nothing would be measured', async () => {
    const sets = [{ name: 'titles', vector: 'title' }];
    const world = await makeWorld({ event: { validate: { recall: { sets } } } });
    await expect(planOnly(world)).rejects.toMatchObject({
      name: 'InvalidEvent',
      message: expect.stringMatching(/'titles' searches vector 'title'.*are 'embedding'/),
    });
  });

  test('refuses too few queries of a set by its own goal and number, and none of a set without a goal', async () => {
    const sets = [
      { name: 'few', sample: 20, atLeast: 0.9 },
      { name: 'reported', sample: 5, atLeast: null },
    ];
    const world = await makeWorld({ event: { validate: { recall: { sets } } } });
    await expect(planOnly(world)).rejects.toMatchObject({ ids: ['validate.recall.sets.few'] });
    const reported = await makeWorld({ event: { validate: { recall: { sets: sets.slice(1) } } } });
    await expect(planOnly(reported)).resolves.toMatchObject({ records: 100 });
  });

  test('names a source that is not there', async () => {
    const world = await makeWorld();
    const source = await memory.open({ connection: { path: 'nowhere' }, collection: 'gone', options: {} });
    await expect(planOnly({ ...world, source })).rejects.toMatchObject({ name: 'NotFound' });
    expect(await written(world)).toEqual([]);
  });
});

describe('a run that only validates', () => {
  const validating = async () => {
    const world = await makeWorld({ event: { mode: 'validate' } });
    await world.target.prepare(makeSchema());
    return world;
  };

  test('takes the target as it is there, full or not, and does not ask for room', async () => {
    const world = await validating();
    await world.target.write(makeBatch(), { position: { run: 'x', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    const planned = await planOnly(world);
    expect(planned.target).toEqual((await world.target.describe()).schema);
    expect(planned.estimate.formula.join(' ')).not.toMatch(/importers|building the index/);
    const moving = await planOnly(await makeWorld());
    expect(planned.estimate.invocations).toBeLessThan(moving.estimate.invocations);
  });

  test('needs the target to be there', async () => {
    const world = await makeWorld({ event: { mode: 'validate' } });
    await expect(planOnly(world)).rejects.toMatchObject({ name: 'NotFound' });
    expect(await written(world)).toEqual([]);
  });

  test('looks at the target again when it goes on, because that is not its own', async () => {
    const world = await validating();
    await planOnly(world);
    const [vector] = makeSchema().vectors;
    const changed: World['target'] = {
      ...world.target,
      describe: async () => ({
        ...(await world.target.describe()),
        schema: makeSchema({ vectors: [{ ...vector!, precision: 'float16' }] }),
      }),
    };
    const again = await planOnly({ ...world, target: changed });
    expect(again).toMatchObject({ attempt: 2, target: { vectors: [{ precision: 'float16' }] } });
    const gone: World['target'] = {
      ...world.target,
      describe: async () => ({ ...(await world.target.describe()), schema: makeSchema({ vectors: [] }) }),
    };
    await expect(planOnly({ ...world, target: gone })).rejects.toMatchObject({ name: 'Incompatible' });
  });
});

describe('a run that is started again under its id', () => {
  test('keeps the ranges it began with, though the source has grown meanwhile', async () => {
    const world = await makeWorld();
    const first = await plan(world);
    const more = makeBatch({ ids: ['5001', '5002'] });
    await world.source.write(more, { position: { run: 'x', shard: '00000-000', offset: 0 }, mode: 'upsert' });
    const second = await plan(world);
    expect(second).toMatchObject({ fingerprint: first.fingerprint, attempt: 2 });
  });

  test('goes on though the target holds what it wrote itself', async () => {
    const world = await makeWorld();
    await load(world);
    await expect(plan(world)).resolves.toMatchObject({ attempt: 2 });
  });

  test.each([
    ['another source', { source: { store: 'memory', connection: { path: 'elsewhere' }, collection: 'articles' } }],
    ['another mapping', { mapping: { originalId: 'key' } }],
    ['another mode', { mode: 'validate' }],
    ['another target', { target: { store: 'memory', connection: { path: 'elsewhere' }, collection: 'b' } }],
  ])('is refused with %s', async (_, change) => {
    const world = await makeWorld();
    await plan(world);
    const other = (await makeWorld({ event: change })).event;
    await expect(
      planOnly(world, {
        ...world.event,
        ...Object.fromEntries(Object.keys(change).map((key) => [key, Reflect.get(other, key)])),
      }),
    ).rejects.toMatchObject({ name: 'RunMismatch' });
  });

  test('is refused when its ranges were altered', async () => {
    const world = await makeWorld();
    await plan(world);
    await world.objects.put(runKeys('r1').ranges, '[]');
    await expect(planOnly(world)).rejects.toMatchObject({ name: 'RunMismatch' });
  });

  test('may ask for another validation or cutover', async () => {
    const world = await makeWorld();
    await plan(world);
    const event = { ...world.event, cutover: null };
    await expect(planOnly(world, event)).resolves.toMatchObject({ event: { cutover: null } });
  });
});

test('a plan of another format is refused by name, not misread', async () => {
  const world = await makeWorld();
  await plan(world);
  const text = new TextDecoder()
    .decode(await world.objects.get(runKeys('r1').plan))
    .replace('"format":1', '"format":9');
  await world.objects.put(runKeys('r1').plan, text);
  await expect(readPlan(world.objects, 'r1')).rejects.toMatchObject({
    name: 'ShardDamaged',
    message: expect.stringContaining('format'),
  });
  await expect(readPlan(world.objects, 'r2')).rejects.toMatchObject({ name: 'NotFound' });
});
