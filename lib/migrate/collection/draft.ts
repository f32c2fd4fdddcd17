import { type Action, type CollectionPlan, lineOf, type Planned } from './plan.ts';

/** Collects the steps of a plan, and what takes each back. */
export interface Draft {
  readonly steps: Planned[];
  /** A list a step, each in the order it is carried out. */
  readonly inverses: Action[][];
  readonly notes: string[];
  readonly unvalidated: string[];
}

export const newDraft = (): Draft => ({ steps: [], inverses: [], notes: [], unvalidated: [] });

/** @param inverse in the order it is carried out @param why what comes of it, for people */
export function add(draft: Draft, action: Action, inverse: readonly Action[], why?: string): void {
  draft.steps.push({ action, line: lineOf(action, why) });
  draft.inverses.push([...inverse]);
}

/** The last step is taken back first. */
export const finish = ({ steps, inverses, notes, unvalidated }: Draft): CollectionPlan => ({
  steps,
  inverse: inverses.toReversed().flat(),
  notes,
  unvalidated,
});

/** That a file changes what searches go through and nothing measures it, and how that is done. @param index of an event, as far as the file says it */
export function unvalidatedText(collection: string, index: Readonly<Record<string, unknown>>): string {
  const event = { source: { collection }, target: { into: 'place' }, index };
  return `the index of ${collection} is changed without validation: what its searches find afterwards is not measured. Instead of this file an event builds it, measures both, cuts over and can be taken back: vecferry run '${JSON.stringify(event)}', with the source's store and connection (docs/index-change.md)`;
}
