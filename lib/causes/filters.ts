import { fieldInTarget } from '../mapping/names.ts';
import { patiently } from '../patiently.ts';
import { latencyOf } from '../recall/recall-summary.ts';
import { openSide } from '../recall/search-side.ts';
import type { Cause, RecallEntry } from '../run-files.ts';
import { milliseconds, percent } from '../words.ts';
import { type Experiment, leastGain, unlessRefused } from './experiment.ts';
import type { Found } from './settings.ts';

/** Stores in which a filter on a field without a payload index is slow, or makes a search miss: the others index every field, or none. */
const storesWithPayloadIndexes: readonly string[] = ['qdrant', 'pgvector'];

/** The same vectors searched without their filters. */
export interface Unfiltered {
  /** The share of what an exact search answers that the search as it is answers too. */
  readonly recall: number;
  /** Median milliseconds. */
  readonly p50: number;
}

/** undefined where the set has no filter, or where the store cannot tell what it misses. */
export async function tryUnfiltered(experiment: Experiment): Promise<Unfiltered | undefined> {
  return await unlessRefused(() => askUnfiltered(experiment));
}

async function askUnfiltered({ plan, target, entry, truths }: Experiment): Promise<Unfiltered | undefined> {
  if (truths.every(({ filter }) => filter.length === 0)) return undefined;
  const { vector, settings } = await openSide({ plan, side: 'target', store: target, vector: entry.vector });
  const millis: number[] = [];
  let recall = 0;
  for (const { values: query } of truths) {
    const request = { vector, query, k: entry.k };
    const exact = await patiently(() => target.search({ ...request, exact: true }));
    const start = performance.now();
    const hits = await patiently(() => target.search({ ...request, settings }));
    millis.push(performance.now() - start);
    const found = new Set(hits.map(({ id }) => id));
    const share = exact.length === 0 ? 1 : exact.filter(({ id }) => found.has(id)).length / exact.length;
    recall += share / truths.length;
  }
  return { recall, p50: latencyOf(millis).p50 };
}

/** True where the filter is what makes the search miss: without it less than half as much is missing. */
export function isFilterAlone({ base }: Experiment, unfiltered: Unfiltered | undefined): boolean {
  return unfiltered !== undefined && 1 - unfiltered.recall <= (1 - base.recall) / 2;
}

/**
 * A filtered field that the target has no payload index on, where the filter is what makes the search miss.
 * @param remaining recall that no setting has brought back
 */
export function payloadIndexCause(
  experiment: Experiment,
  unfiltered: Unfiltered | undefined,
  remaining: number,
): readonly Found[] {
  const { plan, described, truths, base, entry, figure } = experiment;
  if (unfiltered === undefined || !isFilterAlone(experiment, unfiltered)) return [];
  if (!storesWithPayloadIndexes.includes(plan.event.target.store)) return [];
  const indexed = new Set(described.schema.payloadIndexes.map(({ field }) => field));
  const inSource = new Set(plan.source.payloadIndexes.map(({ field }) => field));
  const fields = [...new Set(truths.flatMap(({ filter }) => filter.map(({ field }) => field)))];
  const missing = fields.filter((field) => !indexed.has(nameInTarget(plan, field)));
  const lost = missing.filter((field) => inSource.has(field));
  // A setting that brings most of it back is the cause then, unless the source has the index that the target lacks.
  const isMended = remaining < Math.max(leastGain, (1 - base.recall) / 3);
  if (missing.length === 0 || (isMended && lost.length === 0)) return [];
  const named = missing.map((field) => nameInTarget(plan, field)).join(', ');
  const hadIt = lost.length === 0 ? '' : ` The source has one on ${lost.join(', ')}.`;
  const cause: Cause = {
    cause: 'payload index missing',
    check: 'recall',
    set: entry.set,
    vector: entry.vector,
    what: `The target has no payload index on ${named}, which the searches filter by.${hadIt}`,
    evidence: `${figure} is ${percent(base.recall)} with the filter, in ${milliseconds(base.p50)}; without it the same searches find ${percent(unfiltered.recall)} of what an exact search does, in ${milliseconds(unfiltered.p50)}.`,
    next: `${createText(plan.event.target.store, named)}, and validate the run again.`,
  };
  return [{ cause, gain: lost.length > 0 ? unfiltered.recall - base.recall : remaining }];
}

function nameInTarget({ mapping }: Experiment['plan'], field: string): string {
  const there = fieldInTarget(mapping, field);
  return 'name' in there ? there.name : field;
}

function createText(store: string, fields: string): string {
  if (store === 'pgvector') return `Create an index (CREATE INDEX, btree, or GIN for jsonb) on ${fields}`;
  return `Create a payload index on ${fields}, then let the HNSW graph be built again, which links records by it`;
}

/** A store that will not search by a field without an index says so itself (Qdrant's strict mode). */
export function refusedFilterCause(
  { plan, described, truths }: Pick<Experiment, 'plan' | 'described' | 'truths'>,
  { set, vector, target }: RecallEntry,
): readonly Cause[] {
  if (target.measured || !/index/i.test(target.reason)) return [];
  const indexed = new Set(described.schema.payloadIndexes.map(({ field }) => field));
  const filters = truths.filter(({ query }) => query.set === set).flatMap(({ filter }) => filter);
  const fields = [...new Set(filters.map(({ field }) => field))];
  const names = fields.map((field) => nameInTarget(plan, field));
  const missing = names.filter((field) => !indexed.has(field) && target.reason.includes(field));
  if (missing.length === 0) return [];
  const named = missing.join(', ');
  return [
    {
      cause: 'payload index missing',
      check: 'recall',
      set,
      vector,
      what: `The target has no payload index on ${named}, and refuses to be searched by it.`,
      evidence: `It answers: ${target.reason}`,
      next: `${createText(plan.event.target.store, named)}, and validate the run again.`,
    },
  ];
}
