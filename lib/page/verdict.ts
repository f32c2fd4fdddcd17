import type { Verdict } from '../report/report-schema.ts';

/** Words and marks of the verdicts. */

export const verdictWords: Readonly<Record<Verdict, string>> = {
  validated: 'Validated',
  failed: 'Failed',
  unproven: 'Could not validate',
};
/** Shapes beside colours, so that no one has to tell green from red. */
export const marks: Readonly<Record<Verdict, string>> = { validated: '✓', failed: '✕', unproven: '?' };
