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
