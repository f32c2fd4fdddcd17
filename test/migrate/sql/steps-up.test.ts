import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { callCommand } from '../../local/cli/command-line.ts';
import { type MigrateWorld, makeMigrateWorld, sqlFile } from '../world.ts';

let world: MigrateWorld;

beforeAll(async () => {
  world = await makeMigrateWorld('steps_up', { command: callCommand });
  await world.write('001_articles.sql', sqlFile('CREATE TABLE articles (id int);', 'DROP TABLE articles;'));
  await world.done('up');
  await world.rows('INSERT INTO articles SELECT generate_series(1, 50000)');
});

afterAll(() => world.close());

describe('the steps of a finding as files of a folder', () => {
  test('an unsafe file is refused by up with its steps, which go up one after another and have the same end', async () => {
    await world.write('002_lang.sql', sqlFile('ALTER TABLE articles ADD COLUMN lang text NOT NULL;', 'SELECT 1;'));
    const refused = await world.migrate('up', '--json');
    expect(refused.code).toBe(3);
    const finding = refused.events().find(({ type }) => type === 'lint');
    expect(finding).toMatchObject({ rule: 'adding-required-field', line: 2 });
    await world.remove('002_lang.sql');

    const said = finding?.['safeSteps'];
    const steps = (Array.isArray(said) ? said.map(String) : []).filter((step) => !step.startsWith('deploy'));
    expect(steps.length).toBe(4);
    for (const [i, step] of steps.entries()) {
      const sql = step.replace(/^\w+: /, '').replaceAll('<value>', "'en'");
      await world.write(`00${i + 2}_step.sql`, `-- migrate:up\n${sql}\n\n-- migrate:down irreversible\n`);
    }
    const lint = await world.migrate('lint');
    expect({ code: lint.code, out: lint.out }).toEqual({ code: 0, out: '0 errors, 0 warnings in 5 SQL files\n' });
    await world.done('up');
    expect(await world.rows("SELECT count(*)::int AS n FROM articles WHERE lang = 'en'")).toEqual([{ n: 50_000 }]);
    await expect(world.rows('INSERT INTO articles VALUES (0)')).rejects.toThrow(/null value in column "lang"/);
  });
});
