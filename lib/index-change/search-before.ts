import { setTimeout as sleep } from 'node:timers/promises';
import { conditionsOf } from '../filter.ts';
import { decodeFloats } from '../float-text.ts';
import { beforeKey } from '../keys.ts';
import { type Deadline, isNear } from '../log.ts';
import { type ObjectStore, putJson } from '../objects.ts';
import { readQueries } from '../recall/queries.ts';
import { orFailure, warmUps } from '../recall/recall.ts';
import { openSide, type Side, searchSide } from '../recall/search-side.ts';
import type { Manifest, Plan, Query } from '../run-files.ts';
import type { Store } from '../stores/port.ts';
import {
  type Answered,
  type Before,
  beforeHash,
  chosenByHash,
  depthsOf,
  queriesPerBefore,
  readBefore,
  readBeforePart,
} from './before-files.ts';
import { replacesIndex } from './index-change.ts';

export interface SearchBeforeInput {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly deadline: Deadline;
  /** Between two looks whether the old index is back, where an earlier try took the change back. */
  readonly waitMs?: number;
}

/**
 * Of a run whose new index replaces the old one as it is built, or beside whose new one the old one cannot be searched by itself: asks the
 * old index for every one of the run's queries before the change, at every depth that recall is measured at, with the time each took. What
 * is answered stands in `before/`, and is what "Measure recall" takes for the source's answers. Nothing is asked again that is there. Where
 * an earlier try of the run has begun to replace the old index, or to build the new one beside it, nothing is asked and nothing
 * overwritten: what then was not asked before is reported as not measured.
 */
export async function searchBefore(input: SearchBeforeInput): Promise<{ readonly done: boolean }> {
  const { plan, manifest, objects } = input;
  if (plan.event.validate.recall === null || manifest.records === 0) return { done: true };
  const { queries, of } = await readQueries(objects, plan.run);
  const there = await readBefore(objects, plan, { queries: queries.length, of });
  if (typeof there !== 'string') return { done: true };
  if (await isNewThere(input)) return { done: true };
  // Taken back by an earlier try: the index is the old one once it is built again.
  if (replacesIndex(plan) && plan.attempt > 1 && !(await settled(input))) return { done: false };

  const hash = { of: beforeHash(plan, of), chosenBy: chosenByHash(plan, manifest) };
  const call: Call = { ...input, hasAsked: false, sides: new Map(), failed: new Map() };
  for (let part = 0; part * queriesPerBefore < queries.length; part++) {
    const own = queries.slice(part * queriesPerBefore, (part + 1) * queriesPerBefore);
    const found = await readBeforePart(objects, plan.run, part);
    const now = new Date().toISOString();
    const kept: Before = found?.of === hash.of ? found : { ...hash, answers: [], startedAt: now, at: now };
    if (kept.answers.length === own.length) continue;
    await askAll(call, own, kept);
    await putJson(objects, beforeKey(plan.run, part), { ...kept, at: new Date().toISOString() });
    if (kept.answers.length < own.length) return { done: false };
  }
  return { done: true };
}

/** Where both are there at once it is not asked which one searches use by now: the planner may use the one or the other for each query. */
async function isNewThere({ plan, source }: SearchBeforeInput): Promise<boolean> {
  if (replacesIndex(plan)) return (await source.indexes?.used?.({})) === 'new';
  return (await source.indexes?.sizes())?.new !== undefined;
}

async function settled({ plan, source, deadline, waitMs = 2_000 }: SearchBeforeInput): Promise<boolean> {
  for (;;) {
    if ((await source.indexProgress(plan.source)).done) return true;
    if (isNear(deadline)) return false;
    await sleep(waitMs);
  }
}

interface Call extends SearchBeforeInput {
  hasAsked: boolean;
  /** Warm, by set and vector. */
  readonly sides: Map<string, Side>;
  /** Why a set cannot be searched by a vector. */
  readonly failed: Map<string, string>;
}

/** One query at least in every call. */
async function askAll(call: Call, queries: readonly Query[], { answers }: Before): Promise<void> {
  for (const query of queries.slice(answers.length)) {
    if (call.hasAsked && isNear(call.deadline)) return;
    const name = JSON.stringify([query.set, query.vector]);
    const side = call.sides.get(name) ?? (await warmSide(call, name, queries, query));
    answers.push(await askOne(call, name, side, query));
    call.hasAsked = true;
  }
}

async function askOne({ plan, failed }: Call, name: string, side: Side, query: Query): Promise<Answered> {
  const searches: Answered['searches'] = [];
  for (const k of depthsOf(plan, query)) {
    const known = failed.get(name);
    const found = known ?? (await orFailure(() => searchSide(side, asked(query), k)));
    if (typeof found === 'string') {
      failed.set(name, found);
      return { failure: found, searches: [] };
    }
    const hits = found.hits.map(({ id, score }) => ({ id, score }));
    searches.push({ k, hits, millis: found.millis });
  }
  return { searches };
}

/** A side that cannot be searched says so again when it is asked. */
async function warmSide(
  { plan, source, sides }: Call,
  name: string,
  queries: readonly Query[],
  first: Query,
): Promise<Side> {
  const side = await openSide({ plan, side: 'source', store: source, vector: first.vector });
  sides.set(name, side);
  const own = queries.filter(({ set, vector }) => set === first.set && vector === first.vector);
  for (const query of own.slice(0, warmUps)) {
    const [k = 1] = depthsOf(plan, query);
    if (typeof (await orFailure(() => searchSide(side, asked(query), k))) === 'string') break;
  }
  return side;
}

const asked = ({ values, filter }: Query) => ({
  values: decodeFloats(values),
  filter: filter === undefined ? [] : conditionsOf(filter),
});
