import type { Plan, RecallEntry, RecallSide } from '../run-files.ts';
import type { SearchSettings } from '../schema.ts';
import { count, percent, plural } from '../words.ts';
import type { Answers, KeptAnswer } from './answers.ts';
import { type GoldInput, summariseGold } from './gold.ts';
import { queriesNeeded, recallInterval } from './interval.ts';
import type { SourceSpace } from './query-space.ts';
import type { SearchedVector } from './searched-vectors.ts';
import type { Truth } from './truths.ts';

/** Makes the figures of a query set from what both sides answered, and holds them against its goal. */

const maxWorst = 10;

/** A query set and one of the vectors that it searches. */
export interface AskedSet {
  readonly name: string;
  readonly vector: string;
  readonly searched: SearchedVector;
  /** Queries that have something to find. */
  readonly truths: readonly Truth[];
  /** Queries of the set whose filter no record with the vector meets. */
  readonly without: number;
  readonly isSampled: boolean;
  readonly filter: Truth['query']['filter'] | null;
  readonly k: number;
  readonly atLeast: number | null;
  readonly goldAtLeast: number | null | undefined;
  /** Where the source's vectors are others than the target's: its answers are not held against the truth. */
  readonly source: SourceSpace | undefined;
  /** Other depths, ascending. */
  readonly depths: readonly number[];
  /** Sent with each search of the target. */
  readonly settings: SearchSettings;
  /** Of the target itself, and not sent. */
  readonly kept: SearchSettings | undefined;
}

export interface MeasuredSet extends AskedSet {
  readonly answers: readonly Answers[];
}

export function summarise(plan: Plan, set: MeasuredSet): RecallEntry {
  const { name, vector, searched, truths, k, atLeast, filter, settings, kept } = set;
  const candidates = truths.reduce((least, truth) => Math.min(least, truth.candidates), Number.POSITIVE_INFINITY);
  const about = {
    set: name,
    vector,
    targetVector: searched.targetVector,
    distance: searched.distance,
    filter: filter ?? null,
    k,
    atLeast,
    candidates: Number.isFinite(candidates) ? candidates : 0,
    settings: { ...settings, ...kept },
    gold: goldOf(set),
  };
  if (truths.length === 0) {
    const isFiltered = filter !== null || set.without > 0;
    const what = isFiltered ? 'no record meets its filter' : 'no record has this vector';
    const side: RecallSide = { measured: false, reason: what };
    const said = `${what.charAt(0).toUpperCase()}${what.slice(1)}, so there is nothing to search for`;
    // A filter that finds nothing may be a field's name misspelt: what was asked to be proved is not.
    const isUnproven = isFiltered && atLeast !== null;
    const note = `${said}${isUnproven ? `, and its goal of ${percent(atLeast)} is not proved` : ''}.`;
    return { ...about, source: side, target: side, outcome: isUnproven ? 'unproven' : 'nothing to measure', note };
  }
  const target = summariseSide('target', set);
  const { outcome, note } = judge(target, set);
  return {
    ...about,
    source: summariseSide('source', set),
    target,
    outcome,
    note: [note, ...remarks(plan, set)].join(' '),
  };
}

/** What a person should know to read the figures. */
function remarks(plan: Plan, { name, vector, searched, source, k, without, atLeast, answers }: MeasuredSet): string[] {
  const own = plan.source.vectors.find((each) => each.name === vector)?.distance;
  const asked = plan.event.validate.recall?.sets.find((each) => each.name === name)?.k ?? plan.event.validate.recall?.k;
  const found: string[] = [];
  if (source === undefined && own !== undefined && own !== searched.distance) {
    found.push(`The source ranks by ${own}, and is held against the ${searched.distance} that the mapping asks for.`);
  }
  if (asked !== undefined && k < asked) found.push(`No query has more than ${plural(k, 'record')} to find.`);
  if (without > 0) {
    const has = without === 1 ? 'query is' : 'queries are';
    found.push(`${count(without)} ${has} left out, since no record meets the filter.`);
  }
  const corrected = answers.flatMap((part) => part.target.answers).filter((each) => each.candidates !== undefined);
  if (corrected.length > 0) {
    const near = `Near ${plural(corrected.length, 'query')} records were written since the export`;
    found.push(`${near}: ${corrected.length === 1 ? 'it is' : 'they are'} held against what the source holds now.`);
  }
  if (atLeast === null) found.push('It is held against no goal.');
  return found;
}

function summariseSide(side: 'source' | 'target', { answers, truths, k, depths, isSampled }: MeasuredSet): RecallSide {
  const failure = answers.find((part) => part[side].failure !== undefined)?.[side].failure;
  if (failure !== undefined) return { measured: false, reason: failure };
  const all = answers.flatMap((part) => part[side].answers);
  // A sample stands for the records it was drawn from; queries that somebody chose stand for more than themselves.
  const population = isSampled ? truths[0]?.candidates : undefined;
  const recalls = all.map(({ recall }) => recall);
  const worst = recalls
    .map((recall, at) => ({ id: truths[at]?.query.id ?? '', recall }))
    .filter(({ recall }) => recall < 1)
    .sort((a, b) => a.recall - b.recall)
    .slice(0, maxWorst);
  return {
    measured: true,
    queries: all.length,
    ...recallInterval(recalls, k, population),
    spread: spreadOf(recalls),
    depths: depths.map((depth, i) => {
      const found = all.map((answer) => answer.depths[i] ?? 0);
      return { depth, ...recallInterval(found, depth, population) };
    }),
    ndcg: meanOf(all.map(({ ndcg }) => ndcg)),
    rbo: meanOf(all.map(({ rbo }) => rbo)),
    short: all.filter((answer, at) => isShort(answer, truths[at], k)).length,
    worst,
    latency: latencyOf(all.map(({ millis }) => millis)),
  };
}

function isShort({ hits, candidates }: KeptAnswer, truth: Truth | undefined, k: number): boolean {
  return truth !== undefined && hits < Math.min(k, candidates ?? truth.candidates);
}

/** Ten steps of a tenth from 0 on, and the queries without a miss. */
export function spreadOf(recalls: readonly number[]): number[] {
  const spread = Array.from({ length: 11 }, () => 0);
  // 0.7 * 10 may come out a little below 7.
  for (const recall of recalls) {
    const step = recall >= 1 ? 10 : Math.min(9, Math.floor(recall * 10 + 1e-9));
    spread[step] = (spread[step] ?? 0) + 1;
  }
  return spread;
}

function goldOf({ truths, k, goldAtLeast, source, answers }: MeasuredSet): RecallEntry['gold'] {
  const failureOf = (side: 'source' | 'target'): string | undefined =>
    answers.find((part) => part[side].failure !== undefined)?.[side].failure;
  const of = (side: 'source' | 'target'): GoldInput['source'] => {
    const reason = failureOf(side);
    return reason === undefined ? answers.flatMap((part) => part[side].answers.map(({ gold }) => gold)) : { reason };
  };
  const ofOld = (): GoldInput['source'] => {
    const reason = answers.find(({ sourceGold }) => sourceGold?.failure !== undefined)?.sourceGold?.failure;
    if (reason !== undefined) return { reason };
    return answers.flatMap(({ sourceGold }) => (sourceGold?.answers ?? []).map((gold) => gold ?? undefined));
  };
  const isChanged = source !== undefined;
  return summariseGold({
    truths,
    k,
    goldAtLeast,
    isChanged,
    source: isChanged ? ofOld() : of('source'),
    target: of('target'),
  });
}

type Latency = Extract<RecallSide, { measured: true }>['latency'];

/** @param millis one a search; the deviation is that of a sample, n - 1 */
export function latencyOf(millis: readonly number[]): Latency {
  const sorted = millis.toSorted((a, b) => a - b);
  const mean = meanOf(millis);
  const squares = millis.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return {
    min: percentile(sorted, 0),
    p50: percentile(sorted, 50),
    p95: percentile(sorted, 95),
    p99: percentile(sorted, 99),
    max: percentile(sorted, 100),
    mean,
    deviation: Math.sqrt(squares / Math.max(1, millis.length - 1)),
  };
}

/** The smallest value that at least `percent` of the values do not pass (nearest rank). @param sorted ascending */
export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

function judge(target: RecallSide, { k, atLeast }: MeasuredSet): Pick<RecallEntry, 'outcome' | 'note'> {
  if (!target.measured) {
    const note = `The target could not be searched: ${target.reason.replace(/\.$/, '')}.`;
    return { outcome: atLeast === null ? 'reported' : 'unproven', note };
  }
  const { low, mean, queries } = target;
  const figure = `The recall@${k} of the target is ${percent(mean)}, at least ${percent(low)} with 95% confidence`;
  if (atLeast === null) return { outcome: 'reported', note: `${figure}.` };
  if (low >= atLeast) return { outcome: 'passed', note: `${figure}.` };
  if (mean < atLeast) return { outcome: 'failed', note: `${figure}, below the ${percent(atLeast)} asked for.` };
  const needed = queriesNeeded(atLeast);
  const advice =
    queries < needed ? `; at least ${needed} queries are needed even without a miss` : '; ask more queries';
  const note = `${figure}: ${queries} queries are too few to show the ${percent(atLeast)} asked for${advice}.`;
  return { outcome: 'unproven', note };
}
