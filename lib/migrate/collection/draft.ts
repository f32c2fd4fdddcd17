import { type Action, type CollectionPlan, lineOf, type Planned } from './plan.ts';

/** Collects the steps of a plan, and what takes each back. */
export interface Draft {
  readonly steps: Planned[];
  /** A list a step, each in the order it is carried out. */
  readonly inverses: Action[][];
  readonly notes: string[];
}

export const newDraft = (): Draft => ({ steps: [], inverses: [], notes: [] });

/** @param inverse in the order it is carried out @param why what comes of it, for people */
export function add(draft: Draft, action: Action, inverse: readonly Action[], why?: string): void {
  draft.steps.push({ action, line: lineOf(action, why) });
  draft.inverses.push([...inverse]);
}

/** The last step is taken back first. */
export const finish = ({ steps, inverses, notes }: Draft): CollectionPlan => ({
  steps,
  inverse: inverses.toReversed().flat(),
  notes,
});
