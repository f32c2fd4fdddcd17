import type { Embedding, EmbedPlan } from '../lib/embed/stage/embed-files.ts';
import { parseEvent } from '../lib/event.ts';
import type { Plan } from '../lib/run-files.ts';
import { makeSchema } from './make.ts';

/** A plan as the planner writes it, of 100 records of PostgreSQL that go into LanceDB, unless the event says otherwise. */
export const makePlan = (event: Record<string, unknown> = {}, run = 'r1'): Plan => ({
  format: 1,
  run,
  attempt: 1,
  createdAt: '2026-01-01T00:00:00.000Z',
  event: parseEvent({
    source: { store: 'pgvector', connection: { path: 'a' }, collection: 'public.words' },
    target: { store: 'lancedb', connection: { path: 'b' }, collection: 'words' },
    ...event,
  }),
  fingerprint: 'f',
  source: makeSchema(),
  target: makeSchema(),
  mapping: {
    vectors: {},
    dropFields: [],
    castFields: {},
    ids: 'keep',
    originalId: 'original_id',
    missingVectors: 'keep',
  },
  records: 100,
  withoutVector: {},
  notes: [],
  guarantee: '',
  estimate: { records: 100, bytes: 1, shards: 2, seconds: 1, invocations: 1, usd: 0, formula: [] },
  shardBytes: 1,
});

/** What its `embed` says where the event names an OpenAI-compatible model of 8 dimensions. */
export const makeEmbedPlan = (changes: Partial<EmbedPlan> = {}): EmbedPlan => ({
  vector: 'embedding',
  text: 'word',
  model: {
    provider: 'openai',
    name: 'small',
    version: '3',
    dimensions: 8,
    distance: 'cosine',
    maxInputTokens: 100,
    usdPerMillionTokens: 2,
    isMatryoshka: false,
  },
  records: 'all',
  longText: 'fail',
  mark: { model: null, version: null },
  estimate: { texts: 100, tokens: 400, usd: 0.0008, seconds: 1, sampled: 10, formula: [] },
  ...changes,
});

/** embedding.json of 100 records, not begun unless told otherwise. */
export const makeEmbedding = (changes: Partial<Embedding> = {}): Embedding => ({
  done: false,
  model: { provider: 'openai', name: 'small', version: '3' },
  records: 100,
  pending: 100,
  processing: 0,
  completed: 0,
  failed: 0,
  withoutText: 0,
  failures: [],
  copied: 0,
  shared: 0,
  texts: 0,
  tokens: 0,
  usd: 0,
  requests: 0,
  throttled: 0,
  shards: 0,
  startedAt: '2026-01-01T00:00:00.000Z',
  at: '2026-01-01T00:00:00.000Z',
  ...changes,
});
