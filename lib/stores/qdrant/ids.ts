import type { IdType } from '../../schema.ts';
import type { PlannedRange } from '../port.ts';

/**
 * Qdrant's ids: unsigned 64-bit integers and UUIDs. Its scroll goes through the integers in their order first, then
 * through the UUIDs in theirs, and takes any id as its start, whether there is such a record or not. So an id is a key.
 */

const maxUint64 = 18_446_744_073_709_551_615n;
const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const canonicalInteger = /^(?:0|[1-9][0-9]{0,19})$/;

/** The least of all UUIDs: a scroll from it passes over the integers. */
export const firstUuid = '00000000-0000-0000-0000-000000000000';

export function isUuid(id: string): boolean {
  return id.length === 36 && canonicalUuid.test(id);
}

export function isInteger(id: string): boolean {
  return canonicalInteger.test(id) && (id.length < 20 || BigInt(id) <= maxUint64);
}

/** True when a record can have this id. */
export function isId(id: string): boolean {
  return isInteger(id) || isUuid(id);
}

/** The order of a scroll: negative when `a` comes before `b`. */
export function compareIds(a: string, b: string): number {
  const aIsUuid = a.length === 36;
  const bIsUuid = b.length === 36;
  if (aIsUuid !== bIsUuid) return aIsUuid ? 1 : -1;
  // Integers have no leading zeros, so the longer one is the larger one.
  if (!aIsUuid && a.length !== b.length) return a.length - b.length;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/**
 * What the ids are, from the first record and the first with a UUID. An empty collection says nothing, so anything
 * it could hold is expected.
 */
export function idTypeOf(first: string | undefined, firstWithUuid: string | undefined): IdType {
  if (first === undefined) return 'mixed';
  if (isUuid(first)) return 'uuid';
  return firstWithUuid === undefined ? 'integer' : 'mixed';
}

/**
 * Ranges between quantiles of `ids`, which are all ids or a random sample, in any order.
 * @param count records in the collection
 * @param perRange records wanted a range
 */
export function cutRanges(ids: readonly string[], count: number, perRange: number): readonly PlannedRange[] {
  const wanted = Math.max(1, Math.ceil(count / perRange));
  const sorted = [...new Set(ids)].sort(compareIds);
  const bounds = new Set<string>();
  for (let cut = 1; cut < wanted; cut++) {
    const at = Math.round((cut * sorted.length) / wanted);
    const bound = sorted[at];
    if (at > 0 && bound !== undefined) bounds.add(bound);
  }
  const edges = [null, ...bounds, null];
  return edges.slice(1).map((to, at) => {
    const records = Math.round(count / (bounds.size + 1));
    return { from: edges[at] ?? null, to, records };
  });
}
