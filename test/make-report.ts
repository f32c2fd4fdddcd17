/** Over 400 lines: reports with something in every part, which are one literal each. */
import { type Report, reportSchema, reportSchemaId } from '../lib/report/report-schema.ts';
import type { RecallEntry, RecallSide } from '../lib/run-files.ts';

const side = (mean: number, low: number, high: number, p50: number): RecallSide => ({
  measured: true,
  queries: 200,
  mean,
  low,
  high,
  worst: mean === 1 ? [] : [{ id: 'quiet', recall: 0.6 }],
  spread: [0, 0, 0, 0, 0, 0, mean === 1 ? 0 : 1, 0, 0, mean === 1 ? 0 : 20, mean === 1 ? 200 : 179],
  depths: [
    { depth: 1, mean, low, high },
    { depth: 10, mean, low, high },
    { depth: 100, mean: mean * 0.98, low: low * 0.97, high },
  ],
  ndcg: mean,
  rbo: mean,
  short: 0,
  latency: { min: p50 / 2, p50, p95: p50 * 2.1, p99: p50 * 5.3, max: p50 * 9, mean: p50 * 1.2, deviation: p50 / 3 },
});

/** Three settings tried, the last but one the cheapest that holds the goal. */
export function makeTuning(text: string): NonNullable<Report['tuning']> {
  const tried = (efSearch: number, mean: number, low: number, p50: number) => ({
    settings: { efSearch },
    queries: 200,
    mean,
    low,
    high: Math.min(1, mean + 0.01),
    p50,
    p95: p50 * 2,
  });
  return [
    {
      set: 'news since 2020',
      targetVector: 'body',
      k: 10,
      atLeast: 0.95,
      curve: [
        { ...tried(40, 0.884, 0.852, 1.31), settings: {} },
        tried(80, 0.931, 0.905, 1.62),
        tried(160, 0.978, 0.958, 2.4),
        tried(320, 0.991, 0.979, 4.35),
      ],
      chosen: { efSearch: 160 },
      kept: false,
      how: `Say "params": {"hnsw_ef": 160} with each search. ${text}`,
    },
  ];
}

/** A set with examples side by side, and one that could not be asked. */
export function makeDrift(text: string): NonNullable<Report['drift']> {
  const shown = (id: string, words: string, isCommon: boolean) => {
    return { id, text: words, isCommon, isExpected: id === '12158443-n' };
  };
  const example = (id: string, words: string, overlap: number) => ({
    id,
    text: words,
    overlap,
    source: [
      shown('07996689-n', 'the hard inner layer of the pericarp of some fruits that contains the seed', true),
      shown('12158443-n', 'a small hard fruit', false),
      shown('11683989-n', `the brown seedlike fruit ${text}`, false),
      shown('13139647-n', '', true),
      shown('90071992547409931', 'edible seed of any of various nut trees', false),
    ],
    target: [
      shown('07996689-n', 'the hard inner layer of the pericarp of some fruits that contains the seed', true),
      shown('00004258-n', `a living (or once living) entity ${text}`, false),
    ],
  });
  return {
    changed: `titan-embed-text (v2), 512 floats, in place of glove (6B) ${text}`,
    sets: [
      {
        measured: true,
        set: 'news since 2020',
        vector: 'body',
        sourceVector: 'body',
        targetVector: 'body',
        k: 10,
        queries: 188,
        without: 12,
        isOwnLeftOut: true,
        overlap: { mean: 0.412, low: 0.381, high: 0.444 },
        spread: [9, 17, 30, 41, 33, 28, 14, 9, 5, 2, 0],
        depths: [
          { depth: 1, mean: 0.36, low: 0.291, high: 0.433 },
          { depth: 100, mean: 0.47, low: 0.451, high: 0.489 },
        ],
        rbo: { mean: 0.385, low: 0.352, high: 0.419 },
        correlation: { mean: -0.213, low: -0.262, high: -0.161 },
        examples: [
          example('12145895-n', `a plant or fruit that resembles a nut ${text}`, 0),
          example('q17', text, 0.1),
        ],
      },
      {
        measured: false,
        set: 'judged by editors',
        vector: 'title',
        reason: `no query has a vector for the source ${text}`,
      },
    ],
  };
}

export function makeSettings(text: string): NonNullable<Report['settings']> {
  const row = (group: string, setting: string, source: string | null, target: string | null) => ({
    group,
    setting,
    source,
    target,
    differs: source !== target,
  });
  return [
    row('collection', 'store', 'pgvector', 'qdrant'),
    row('collection', 'ids', 'integer', 'integer'),
    row('vector title', 'dimension', '384', '384'),
    row('vector title', 'distance', 'cosine', 'cosine'),
    row('vector title', 'precision', 'float32', 'float32'),
    row('vector title', 'index', 'hnsw', 'hnsw'),
    row('vector title', 'm', '16', '16'),
    row('vector title', 'efConstruction', '64', '100'),
    row('vector title', 'efSearch', '40', '128'),
    row('payload indexes', 'topic', 'btree', null),
    { ...row("the store's own", `optimizers_config.${text}`, null, `20000 ${text}`), differs: false },
  ];
}

export function makeTimeline(): NonNullable<Report['timeline']> {
  const between = (from: number, to: number, rate: number) =>
    Array.from({ length: 60 }, (_, at) =>
      at < from || at >= to ? 0 : Math.round(rate * (0.7 + 0.3 * Math.sin(at * 1.7))),
    );
  const stage = (name: 'export' | 'import' | 'compare' | 'search', from: number, to: number, rate: number) => ({
    stage: name,
    records: 1_204_331,
    perSecond: between(from, to, rate),
  });
  return {
    startedAt: '2026-11-21T08:00:04.000Z',
    stepSeconds: 26.2,
    stages: [
      stage('export', 0, 14, 4200),
      stage('import', 1, 31, 1700),
      stage('compare', 38, 53, 3600),
      stage('search', 40, 58, 2900),
    ],
  };
}

/** An entry of a filtered set that failed its goal, with gold; `at` tells several apart. */
export function makeFilteredEntry(text: string, at = 0): RecallEntry {
  const goldSide = { measured: true, queries: 40, recall: 0.82, low: 0.74, high: 0.89, ndcg: 0.77 } as const;
  const found = (mean: number, low: number, high: number, p50: number): RecallSide => ({
    ...side(mean, low, high, p50),
    ...{ short: 3 },
  });
  return {
    set: at === 0 ? 'news since 2020' : `set ${at} of many`,
    vector: 'body',
    targetVector: 'body',
    distance: 'cosine',
    filter: { topic: `news ${text}`, year: { gte: 2020 }, lang: { in: ['en', 'de'] } },
    k: 10,
    atLeast: at % 5 === 4 ? null : 0.95,
    candidates: 41_200,
    settings: { efSearch: 40 },
    source: found(0.963, 0.951, 0.977, 6.3 + at),
    target: found(0.884, 0.852, 0.915, 1.31 + at / 4),
    gold: {
      queries: 40,
      k: 10,
      atLeast: at % 2 === 0 ? 0.9 : null,
      source: at === 1 ? { measured: false, reason: `its vectors are of another model (${text})` } : goldSide,
      target: { ...goldSide, recall: 0.71, low: 0.62, high: 0.8 },
      exact: { recall: 0.91, ndcg: 0.88 },
      difference: { queries: 40, mean: -0.11, low: -0.19, high: -0.02 },
      worst: [{ id: text, recall: 0.2 }],
      outcome: at === 0 ? 'failed' : 'reported',
      note: `The target finds 71.00% of the ids that 40 gold queries expect among the first 10, at least 62.00% with 95% confidence, below the 90.00% asked for; the source finds 82.00%. ${text}`,
    },
    outcome: at % 5 === 4 ? 'reported' : 'failed',
    note: `The recall@10 of the target is 88.40%, at least 85.20% with 95% confidence, and the goal is 95.00%. ${text}`,
  };
}

/** What a live run wrote meanwhile; some of it is not on both sides. */
export function makeLive(text: string): NonNullable<Report['live']> {
  const named = (count: number, reason: string) =>
    Array.from({ length: count }, (_, i) => ({ id: i === 0 ? text : `${21_000 + i}`, reason: `${reason} ${text}` }));
  return {
    flag: `articles ${text}`,
    since: '2026-11-21T08:00:03.000Z',
    sweptFrom: '2026-11-21T08:24:00.000Z',
    sweptTo: '2026-11-21T08:25:12.000Z',
    changed: 4120,
    added: 311,
    deleted: 27,
    tombstones: 29,
    mended: 13,
    missing: 2,
    different: 1,
    extra: 1,
    unchecked: 1,
    note: text,
    first: {
      mended: named(13, 'is in the source and not in the target, where its id is 7'),
      missing: named(2, 'is in the source and not in the target; it could not be mended: the vector has 3 dimensions'),
      different: named(1, 'payload field price: expected 12.50, found 13'),
      unchecked: named(1, 'cannot be read from the target: a broken page'),
    },
  };
}

const makeEmbedding = (text: string): Report['embedding'] => ({
  vector: `body ${text}`,
  text: `{title}: {abstract} ${text}`,
  which: 'all',
  model: { provider: 'bedrock', name: 'amazon.titan-embed-text-v2:0', version: '2', dimensions: 512 },
  old: { name: `all-MiniLM-L6-v2 ${text}` },
  isNew: false,
  mark: { model: 'embedding_model', version: 'embedding_version' },
  records: 1_204_331,
  completed: 1_204_300,
  failed: 12,
  withoutText: 19,
  pending: 0,
  copied: 0,
  shared: 3_120,
  texts: 1_201_180,
  tokens: 310_204_118,
  usd: 6.2041,
  requests: 1_201_180,
  throttled: 14,
  seconds: 62_040,
  estimate: { texts: 1_204_331, tokens: 322_118_004, usd: 6.4424, seconds: 64_424 },
  budget: { usd: 10, tokens: null, minutes: 1_500 },
  failures: Array.from({ length: 12 }, (_, i) => ({
    id: i === 0 ? text : `${19_000 + i}`,
    reason: `has 9,120 tokens, and amazon.titan-embed-text-v2:0 takes 8,192 ${i === 1 ? text : ''}`,
  })),
});

const makeMappingReport = (text: string): Report['mapping'] => ({
  rules: [
    { field: 'rule archived', what: 'drops records with {"archived":true}' },
    { field: `status ${text}`, what: 'becomes state; 2 values and 1 pattern mapped, others drop their record' },
    { field: 'slug', what: `added: made of {category}-{id} ${text}` },
  ],
  looked: 5_000,
  records: 1_204_331,
  counted: ['status'],
  findings: [
    {
      kind: 'dropped',
      field: 'payload.status',
      what: `rule 'payload.status' leaves out 5 of all 1,204,331 records; first ids 7, ${text}`,
      records: 5,
      ids: ['7', text],
      isWhole: true,
    },
  ],
});

/** A report with something in every part, and `text` wherever text of others can come in. Overrides replace whole parts. */
export function makeReport(text: string, overrides: Partial<Report> = {}): Report {
  const named = (count: number, reason: string) =>
    Array.from({ length: count }, (_, i) => ({
      id: i === 0 ? text : `${19_000 + i}`,
      reason: i === 1 ? `${reason} ${text}` : reason,
    }));
  return reportSchema.parse({
    $schema: reportSchemaId,
    format: 1,
    mode: 'migrate',
    ranOn: 'aws',
    unread: [],
    tuning: makeTuning(text),
    drift: makeDrift(text),
    live: makeLive(text),
    embedding: makeEmbedding(text),
    index: null,
    mapping: makeMappingReport(text),
    settings: makeSettings(text),
    timeline: makeTimeline(),
    run: 'articles-2026-11-21',
    verdict: 'failed',
    summary: `Failed, pgvector public.articles to qdrant articles: 14 records are not the same in the target; 3 records are missing in the target. Nothing was cut over, and the source is untouched. ${text}`,
    plannedAt: '2026-11-21T08:00:00.000Z',
    importedAt: '2026-11-21T08:21:40.000Z',
    createdAt: '2026-11-21T08:26:12.000Z',
    source: { store: 'pgvector', collection: `public.articles ${text}` },
    target: { store: 'qdrant', collection: 'articles' },
    failure: null,
    takenBack: null,
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
        severity: 'failed',
        what: `news since 2020, vector body: the recall@10 of the target is 88.40%, at least 85.20% with 95% confidence`,
        ids: ['7', '19'],
        next: 'Do as the causes say, and validate the run again.',
        set: 'news since 2020',
        vector: 'body',
        causes: [
          {
            cause: 'payload index missing',
            check: 'recall',
            what: `The target has no payload index on topic. ${text}`,
            evidence: 'The source has one; with the same queries and no filter the recall is 97.40%.',
            next: 'Create a keyword index on topic, and validate the run again.',
          },
          {
            cause: 'efSearch too low',
            check: 'recall',
            what: 'The target is searched with efSearch 40.',
            evidence: `With efSearch 160 the same 40 queries reach 97.80%. ${text}`,
            next: 'Search with efSearch 160.',
          },
        ],
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
      startedAt: '2026-07-31T10:04:00.000Z',
      endedAt: '2026-07-31T10:05:00.000Z',
      records: 1_204_331,
      equal: 1_204_298,
      nearNumbers: 0,
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
      sets: [
        {
          set: 'sampled',
          filter: null,
          settings: {},
          gold: null,
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
          set: 'sampled',
          filter: null,
          settings: {},
          gold: null,
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
        makeFilteredEntry(text),
      ],
    },
    skipped: {
      records: 12,
      ids: ['411', '988', text],
      dropped: [{ rule: `archived ${text}`, records: 5, ids: ['7', text] }],
    },
    schema: {
      fingerprint: 'b8c1',
      shards: 2,
      changes: [
        {
          name: `rank ${text}`,
          how: 'defaulted',
          records: 1234,
          said: `field 'rank ${text}': default taken in 1,234 records`,
        },
        { name: 'note', how: 'removed', records: 1200, said: "field 'note': skipped in 1,200 records" },
      ],
    },
    throttled: 3,
    estimate: { records: 1_204_000, bytes: 1_850_000_000, shards: 58, seconds: 1700, usd: 0.42 },
    actual: { records: 1_204_331, bytes: 1_851_204_881, shards: 59, seconds: 1572, usd: 0.39 },
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
    ranOn: 'one machine',
    tuning: null,
    drift: null,
    live: null,
    embedding: null,
    index: null,
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
      startedAt: '2026-07-31T10:04:00.000Z',
      endedAt: '2026-07-31T10:05:00.000Z',
      records: 10_000,
      equal: 10_000,
      nearNumbers: 0,
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
      sets: [
        {
          set: 'sampled',
          filter: null,
          settings: {},
          gold: null,
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
    schema: null,
    throttled: 0,
    estimate: { records: 10_000, bytes: 4_400_000, shards: 1, seconds: 12, usd: 0 },
    actual: { records: 10_000, bytes: 4_412_000, shards: 1, seconds: 9.4, usd: 0 },
    notes: ['words has no vector index; the target gets none.'],
  });
}

/** A live run with nothing wrong: writes went on, and a few had to be mended. */
export function makeLiveReport(): Report {
  const report = makeGoodReport();
  const live = makeLive('19000');
  return reportSchema.parse({
    ...report,
    summary:
      'Validated, pgvector words to lancedb words: all 10,000 records compared and equal. Meanwhile the application changed 412 records, added 31 and deleted 27, and both sides hold the same of them. 3 records had to be mended, since a write had not reached both sides.',
    counts: {
      ...report.counts,
      source: 10_006,
      gone: 27,
      added: 31,
      target: 10_005,
      expected: 10_004,
      agree: false,
      note: 'The application wrote to both sides meanwhile: these are counts of a moment, which need not agree.',
    },
    live: {
      ...live,
      flag: 'words',
      ...{ changed: 412, added: 31, mended: 3, missing: 0, different: 0, extra: 0, unchecked: 0, note: '' },
      first: {
        mended: live.first.mended
          .slice(0, 3)
          .map(({ id }) => ({ id, reason: 'is in the source and not in the target' })),
        missing: [],
        different: [],
        unchecked: [],
      },
    },
  });
}

/** Ten thousand records of each kind that differ: a hundred of each are named. */
export function makeManyDifferences(): Report {
  const report = makeReport('');
  const named = (kind: string) =>
    Array.from({ length: 100 }, (_, at) => ({
      id: `${kind}-${at}-00000000-0000-4000-8000-${String(at).padStart(12, '0')}`,
      reason: `payload field body: expected ${'"lorem ipsum" '.repeat(12)}, found null`,
    }));
  const compare = report.compare;
  if (compare === null) throw new Error('makeReport compares');
  const ids = named('x').map(({ id }) => id);
  return reportSchema.parse({
    ...report,
    findings: report.findings.map((each) => ({ ...each, ids })),
    compare: {
      ...compare,
      different: 10_000,
      missing: 10_000,
      extra: 10_000,
      unchecked: 10_000,
      first: {
        different: named('different'),
        missing: named('missing'),
        extra: named('extra'),
        unchecked: named('unchecked'),
        changed: named('changed'),
      },
    },
  });
}

/** A run that ended while it prepared the target. */
export function makeEarlyReport(): Report {
  const message = 'collection articles holds 12 records that this run did not write.';
  return makeReport('', {
    summary: `Failed with TargetNotEmpty: ${message}`,
    failure: { error: 'TargetNotEmpty', message, ids: [] },
    findings: [
      {
        check: 'run',
        severity: 'failed',
        what: message,
        ids: [],
        causes: [],
        next: 'Name a new collection, or say "into": "existing".',
      },
    ],
    counts: null,
    compare: null,
    spotCheck: null,
    live: null,
    embedding: null,
    index: null,
    recall: null,
    tuning: null,
    drift: null,
    settings: null,
    timeline: null,
    skipped: null,
    schema: null,
    importedAt: null,
    actual: null,
    throttled: 0,
    unread: ['how far the run came could not be read: shard 00000-000.json is not JSON'],
  });
}
