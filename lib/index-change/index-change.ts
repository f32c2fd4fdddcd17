import type { RunEvent } from '../event.ts';
import type { Plan } from '../run-files.ts';
import type { IndexSide } from '../stores/index-port.ts';
import type { IndexPlan } from './index-plan.ts';

/** A run that changes an index: nothing is moved, and what readers use is the same collection before and after. docs/index-change.md. */

export const isIndexChange = ({ index }: Pick<RunEvent, 'index'>): boolean => index !== undefined;

/** True where the new index replaces the old one as it is built, so that readers use it before it is validated. */
export const replacesIndex = ({ index }: Partial<Pick<Plan, 'index'>>): boolean => index?.how === 'instead';

/** True where the old index is asked its queries before the new one is built. */
export const asksOldFirst = ({ index }: Partial<Pick<Plan, 'index'>>): boolean => index?.oldAsked === 'before';

/**
 * Of a run that has built its index and not switched to it, whose store's planner waits for no cutover; undefined: there is no such index.
 * @param on what commands say besides: ` --stack NAME`
 */
export function unswitchedIndex(
  { run, index }: Pick<Plan, 'run'> & { readonly index?: Pick<IndexPlan, 'how'> | undefined },
  on = '',
): string | undefined {
  if (index?.how !== 'beside') return undefined;
  return `the new index is there and searches may use it: vecferry rollback ${run}${on} drops it`;
}

/** How a side of the run is opened; undefined: it changes no index. */
export function indexSideOf(
  { run, event, index }: Pick<Plan, 'run' | 'event'> & Partial<Pick<Plan, 'index'>>,
  side: IndexSide['side'],
): IndexSide | undefined {
  if (event.index === undefined) return undefined;
  const { replaces } = event.index;
  return { side, run, vector: index?.vector ?? event.index.vector, replaces, to: index?.to, from: index?.from };
}
