import { percent, plural } from '../words.ts';
import type { Gold, GoldSide } from './gold-files.ts';
import { type Interval, queriesNeeded, recallInterval } from './interval.ts';
import { type GoldAnswer, goldAnswer } from './measures.ts';
import type { Truth } from './truths.ts';

/** Makes the figures of a gold set from what both sides answered, and judges them. */

const maxWorst = 10;

export interface GoldInput {
  /** In the order of the answers. */
  readonly truths: readonly Truth[];
  readonly k: number;
  /** undefined: the event says nothing of it. null: it is reported only. */
  readonly goldAtLeast: number | null | undefined;
  /** True where the source's vectors are others than the target's: then it is what a set without a goal is held against. */
  readonly isChanged: boolean;
  /** One a truth, undefined where a query expects nothing or was not asked; or why the side was not searched. */
  readonly source: readonly (GoldAnswer | undefined)[] | { readonly reason: string };
  readonly target: readonly (GoldAnswer | undefined)[] | { readonly reason: string };
}

/** undefined where no query says what it expects. */
export function summariseGold(input: GoldInput): Gold | null {
  const { truths, k, goldAtLeast } = input;
  const gold = truths.flatMap(({ query: { id, expected }, nearest }, at) =>
    expected === undefined ? [] : [{ at, id, exact: exactAnswer(nearest, expected, k) }],
  );
  if (gold.length === 0) return null;
  const exact = {
    recall: meanOf(gold.map((each) => each.exact.recall)),
    ndcg: meanOf(gold.map((each) => each.exact.ndcg)),
  };
  const found = { source: sideOf(input.source, k), target: sideOf(input.target, k) };
  const difference = differenceOf(input);
  const targets = answersOf(input.target);
  const worst = gold
    .flatMap(({ at, id }) => (targets[at] === undefined ? [] : [{ id, recall: targets[at].recall }]))
    .filter(({ recall }) => recall < 1)
    .sort((a, b) => a.recall - b.recall)
    .slice(0, maxWorst);
  const about = { queries: gold.length, k, atLeast: goldAtLeast ?? null, ...found, exact, difference };
  return { ...about, worst, ...judge(input, about) };
}

function exactAnswer(nearest: Truth['nearest'], expected: readonly string[], k: number): GoldAnswer {
  return goldAnswer(
    nearest.map(({ id }) => id),
    new Set(expected),
    k,
  );
}

const answersOf = (side: GoldInput['source']): readonly (GoldAnswer | undefined)[] => ('reason' in side ? [] : side);

function sideOf(side: GoldInput['source'], k: number): GoldSide {
  if ('reason' in side) return { measured: false, reason: side.reason };
  const answers = side.filter((each) => each !== undefined);
  if (answers.length === 0) return { measured: false, reason: 'no query could be asked of it' };
  const { mean, low, high } = recallInterval(
    answers.map(({ recall }) => recall),
    k,
  );
  return {
    measured: true,
    queries: answers.length,
    recall: mean,
    low,
    high,
    ndcg: meanOf(answers.map(({ ndcg }) => ndcg)),
  };
}

/**
 * The mean of what the target finds more of each query than the source, and the 95 % interval of it. A difference d lies
 * between -1 and 1, so (d + 1) / 2 has the interval of a mean of recalls.
 */
function differenceOf({ source, target, k }: GoldInput): Gold['difference'] {
  const targets = answersOf(target);
  const differences = answersOf(source).flatMap((each, at) => {
    const other = targets[at];
    return each === undefined || other === undefined ? [] : [other.recall - each.recall];
  });
  if (differences.length === 0) return null;
  const { mean, low, high } = pairedInterval(differences, k);
  return { queries: differences.length, mean, low, high };
}

/** @param differences each from -1 to 1; at least one @param k the steps of the recalls that were subtracted */
export function pairedInterval(differences: readonly number[], k: number): Interval {
  const halves = recallInterval(
    differences.map((each) => (each + 1) / 2),
    k,
  );
  const { mean, low, high } = halves;
  return { mean: 2 * mean - 1, low: 2 * low - 1, high: 2 * high - 1 };
}

type Figures = Pick<Gold, 'queries' | 'atLeast' | 'source' | 'target' | 'difference' | 'k'>;

function judge(
  { goldAtLeast, isChanged }: GoldInput,
  { queries, k, source, target, difference }: Figures,
): Pick<Gold, 'outcome' | 'note'> {
  const isAsked = typeof goldAtLeast === 'number' || (isChanged && goldAtLeast === undefined);
  if (!target.measured) {
    const note = `The target could not be searched for the gold queries: ${target.reason.replace(/\.$/, '')}.`;
    return { outcome: isAsked ? 'unproven' : 'reported', note };
  }
  const has = `The target finds ${percent(target.recall)} of the ids that ${plural(queries, 'gold query')} expect among the first ${k}, at least ${percent(target.low)} with 95% confidence`;
  const beside = source.measured ? `; the source finds ${percent(source.recall)}` : '';
  if (typeof goldAtLeast === 'number') {
    if (target.low >= goldAtLeast) return { outcome: 'passed', note: `${has}${beside}.` };
    const wanted = `${percent(goldAtLeast)} asked for`;
    if (target.recall < goldAtLeast) return { outcome: 'failed', note: `${has}, below the ${wanted}${beside}.` };
    const needed = queriesNeeded(goldAtLeast);
    const more = queries < needed ? `at least ${needed} are needed even without a miss` : 'ask more';
    return { outcome: 'unproven', note: `${has}: too few queries to show the ${wanted}; ${more}${beside}.` };
  }
  if (!isAsked) return { outcome: 'reported', note: `${has}${beside}. It is held against no goal.` };
  if (difference === null) {
    const why = source.measured ? 'no query was asked of both sides' : source.reason.replace(/\.$/, '');
    return { outcome: 'unproven', note: `${has}, and there is nothing to hold it against: ${why}.` };
  }
  const [low, high] = [difference.low, difference.high].map(signed);
  if (difference.high < 0) {
    const note = `${has}${beside}: the target is worse by ${percent(-difference.mean)}, with 95% confidence by ${percent(-difference.high)} or more.`;
    return { outcome: 'failed', note };
  }
  const note = `${has}${beside}: the difference lies between ${low} and ${high}, so that the target is not shown to be worse.`;
  return { outcome: 'passed', note };
}

const signed = (share: number): string => (share < 0 ? `−${percent(-share)}` : `+${percent(share)}`);

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
