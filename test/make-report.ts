import { type Report, reportSchema } from '../lib/report-schema.ts';
import type { RecallSide } from '../lib/run-files.ts';

const side = (mean: number, low: number, high: number, p50: number): RecallSide => ({
  measured: true,
  queries: 200,
  mean,
  low,
  high,
  worst: mean === 1 ? [] : [{ id: 'quiet', recall: 0.6 }],
  latency: { p50, p95: p50 * 2.1, p99: p50 * 5.3 },
});

/** A report with something in every part, and `text` wherever text of others can come in. Overrides replace whole parts. */
export function makeReport(text: string, overrides: Partial<Report> = {}): Report {
  const named = (count: number, reason: string) =>
    Array.from({ length: count }, (_, i) => ({
      id: i === 0 ? text : `${19_000 + i}`,
      reason: i === 1 ? `${reason} ${text}` : reason,
    }));
  return reportSchema.parse({
    format: 1,
    run: 'articles-2026-11-21',
    verdict: 'failed',
    summary: `Failed, pgvector public.articles to qdrant articles: 14 records are not the same in the target; 3 records are missing in the target. Nothing was cut over, and the source is untouched. ${text}`,
    plannedAt: '2026-11-21T08:00:00.000Z',
    importedAt: '2026-11-21T08:21:40.000Z',
    createdAt: '2026-11-21T08:26:12.000Z',
    source: { store: 'pgvector', collection: `public.articles ${text}` },
    target: { store: 'qdrant', collection: 'articles' },
    failure: null,
    findings: [
      {
        check: 'compare',
        severity: 'failed',
        what: '14 records are not the same in the target',
        ids: named(14, '').map(({ id }) => id),
        next: 'See which field or vector differs below. Start the run again under a new id, into a new collection.',
      },
      {
        check: 'compare',
        severity: 'failed',
        what: '3 records are missing in the target',
        ids: ['c9b1a5d2-0e5f-5a43-9f0e-2b1f0f6f8f10', '88', '90071992547409931'],
        next: text,
      },
      {
        check: 'recall',
        severity: 'unproven',
        what: `vector body: the recall@10 of the target is 97.10%, at least 94.60% with 95% confidence: too few queries ${text}`,
        ids: [],
        next: 'Ask for more queries in validate.recall.queries.',
      },
    ],
    counts: {
      source: 1_204_331,
      manifest: 1_204_331,
      skipped: 12,
      gone: 0,
      target: 1_204_317,
      expected: 1_204_319,
      agree: false,
      extra: 1,
      extraIds: ['7'],
      note: text,
    },
    compare: {
      asked: 'all',
      records: 1_204_331,
      equal: 1_204_298,
      changed: 2,
      different: 14,
      missing: 3,
      extra: 1,
      unchecked: 4,
      notInSample: 0,
      duplicates: 0,
      skipped: 12,
      first: {
        different: named(14, 'vector title, float 311: expected 0.0123456789, found 0.0123456987'),
        missing: named(3, 'is not in the target, where its id is c9b1a5d2-0e5f-5a43-9f0e-2b1f0f6f8f10'),
        extra: named(1, 'is in the target and in no shard'),
        unchecked: named(4, 'cannot be read from the target: a broken page'),
        changed: named(
          2,
          'the source changed after the export, and the target is as the source is now: payload field price: expected 12.50, found 13',
        ),
      },
    },
    spotCheck: { asked: 100, checked: 100, different: 0, first: [] },
    recall: {
      vectors: [
        {
          vector: 'title',
          targetVector: 'title',
          distance: 'cosine',
          k: 10,
          atLeast: 0.95,
          candidates: 1_204_331,
          source: side(0.981, 0.967, 0.99, 4.21),
          target: side(0.9935, 0.984, 0.9982, 1.34),
          outcome: 'passed',
          note: `The recall@10 of the target is 99.35%, at least 98.40% with 95% confidence. ${text}`,
        },
        {
          vector: 'body',
          targetVector: text,
          distance: 'euclid',
          k: 10,
          atLeast: 0.95,
          candidates: 1_204_100,
          source: { measured: false, reason: `the source ranks by cosine, the target by euclid ${text}` },
          target: side(0.971, 0.946, 0.985, 118),
          outcome: 'unproven',
          note: 'The recall@10 of the target is 97.10%, at least 94.60% with 95% confidence: 200 queries are too few to show the 95.00% asked for; ask more queries.',
        },
      ],
    },
    skipped: { records: 12, ids: ['411', '988', text] },
    throttled: 3,
    estimate: { records: 1_204_000, bytes: 1_850_000_000, shards: 58, seconds: 1700, usd: 0.42 },
    actual: { records: 1_204_331, bytes: 1_851_204_881, shards: 59, seconds: 1572 },
    notes: [
      `Index settings m 16 and efConstruction 64 are carried over. ${text}`,
      'ids are text: Qdrant gets UUIDv5, the original is kept in original_id.',
    ],
    guarantee:
      'Each range is one snapshot; a record that moves between ranges during the export may be missed or read twice.',
    ...overrides,
  });
}

/** The same run with nothing wrong. */
export function makeGoodReport(): Report {
  const report = makeReport('');
  const first = { different: [], missing: [], extra: [], unchecked: [], changed: [] };
  return reportSchema.parse({
    ...report,
    run: 'words',
    verdict: 'validated',
    summary:
      'Validated, pgvector words to lancedb words: all 10,000 records compared and equal. The recall@10 of the target is 99.85%, at least 99.12% with 95% confidence.',
    source: { store: 'pgvector', collection: 'words' },
    target: { store: 'lancedb', collection: 'words' },
    findings: [],
    counts: {
      source: 10_000,
      manifest: 10_000,
      skipped: 0,
      gone: 0,
      target: 10_000,
      expected: 10_000,
      agree: true,
      extra: 0,
      extraIds: [],
      note: '',
    },
    compare: {
      asked: 'all',
      records: 10_000,
      equal: 10_000,
      changed: 0,
      different: 0,
      missing: 0,
      extra: 0,
      unchecked: 0,
      notInSample: 0,
      duplicates: 0,
      skipped: 0,
      first,
    },
    recall: {
      vectors: [
        {
          vector: 'embedding',
          targetVector: 'vector',
          distance: 'cosine',
          k: 10,
          atLeast: 0.95,
          candidates: 10_000,
          source: side(1, 0.9817, 1, 6.2),
          target: side(0.9985, 0.9912, 0.9998, 2.1),
          outcome: 'passed',
          note: 'The recall@10 of the target is 99.85%, at least 99.12% with 95% confidence.',
        },
      ],
    },
    skipped: { records: 0, ids: [] },
    throttled: 0,
    estimate: { records: 10_000, bytes: 4_400_000, shards: 1, seconds: 12, usd: 0 },
    actual: { records: 10_000, bytes: 4_412_000, shards: 1, seconds: 9.4 },
    notes: ['words has no vector index; the target gets none.'],
  });
}
