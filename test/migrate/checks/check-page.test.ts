import { expect, test } from '@jest/globals';
import type { CheckReport } from '../../../lib/migrate/checks/check.ts';
import { checkPage } from '../../../lib/migrate/checks/check-page.ts';

const report = (more: Partial<CheckReport> = {}): CheckReport => ({
  format: 1,
  at: '2026-11-22T01:00:00.000Z',
  release: '0.1.0',
  migrations: { applied: 3, last: '003_notes', seq: 5 },
  passed: true,
  tally: { ok: 1, wrong: 0, unchecked: 0 },
  stores: [
    {
      name: 'db',
      store: 'pgvector',
      results: [{ what: '"articles": its columns', verdict: 'ok', detail: '4 columns' }],
    },
  ],
  ...more,
});

test('the page of a check says first what is wrong and what nobody looked at, and never that all is well then', () => {
  const page = checkPage(
    report({
      passed: false,
      tally: { ok: 2, wrong: 1, unchecked: 1 },
      stores: [
        {
          name: 'db',
          store: 'pgvector',
          results: [
            { what: 'store other', verdict: 'unchecked', detail: 'it is away' },
            { what: '"articles": trigger <touched>', verdict: 'wrong', detail: 'it is not there' },
            { what: 'public.articles: constraint old', verdict: 'ok', detail: 'known', accepted: 'of before 2019' },
            { what: 'public.articles: index a is valid', verdict: 'ok', detail: 'btree, 16 kB' },
          ],
        },
      ],
    }),
  );
  expect(page).toContain('1 thing not as it should be');
  expect(page).not.toContain('All as it should be');
  expect(page.indexOf('public.articles: trigger')).toBeLessThan(page.indexOf('it is away'));
  expect(page).toContain('trigger &#60;touched&#62;');
  expect(page).toMatch(/Known and accepted[\s\S]*of before 2019/);
  expect(page).toContain('<b>1</b>as they should be');
  const open = checkPage(report({ passed: false, tally: { ok: 1, wrong: 0, unchecked: 2 } }));
  expect(open).toContain('2 things could not be looked at');
});

test('the page of a healthy place names what stands, so that it can be kept with a release, and asks no network', () => {
  const page = checkPage(report());
  expect(page).toContain('All as it should be');
  expect(page).toMatch(/3 migrations<\/b> <span class="dim">applied, up to 003_notes/);
  expect(page).toContain('line 5 of the history, vecferry 0.1.0');
  expect(page).not.toMatch(/(src|href)=/);
  expect(page).not.toContain('What to look at');
});
