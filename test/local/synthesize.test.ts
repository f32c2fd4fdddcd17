import { mkdtempSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { expect, test } from '@jest/globals';
import { loadDeployment, templateFolders } from '../../infra/local/synthesize.ts';

/** The template that the engine runs by is kept, and must be made again whenever it would be another one. */

const root = new URL('../..', import.meta.url).pathname;

/** The files of ours that run when this one is loaded: types are no part of it. */
function loadedBy(file: string, found = new Set<string>()): ReadonlySet<string> {
  if (found.has(file)) return found;
  found.add(file);
  const text = readFileSync(join(root, file), 'utf8');
  for (const [, path = ''] of text.matchAll(/^(?:import|export)\b(?! type)[^;]*? from '(\.[^']+)'/gm))
    loadedBy(relative(root, join(root, dirname(file), path)), found);
  return found;
}

test('the name of the kept template hangs on every file that makes it, or a change there would not be seen', () => {
  const files = [...loadedBy('infra/stack.ts'), ...loadedBy('infra/local/deployment.ts')];
  expect(files).toContain('infra/workflow.ts');
  expect(files).toContain('lib/errors.ts');
  expect(files.filter((file) => !templateFolders.includes(dirname(file)))).toEqual([]);
});

test('packages that cannot be written to, and a kept half: the template is made again, and then read', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-kept-'));
  const noFolder = join(directory, 'file');
  writeFileSync(noFolder, '');
  let made = 0;
  const load = () => loadDeployment(directory, () => made++, join(noFolder, 'vecferry'));
  const first = await load();
  const [name = '', ...others] = readdirSync(join(directory, 'cache'));
  expect({ made, others }).toEqual({ made: 1, others: [] });
  // As a machine leaves it that went down before the disk had all of it.
  truncateSync(join(directory, 'cache', name), 100);
  expect(await load()).toEqual(first);
  expect(made).toBe(2);
  expect(await load()).toEqual(first);
  expect(made).toBe(2);
});
