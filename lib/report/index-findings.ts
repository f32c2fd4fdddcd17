import type { IndexReport } from '../index-change/index-report.ts';
import type { Finding } from './report-schema.ts';

/** Where the new index was taken back, what was searched was the old one: nothing of the new one is proved. */
export function indexFindings(run: string, index: IndexReport | null): readonly Finding[] {
  if (index?.how !== 'instead' || index.used !== 'old') return [];
  const what = 'the collection has its old index, so the new one was not searched';
  const next = `Start the run again: vecferry run EVENT --run ${run} builds the new index and validates it.`;
  return [{ check: 'recall', severity: 'unproven', what, ids: [], next, causes: [] }];
}

/** What to do about a goal that is missed. */
export const nextIndex =
  'Let the application search deeper (HNSW: efSearch, IVFFlat: probes; validate.recall.search says so), or start a run under another id with other settings; or, if this is good enough, ask for less in validate.recall.atLeast.';
