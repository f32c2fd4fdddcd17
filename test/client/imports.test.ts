import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';

const root = new URL('../..', import.meta.url).pathname;

/** The files of ours and the packages that a file reaches by imports which are there at run time. */
function reach(start: string): { readonly files: ReadonlySet<string>; readonly packages: ReadonlySet<string> } {
  const [files, packages] = [new Set<string>(), new Set<string>()];
  const visit = (file: string): void => {
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(join(root, file), 'utf8');
    for (const [, what = '', name = ''] of text.matchAll(
      /^(?:import|export)\s+([^'";]*?\bfrom\s*)?['"]([^'"]+)['"]/gm,
    )) {
      if (/^type\b/.test(what)) continue;
      if (name.startsWith('.')) visit(relative(root, join(root, file, '..', name)));
      else if (!isBuiltin(name)) packages.add(name);
    }
    expect(text).not.toMatch(/\bimport\(|\brequire\(/);
  };
  visit(start);
  return { files, packages };
}

/** What an application may import besides the client itself, on one machine. */
const parts = ['client', 'file-flag', 'file-repairs', 'file-ledger', 'file-metrics', 'mirror', 'memory-repairs'];

describe('the client', () => {
  test.each(parts)('reaches no package, no store and nothing of AWS or the CDK through %s.ts', (part) => {
    const { files, packages } = reach(`lib/client/${part}.ts`);
    expect([...packages]).toEqual([]);
    const others = [...files].filter((file) => !file.startsWith('lib/client/'));
    const allowed = [
      'lib/errors.ts',
      'lib/cutover/flag-path.ts',
      'lib/keys.ts',
      'lib/locks.ts',
      'lib/objects-files.ts',
      'lib/cutover/route.ts',
    ];
    expect(others.filter((file) => !allowed.includes(file))).toEqual([]);
  });

  test('is seen through: the walk finds what a store brings', () => {
    expect([...reach('lib/client/store-side.ts').files]).toContain('lib/filter.ts');
    expect([...reach('lib/cutover/flag.ts').packages]).toContain('zod');
  });

  test('keeps no process from ending, while the flag store and the second place hang and repairs wait', async () => {
    const module = (name: string): string =>
      JSON.stringify(new URL(`../../lib/client/${name}.ts`, import.meta.url).href);
    const script = `
      const { createClient } = await import(${module('client')});
      const never = new Promise(() => {});
      const fine = { search: async () => [], fetch: async () => [], upsert: async () => {}, delete: async () => {} };
      const away = { ...fine, search: () => never, upsert: () => Promise.reject(new Error('away')) };
      let reads = 0;
      const flag = { active: 'a', candidate: 'b', weight: 0, shadow: 100, writes: ['a', 'b'] };
      const client = createClient({
        flag: { name: 'f', read: () => (reads++ === 0 ? Promise.resolve(flag) : never) },
        sides: { a: fine, b: away },
        metrics: { write() {} },
        refreshMs: 20,
        timeoutMs: 1e6,
      });
      await client.search('q');
      await client.upsert([{ id: '1' }]);
      console.log(client.status().repairsWaiting);`;
    // It ends, or the test does not: the shadow read has hours, and what is tried again is tried for ever.
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { env: { PATH: '' } });
    let [output, errors] = ['', ''];
    child.stdout.on('data', (data) => {
      output += data;
    });
    child.stderr.on('data', (data) => {
      errors += data;
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect([code, output]).toEqual([0, '1\n']);
    expect(errors).toMatch(/VecferryWarning: b did not take a write of 1 ids, which is mended later: away/);
  });
});
