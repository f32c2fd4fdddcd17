import { setTimeout as sleep } from 'node:timers/promises';
import { type Located, maxFetch, split } from '../compare/fetch-records.ts';
import { recordDifference, untreated } from '../compare/record-equal.ts';
import { StoreUnavailable } from '../errors.ts';
import type { Difference } from '../run-files.ts';
import { type BothSides, type Look, lookAtSides, mirrorIds } from './both-sides.ts';

/**
 * Pauses before each further look at a record that differs, in units of `lookAgainMs`: a write is between its two sides for
 * some milliseconds, a client that has to write a second time needs a second or two.
 */
const pauses = [0.25, 0.5, 1, 2, 4] as const;

export interface Settled {
  /** Records that had to be made as the source has them, and how they differed. */
  readonly mended: readonly Difference[];
  /** Records that differ all the same. */
  readonly left: readonly Difference[];
  /** Those that the source held no more at the first look. */
  readonly gone: ReadonlySet<string>;
}

export interface SettleOptions {
  /** When more than this differ it is no matter of single writes, and none is mended. */
  readonly maxMended?: number;
  /** Takes the last look at each record that is the same in the end, mended or not. */
  readonly onSame?: (look: Look) => void;
}

type Different = Look & { readonly difference: NonNullable<Look['difference']> };

/**
 * Holds both sides against each other while they are written to. What differs is looked at again after a pause, several
 * times, then made as the source has it, and looked at again. Memory goes with what differs.
 *
 * A record that is written to all the time may never be seen the same. Where it had changed on both sides between the
 * last two looks, writes reach both, and it counts as the same; one that changes on one side alone does not.
 */
export async function settleSides(
  sides: BothSides,
  ids: readonly string[],
  { maxMended = Number.POSITIVE_INFINITY, onSame = () => {} }: SettleOptions = {},
): Promise<Settled> {
  const gone = new Set<string>();
  const first: Different[] = [];
  for (const part of split(ids, maxFetch)) {
    const looks = await lookAtSides(sides, part);
    for (const { id, inSource, difference } of looks) {
      if (inSource === undefined && difference?.verdict !== 'unchecked') gone.add(id);
    }
    first.push(...different(looks, onSame));
  }
  const before = await lookAgain(sides, first, onSame);
  if (before.length === 0) return { mended: [], left: [], gone };
  if (before.length > maxMended) {
    const why = `none was mended, since ${before.length} records differ here, more than the ${maxMended} that single writes account for`;
    return { mended: [], left: before.map((each) => because(each, why)), gone };
  }
  const wrong = before.map(({ id }) => id);
  const refused = await mend(sides, wrong);
  const left = await lookAgain(sides, different(await lookAtSides(sides, wrong), onSame), onSame);
  const isLeft = new Set(left.map(({ id }) => id));
  return {
    mended: before.filter(({ id }) => !isLeft.has(id)),
    left: left.map((each) => {
      const refusal = refused.get(each.id);
      return refusal === undefined || each.reason.includes(refusal)
        ? each
        : because(each, `it could not be mended: ${refusal}`);
    }),
    gone,
  };
}

/**
 * Ids that were not mended, and why. A record of the source that changes each time it is read keeps the mirror from ending:
 * the look after it tells what it came to, and that a store is away.
 */
async function mend(sides: BothSides, ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
  try {
    return await mirrorIds(sides, ids);
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    return new Map(ids.map((id) => [id, error.message]));
  }
}

const because = (difference: Difference, why: string): Difference => ({
  ...difference,
  reason: `${difference.reason}; ${why}`,
});

function different(looks: readonly Look[], onSame: (look: Look) => void): Different[] {
  return looks.flatMap((look) => {
    const { difference } = look;
    if (difference !== undefined) return [{ ...look, difference }];
    onSame(look);
    return [];
  });
}

/** What of these differs each time that it is looked at again. */
async function lookAgain(
  sides: BothSides,
  first: readonly Different[],
  onSame: (look: Look) => void,
): Promise<readonly Difference[]> {
  let before: ReadonlyMap<string, Look> = new Map();
  let left = first;
  for (const pause of pauses) {
    if (left.length === 0) break;
    before = new Map(left.map((look) => [look.id, look]));
    await sleep(pause * sides.lookAgainMs);
    left = different(await lookAtSides(sides, [...before.keys()]), onSame);
  }
  return left.flatMap((look) => {
    const earlier = before.get(look.id);
    if (earlier === undefined || !hasMovedOn(earlier, look)) return [{ id: look.id, ...look.difference }];
    onSame({ ...look, difference: undefined });
    return [];
  });
}

/** Both sides hold another value than they did, so the last write was not lost on its way: it is under way. */
function hasMovedOn(before: Look, now: Look): boolean {
  return isOther(before.inSource, now.inSource) && isOther(before.inTarget, now.inTarget);
}

function isOther(one: Located | undefined, other: Located | undefined): boolean {
  if (one === undefined || other === undefined) return one !== other;
  return recordDifference(one.batch, one.at, other.batch, other.at, untreated) !== undefined;
}
