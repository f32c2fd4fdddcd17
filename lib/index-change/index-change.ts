import type { RunEvent } from '../event.ts';
import type { Plan } from '../run-files.ts';
import type { IndexSide } from '../stores/index-port.ts';

/** A run that changes an index: nothing is moved, and what readers use is the same collection before and after. docs/index-change.md. */

export const isIndexChange = ({ index }: Pick<RunEvent, 'index'>): boolean => index !== undefined;

/** True where the new index replaces the old one as it is built, so that readers use it before it is validated. */
export const replacesIndex = ({ index }: Partial<Pick<Plan, 'index'>>): boolean => index?.how === 'instead';

/** How a side of the run is opened; undefined: it changes no index. */
export function indexSideOf(
  { run, event, index }: Pick<Plan, 'run' | 'event'> & Partial<Pick<Plan, 'index'>>,
  side: IndexSide['side'],
): IndexSide | undefined {
  if (event.index === undefined) return undefined;
  return { side, run, vector: index?.vector ?? event.index.vector, to: index?.to, from: index?.from };
}
