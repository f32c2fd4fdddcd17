import { expect, test } from '@jest/globals';
import { newsLines } from '../../../../infra/local/cli/migrate/migrate-lines.ts';

test('the last lines of a file that is done say what it changed for searches and nobody measured', () => {
  const done = { kind: 'done', number: 7, name: '007_denser', direction: 'up', milliseconds: 1200 } as const;
  expect(newsLines(done)).toEqual(['done     007_denser  1.2 s']);
  expect(newsLines({ ...done, unvalidated: ['search: the index of docs is changed without validation'] })).toEqual([
    'done     007_denser  1.2 s',
    'note     search: the index of docs is changed without validation',
  ]);
});
