import { parse, stringify } from 'lossless-json';
import type { Batch } from '../lib/batch.ts';
import { parseEvent } from '../lib/event.ts';
import { fitCollection } from '../lib/fit.ts';
import { mapBatch } from '../lib/mapping/mapping.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import { memory } from '../lib/stores/memory.ts';
import { type BenchRow, medianMs } from './row.ts';

/** Payloads of about 400 bytes through mapBatch: without rules, with fields left out alone, and with ten rules, beside parsing each and writing it again. */

const records = 20_000;
const runs = 7;

export async function run(): Promise<readonly BenchRow[]> {
  const batch = makeBatch();
  const mapped = (mapping: object) => {
    const plan = planned(mapping);
    return () => mapBatch(batch, plan, memory.capabilities.ids);
  };
  const rate = async (action: () => unknown): Promise<number> => (records / (await medianMs(runs, action))) * 1000;
  const copied = await rate(() => ({ ...batch, payloads: batch.payloads.map((payload) => payload) }));
  const json = await rate(() => batch.payloads.map((payload) => JSON.stringify(JSON.parse(payload))));
  const lossless = await rate(() => batch.payloads.map((payload) => stringify(parse(payload))));
  const plain = await rate(mapped({}));
  const one = await rate(mapped({ payload: { title: { to: 'headline' } } }));
  const ten = await rate(mapped(tenRules));
  const row = (name: string, value: number, against: string, other: number, goal: string): BenchRow => ({
    name: `mapping, ${name}`,
    value,
    unit: 'records/s',
    against,
    ratio: value / other,
    goal,
  });
  return [
    row('no rules', plain, 'a copy of the list of payloads', copied, 'payloads untouched'),
    row('one rename', one, 'JSON.parse and stringify', json, 'ratio >= 0.3'),
    row('ten rules', ten, 'JSON.parse and stringify', json, 'ratio >= 0.1'),
    row('ten rules', ten, 'parsing with every digit (lossless-json)', lossless, 'ratio >= 1'),
  ];
}

const tenRules = {
  payload: {
    title: { to: 'headline' },
    status: { values: { PENDING: 'pending', DONE: 'done' }, patterns: [{ like: 'canc%', to: 'cancelled' }] },
    views: { cast: 'integer' },
    published: { cast: 'timestamp' },
    'meta.category': { to: 'category' },
    author: { split: { by: ' ', to: ['first', 'last'] } },
    secret: null,
    lang: { default: 'en' },
  },
  add: { slug: { template: '{meta.category}-{id}' }, tenant: { value: 'acme' } },
};

function planned(mapping: object) {
  const event = parseEvent({
    source: { store: 'memory', connection: { path: 'a' }, collection: 'a' },
    target: { store: 'memory', connection: { path: 'a' }, collection: 'b' },
    mapping,
  });
  return fitCollection({ source: { schema, count: records, payloadBytes: 400 }, target: memory, event }).mapping;
}

const schema: CollectionSchema = {
  store: 'memory',
  idType: 'integer',
  key: [],
  vectors: [{ name: 'embedding', kind: 'dense', dimension: 4, distance: 'cosine', precision: 'float32' }],
  payloadIndexes: [],
  native: {},
};

function makeBatch(): Batch {
  const payloads = Array.from({ length: records }, (_, i) =>
    JSON.stringify({
      title: `A title of record ${i}, as long as titles are`,
      status: ['PENDING', 'DONE', 'canceled', 'CANCELLED'][i % 4],
      views: String(i * 7),
      published: '2026-03-29T02:30:00+02:00',
      meta: { category: `c${i % 20}`, score: i / 7, tags: ['a', 'b', 'c'] },
      author: 'Ada King Lovelace',
      secret: 'x'.repeat(20),
      lang: i % 3 === 0 ? null : 'de',
      body: 'Lorem ipsum dolor sit amet, consectetur adipiscing elit. '.repeat(2),
    }),
  );
  return {
    count: records,
    ids: payloads.map((_, i) => String(i)),
    payloads,
    vectors: new Map([['embedding', { kind: 'dense', dimension: 4, values: new Float32Array(records * 4).fill(1) }]]),
  };
}
