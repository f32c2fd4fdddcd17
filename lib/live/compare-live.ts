import { recordDifference } from '../compare/record-equal.ts';
import { type Comparison, countSuspect, name, type Suspect, type Tallies } from '../compare/second-look.ts';
import type { Difference } from '../run-files.ts';
import type { BothSides, Look } from './both-sides.ts';
import { settleSides } from './settle.ts';

/**
 * Records of a shard that are mended at most. A write that never came to its second side is one among many; where more than
 * this are not the same it is the run that went wrong, and making it right in silence would hide that.
 */
const maxMended = 1000;

/**
 * Of a live run: what is not as in the shard is held against the source as it is now, however much that is, since what
 * the application wrote after the export is in no shard. What differs from the source is looked at again, then mended, and
 * looked at once more: only what differs then counts as missing or different.
 */
export async function settleSuspects(
  comparison: Comparison & { readonly sides: BothSides },
  suspects: readonly Suspect[],
  tallies: Tallies,
): Promise<void> {
  const expected = new Map(suspects.map((each) => [each.sourceId, each]));
  const onSame = (look: Look): void => countSame(comparison, expected.get(look.id), look, tallies);
  const left = await settle(comparison.sides, [...expected.keys()], tallies, onSame);
  for (const { id, verdict, reason } of left) {
    // What the source holds no more is not as it should be; `extra` are ids that are in no shard.
    countSuspect(tallies, { sourceId: id, verdict: verdict === 'extra' ? 'different' : verdict, reason });
  }
}

/** Of a live run: records that are not in the source as in their shard. Those whose target is not as the source is now, after all that. */
export async function settleSpots(
  sides: BothSides,
  ids: readonly string[],
  tallies: Tallies,
): Promise<readonly Difference[]> {
  return await settle(sides, ids, tallies, () => {});
}

async function settle(
  sides: BothSides,
  ids: readonly string[],
  tallies: Tallies,
  onSame: (look: Look) => void,
): Promise<readonly Difference[]> {
  const room = Math.max(0, maxMended - tallies.mended);
  const { mended, left } = await settleSides(sides, ids, { maxMended: room, onSame });
  tallies.mended += mended.length;
  for (const { id } of mended) name(tallies.mendedIds, id);
  return left;
}

/** The target holds what the source does: equal, and where that is not what the shard has, changed since the export. */
function countSame(
  { treatments, nulls }: Comparison,
  suspect: Suspect | undefined,
  { id, inSource, inTarget, nearNumbers }: Look,
  tallies: Tallies,
): void {
  tallies.equal++;
  tallies.nearNumbers += nearNumbers;
  const { batch, at } = suspect?.expected ?? {};
  const difference =
    batch === undefined || at === undefined || inTarget === undefined
      ? 'neither side holds it as it was exported'
      : recordDifference(batch, at, inTarget.batch, inTarget.at, treatments, nulls);
  if (difference === undefined) return;
  tallies.changed++;
  if (inSource === undefined && inTarget === undefined) tallies.gone++;
  const reason = `the source changed after the export, and the target is as the source is now: ${difference}`;
  name(tallies.changes, { id, reason });
}
