import type { IndexReport } from '../lib/index-change/index-report.ts';
import type { Report } from '../lib/report/report-schema.ts';
import { makeGoodReport } from './make-report.ts';

/** An IVFFlat index that became HNSW beside it. */
export const makeIndex = (overrides: Partial<IndexReport> = {}): IndexReport => ({
  vector: 'embedding',
  how: 'beside',
  oldAsked: 'in turn',
  from: { index: { kind: 'ivfflat', lists: 100 } },
  to: { index: { kind: 'hnsw', m: 16, efConstruction: 64 } },
  advice: [
    { setting: 'm', value: 16, why: 'the default (pgvector README, "HNSW"), within the usual range' },
    { setting: 'efSearch', value: 40, why: 'the default (pgvector README, "HNSW"); of searches, raise it first' },
  ],
  text: 'IVFFlat (lists 100) -> HNSW (m 16, efConstruction 64)',
  bytes: { old: 41_000_000, new: 79_000_000 },
  buildSeconds: 48.2,
  used: 'old',
  results: ['recall@10 93.10% -> 99.85%, p95 4.10 ms -> 1.20 ms'],
  kept: null,
  takenBack: null,
  ...overrides,
});

export function makeIndexReport(): Report {
  const index = makeIndex();
  return {
    ...makeGoodReport(),
    index,
    summary: `Validated, the index of vector embedding of pgvector words: ${index.text}. No record was moved. ${index.results[0]}.`,
    target: { store: 'pgvector', collection: 'words' },
  };
}

/** One of Qdrant that did not pass and was taken back, with long words in it. */
export function makeTakenBackIndex(text: string): Report {
  const quantization = { product: { compression: 'x64', always_ram: true } };
  const index = makeIndex({
    vector: text,
    how: 'instead',
    oldAsked: 'before',
    from: { index: { kind: 'hnsw', m: 32, efConstruction: 256 }, quantization: null },
    to: { index: { kind: 'hnsw', m: 4, efConstruction: 16 }, quantization },
    text: `HNSW (m 32) -> HNSW (m 4), quantization ${JSON.stringify(quantization)}`,
    bytes: { old: null, new: null },
    used: 'new',
    results: [`${text}: recall@10 99.10% -> 61.85%, p95 1.10 ms -> 0.80 ms`],
    takenBack: { at: '2026-11-21T09:10:11.000Z', reason: text, note: `the old index is built again ${text}` },
  });
  return { ...makeIndexReport(), index, verdict: 'failed', summary: `Failed: ${text}` };
}
