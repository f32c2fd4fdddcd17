import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { callCommand } from '../local/cli/command-line.ts';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from './world.ts';

/** Two branches, merged after one of them was deployed: a file comes before what is applied. */

let world: MigrateWorld;
const times = { words: '20260101120000', notes: '20260102120000', rank: '20260103120000' };
beforeEach(async () => {
  world = await makeMigrateWorld('migrate_out_of_order', { command: callCommand });
  await world.write(`${times.words}_words.sql`, sqlFile('CREATE TABLE words (id int);', 'DROP TABLE words;'));
  await world.write(
    `${times.rank}_rank.sql`,
    sqlFile('ALTER TABLE words ADD COLUMN rank int;', 'ALTER TABLE words DROP COLUMN rank;'),
  );
  await world.done('up');
  // It looks at what the later one has made, so it can only be taken back before it.
  await world.write(
    `${times.notes}_notes.sql`,
    sqlFile('CREATE VIEW notes AS SELECT rank FROM words;', 'DROP VIEW notes;'),
  );
});
afterEach(() => world.close());
const applied = async (): Promise<readonly unknown[]> =>
  (await world.done('status', '--json')).events().flatMap((event) => {
    const { applied: lines } = event;
    return Array.isArray(lines) ? lines.map(({ name }) => name.slice(15)) : [];
  });

test('a check goes by the order in which they were applied: the last one has the last word', async () => {
  const says = (text: string): string =>
    sqlFile(`CREATE OR REPLACE FUNCTION said() RETURNS text LANGUAGE sql AS $$ SELECT '${text}' $$;`);
  await world.write('20260104120000_later.sql', says('later'));
  await world.remove(`${times.notes}_notes.sql`);
  await world.done('up');
  await world.write(`${times.notes}_merged.sql`, says('merged'));
  await world.done('up', '--out-of-order');
  expect((await world.migrate('check')).out).not.toContain('said');
});

test('is refused, and applied where somebody says so; what is taken back goes in the reverse of the order it was applied in', async () => {
  const { code, err } = await world.migrate('up');
  expect(code).toBe(3);
  expect(err).toContain('--out-of-order');
  expect((await world.done('up', '--out-of-order', '--dry-run')).out).toContain('CREATE VIEW notes');
  await world.done('up', '--out-of-order');
  expect(await applied()).toEqual(['words', 'rank', 'notes']);
  await world.done('check');
  // What is said anew of one that is applied changes nothing of the order.
  await world.done('repair', times.words, '--as', 'applied');
  await world.done('down');
  expect(await applied()).toEqual(['words', 'rank']);
  const upTo = ['up', '--to', times.notes] as const;
  expect((await world.migrate(...upTo)).code).not.toBe(0);
  await world.done(...upTo, '--out-of-order');
  expect(await applied()).toEqual(['words', 'rank', 'notes']);
  await world.done('to', '0');
  expect(await applied()).toEqual([]);
});
