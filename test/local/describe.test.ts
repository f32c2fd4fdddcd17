import { expect, test } from '@jest/globals';
import { planLines } from '../../infra/local/describe.ts';
import { makePlan } from '../make-plan.ts';

test('a plan says how the application has to call its sides, where the run is about to tell it by the flag', () => {
  const told = /^client .*flag 'words' will name pgvector:public\.words and lancedb:words/m;
  for (const event of [{ live: true }, { cutover: { canary: {} } }]) {
    expect(planLines(makePlan(event)).join('\n')).toMatch(told);
  }
  expect(planLines(makePlan()).join('\n')).not.toMatch(/^client/m);
});
