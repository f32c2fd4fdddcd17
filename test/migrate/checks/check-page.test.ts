import { expect, test } from '@jest/globals';
import { checkPage } from '../../../lib/migrate/checks/check-page.ts';
import { makeGoodCheckReport as report } from '../../make-check-report.ts';

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
