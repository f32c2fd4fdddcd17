import type { CheckReport } from '../lib/migrate/checks/check.ts';

/** Reports of `vecferry migrate check`. */

export function makeGoodCheckReport(more: Partial<CheckReport> = {}): CheckReport {
  return {
    format: 1,
    at: '2026-11-22T01:00:00.000Z',
    release: '0.1.0',
    migrations: { applied: 3, last: '003_notes', seq: 5 },
    passed: true,
    tally: { ok: 1, wrong: 0, unchecked: 0 },
    stores: [
      {
        name: 'db',
        store: 'pgvector',
        results: [{ what: '"articles": its columns', verdict: 'ok', detail: '4 columns' }],
      },
    ],
    ...more,
  };
}

/** With one of everything. @param text as a name and within what is told */
export function makeCheckReport(text: string): CheckReport {
  return makeGoodCheckReport({
    passed: false,
    tally: { ok: 3, wrong: 2, unchecked: 1 },
    migrations: { applied: 12, last: `012_${text}`, seq: 31 },
    stores: [
      {
        name: 'db',
        store: 'pgvector',
        results: [
          { what: `"${text}": trigger touched`, verdict: 'wrong', detail: `it is not there; make it again: ${text}` },
          {
            what: 'public.articles: foreign key author',
            verdict: 'wrong',
            detail: '3 orphans: 17, 18, 21; delete them',
          },
          {
            what: `public.articles: constraint ${text}`,
            verdict: 'ok',
            detail: 'known',
            accepted: `of before 2019: ${text}`,
          },
          { what: 'public.articles: index a is valid', verdict: 'ok', detail: `btree, 16 kB, ${text}` },
          { what: 'table public.articles', verdict: 'ok', detail: '12,000 rows' },
        ],
      },
      { name: text, store: 'qdrant', results: [{ what: `store ${text}`, verdict: 'unchecked', detail: 'it is away' }] },
      { name: 'empty', store: 'chroma', results: [] },
    ],
  });
}
