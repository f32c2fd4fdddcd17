import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseEvent } from '../../../lib/event.ts';
import { copyEvent } from '../../../lib/migrate/collection/copy.ts';
import { changeSchema } from '../../../lib/migrate/collection/words.ts';
import type { MigrateConfig } from '../../../lib/migrate/port.ts';
import { frontUrl } from '../../servers/urls.ts';
import { asInForce, dropAll, stateOf } from './qdrant-state.ts';
import { down, makeConfig, makeFile, up } from './world.ts';

const ours = `prop${process.pid}${Math.random().toString(36).slice(2, 6)}`;
let url: string;
let config: MigrateConfig;
let made = 0;
beforeAll(async () => {
  url = await frontUrl();
  config = makeConfig({ store: 'qdrant', connection: { url }, options: { transport: 'rest' } });
});
afterAll(async () => await dropAll(url, ours));

const hnsw = fc.record(
  {
    m: fc.constantFrom(8, 16, 24),
    efConstruction: fc.constantFrom(64, 100),
    onDisk: fc.boolean(),
    payloadM: fc.constantFrom(4, 16),
  },
  { requiredKeys: [] },
);
const quantization = fc.constantFrom(
  null,
  { scalar: { type: 'int8', quantile: 0.99 } },
  { scalar: { type: 'int8' } },
  { binary: { always_ram: true } },
  { product: { compression: 'x4' } },
);
const part = (of: readonly number[]) => fc.subarray([...of]);
/** What a file may say of one collection, but what needs a copy. */
const changes = (name: string) =>
  fc.record(
    {
      hnsw,
      quantization,
      optimizers: fc.record(
        {
          indexingThreshold: fc.constantFrom(1000, 20_000),
          deletedThreshold: fc.constantFrom(0.2, 0.4),
          memmapThreshold: fc.constantFrom(0, 5000),
          maxOptimizationThreads: fc.constantFrom('auto', 2),
        },
        { requiredKeys: [] },
      ),
      vectors: fc.record({ text: fc.record({ hnsw, quantization, onDisk: fc.boolean() }, { requiredKeys: [] }) }),
      writeConsistencyFactor: fc.constantFrom(1, 2),
      payloadIndexes: fc.dictionary(
        fc.constantFrom('a', 'b'),
        fc.constantFrom(
          'keyword',
          'integer',
          { type: 'integer', range: true, lookup: false },
          { type: 'keyword', is_tenant: true },
        ),
      ),
      aliases: fc.subarray([`${name}_x`, `${name}_y`]),
      seed: part([1, 2, 3]).chain((ids) =>
        fc.tuple(
          ...ids.map((id) =>
            fc.record({
              id: fc.constant(id),
              vector: fc.constantFrom([1, 0], [0, 1]),
              payload: fc.constantFrom({}, { a: 'n' }),
            }),
          ),
        ),
      ),
      drop: fc.record({
        payloadIndexes: fc.subarray(['c', 'd']),
        aliases: fc.subarray([`${name}_z`]),
        records: part([4, 5]),
      }),
    },
    { requiredKeys: [] },
  );

test('whatever a file says after whatever another has said, down gives what was there before it, and a second up does nothing', async () => {
  const name = `${ours}_any`;
  await fc.assert(
    fc.asyncProperty(changes(name), changes(name), async (one, other) => {
      const collection = `${name}${++made}`;
      const own = (change: object): object =>
        JSON.parse(JSON.stringify(change).replaceAll(`${name}_`, `${collection}_`));
      const base = {
        store: 'search',
        collection,
        payloadIndexes: { c: 'text', d: 'integer' },
        aliases: [`${collection}_z`],
      };
      await up(
        makeFile(1, { ...base, vectors: { text: { size: 2, distance: 'euclid' } }, seed: [{ id: 4, vector: [1, 1] }] }),
        { config },
      );
      await up(makeFile(2, { ...own(one), store: 'search', collection }), { config });
      const before = asInForce(await stateOf(url, collection));
      const file = makeFile(3, { ...own(other), store: 'search', collection });
      const applied = await up(file, { config });
      expect((await up(file, { config })).step.lines[0]).toBe('search: nothing to do, all of it is there');
      await down(applied.entry, file, { config });
      expect(asInForce(await stateOf(url, collection))).toEqual(before);
      await dropAll(url, collection);
    }),
    { numRuns: 5, endOnFailure: true },
  );
}, 240_000);

test('the event of a copy is one that the main job takes, with what the file says of it', () => {
  const change = changeSchema.parse({
    vectors: { text: { size: 512, distance: 'dot', hnsw: { m: 8, onDisk: true } } },
    hnsw: { m: 32, maxIndexingThreads: 2 },
    quantization: null,
    optimizers: { indexingThreshold: 0, deletedThreshold: 0.3 },
    payloadIndexes: { tag: 'keyword' },
    drop: { payloadIndexes: ['old'] },
    copy: {
      embed: {
        text: '{title}',
        model: { provider: 'openai', name: 'm', connection: { url: 'http://x/v1' }, dimensions: 512 },
      },
      mapping: { payload: { year: 'integer' } },
      validate: { recall: { atLeast: 0.8 } },
    },
  });
  const store = {
    name: 'search',
    store: 'qdrant',
    connection: { secret: 'app/q' },
    options: { transport: 'rest', m: 3 },
  };
  const vectors = [
    {
      name: 'text',
      kind: 'dense' as const,
      dimension: 384,
      distance: 'cosine' as const,
      precision: 'float32' as const,
    },
  ];
  const event = parseEvent(copyEvent({ store, change, vectors, from: 'a', to: 'a__009', pointer: 'a_live' }));
  expect(event).toMatchObject({
    source: { collection: 'a', options: { transport: 'rest' } },
    target: {
      collection: 'a__009',
      options: {
        hnsw: { m: 32, vectors: { text: { m: 8 } } },
        quantization: null,
        payloadIndexes: { tag: 'keyword', old: null },
      },
    },
    mapping: { vectors: { text: { distance: 'dot' } }, payload: { year: 'integer' } },
    validate: { recall: { atLeast: 0.8 } },
    cutover: { pointer: 'a_live' },
  });
});
