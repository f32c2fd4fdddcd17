import { describe, expect, test } from '@jest/globals';
import { type EmbeddingReport, embeddingFinding, readEmbedding } from '../../../lib/embed/stage/embedding-report.ts';
import { runKeys } from '../../../lib/keys.ts';
import { embeddingSection } from '../../../lib/page/embedding.ts';
import { findingsOf } from '../../../lib/report/findings.ts';
import type { Plan } from '../../../lib/run-files.ts';
import { memoryObjects } from '../../local/memory-objects.ts';
import { makePlan } from '../../make-plan.ts';
import { makeGoodReport } from '../../make-report.ts';

const embedPlan: NonNullable<Plan['embed']> = {
  vector: 'embedding',
  text: '{title}',
  model: {
    provider: 'openai',
    name: 'new',
    version: '2',
    dimensions: 8,
    distance: 'cosine',
    maxInputTokens: 512,
    usdPerMillionTokens: 2,
    isMatryoshka: false,
  },
  records: 'all',
  longText: 'fail',
  mark: { model: 'embedding_model', version: null },
  estimate: { texts: 100, tokens: 900, usd: 0.0018, seconds: 4, sampled: 100, formula: [] },
};
const progress = {
  done: true,
  model: { provider: 'openai', name: 'new', version: '2' },
  records: 100,
  pending: 3,
  processing: 2,
  completed: 90,
  failed: 2,
  withoutText: 3,
  failures: [
    { id: '7', reason: 'has 900 tokens, and new takes 512' },
    { id: '8', reason: 'was refused' },
  ],
  copied: 0,
  shared: 4,
  texts: 86,
  tokens: 800,
  usd: 0.0016,
  requests: 9,
  throttled: 1,
  shards: 2,
  startedAt: '2026-01-01T00:00:00.000Z',
  at: '2026-01-01T00:00:05.500Z',
};
const plan: Plan = { ...makePlan(), embed: embedPlan };
const objects = (content: object) => memoryObjects({ [runKeys(plan.run).embedding]: JSON.stringify(content) });
const read = async (own = plan, content: object = progress): Promise<EmbeddingReport> => {
  const found = await readEmbedding(objects(content), own);
  if (found === null) throw new Error('there is nothing to report');
  return found;
};

describe('what the report says of an embedding', () => {
  test('is each record by its status, and what it took beside what was planned', async () => {
    expect(await read()).toMatchObject({
      model: { name: 'new', version: '2', dimensions: 8 },
      old: null,
      isNew: false,
      completed: 90,
      failed: 2,
      withoutText: 3,
      pending: 5,
      tokens: 800,
      usd: 0.0016,
      seconds: 5.5,
      estimate: { tokens: 900, usd: 0.0018, seconds: 4 },
      budget: { usd: null, tokens: null, minutes: null },
    });
  });

  test('is nothing of a run that makes no vectors, or ended before it made any', async () => {
    expect(await readEmbedding(objects(progress), makePlan())).toBeNull();
    expect(await readEmbedding(memoryObjects({}), plan)).toBeNull();
  });

  test('names the old model, as the source was said to have it', async () => {
    const model = { name: 'old', version: '1' };
    const source = { ...plan.source, vectors: plan.source.vectors.map((each) => ({ ...each, model })) };
    expect((await read({ ...plan, source })).old).toEqual(model);
    const page = embeddingSection(await read({ ...plan, source })).markup;
    expect(page).toMatch(/by <b>new, version 2<\/b> \(openai, 8 dimensions\)\. The source’s is of old, version 1\./);
    expect(page).toContain('$0.0018');
  });
});

describe('texts that failed', () => {
  const found = async ({ missing = 0 } = {}) => {
    const good = makeGoodReport();
    const embedding = await read();
    const { counts, compare: compared, spotCheck, recall } = good;
    if (counts === null || compared === null || spotCheck === null || recall === null) throw new Error('not whole');
    const parts = { run: 'r1', mode: 'migrate', live: null, embedding, counts, spotCheck, recall } as const;
    const compare = { ...compared, missing, equal: compared.equal - missing };
    return findingsOf({ ...parts, tuning: [], compare, diagnosis: { causes: [] } });
  };

  test('are one finding with ids, the first reason and how they are taken up, because a new run would pay for all again', async () => {
    const [first] = await found({ missing: 2 });
    expect(first).toMatchObject({ check: 'embedding', severity: 'failed', ids: ['7', '8'] });
    expect(first?.what).toMatch(/2 of 100 records could not be embedded by new.*'7': has 900 tokens/);
    expect(first?.next).toContain('vecferry run EVENT --run r1 --only failed');
  });

  test('are not told of twice as missing records, and others that are missing are', async () => {
    const missing = (list: Awaited<ReturnType<typeof found>>) =>
      list.filter(({ check }) => check === 'compare').map(({ what }) => what);
    expect(missing(await found({ missing: 2 }))).toEqual([]);
    expect(missing(await found({ missing: 5 }))).toEqual([
      '3 records are missing in the target, besides those that could not be embedded',
    ]);
  });

  test('are no finding where there are none', async () => {
    expect(embeddingFinding('r1', { ...(await read()), failed: 0, failures: [] })).toBeUndefined();
  });
});
