import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';

/** Imports go one way: functions -> lib, infra -> lib's names, and lib knows nobody. */

const root = new URL('..', import.meta.url).pathname;

function filesOf(folder: string): readonly string[] {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && /\.[cm]?[jt]s$/.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

/** The files of ours that a file imports, by their paths within the project. */
function importsOf(file: string): readonly string[] {
  const text = readFileSync(join(root, file), 'utf8');
  const found = [...text.matchAll(/(?:from|import)\s*\(?\s*['"`](\.[^'"`]+)['"`]/g)];
  return found.map(([, path = '']) => relative(root, join(root, file, '..', path)));
}

const startsIn =
  (folder: string) =>
  (path: string): boolean =>
    path.startsWith(`${folder}/`);

/** The names that a deployment shares with the code: keys, payloads, errors and events. */
const namesOfLib = ['keys', 'states', 'errors', 'event', 'run-files'].map((name) => `lib/${name}.ts`);

describe('layers', () => {
  test('lib imports neither functions nor infra, so it runs anywhere', () => {
    const files = filesOf('lib');
    expect(files.length).toBeGreaterThan(20);
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((path) => !startsIn('lib')(path))
        .map((path) => `${file} -> ${path}`),
    );
    expect(wrong).toEqual([]);
  });

  test('lib and functions know nothing of the CDK, and lib nothing of Lambda', () => {
    const named = (folder: string, what: RegExp): readonly string[] =>
      filesOf(folder).filter((file) => what.test(readFileSync(join(root, file), 'utf8')));
    expect(named('lib', /from '(aws-cdk-lib|constructs|aws-lambda|@middy)/)).toEqual([]);
    expect(named('functions', /from '(aws-cdk-lib|constructs)/)).toEqual([]);
  });

  test('functions import lib, and of one another the shared edge alone', () => {
    const files = filesOf('functions');
    expect(files.length).toBeGreaterThan(10);
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((path) => !startsIn('lib')(path) && path !== 'functions/lambda.ts')
        .map((path) => `${file} -> ${path}`),
    );
    expect(wrong).toEqual([]);
  });

  test("infra imports lib's names, so no domain code runs while the stack is made", () => {
    const files = filesOf('infra').filter((file) => !startsIn('infra/local')(file));
    expect(files.length).toBeGreaterThan(10);
    const wrong = files.flatMap((file) =>
      importsOf(file)
        .filter((path) => !(startsIn('infra')(path) && !startsIn('infra/local')(path)) && !namesOfLib.includes(path))
        .map((path) => `${file} -> ${path}`),
    );
    expect(wrong).toEqual([]);
  });

  test('no function reaches ordered migrations: a linter of 25 MB and a parser have no place on Lambda', () => {
    const reached = new Set(filesOf('functions'));
    for (const file of reached) for (const path of importsOf(file)) reached.add(path);
    expect(reached.has('lib/stores/pgvector.ts')).toBe(true);
    expect([...reached].filter(startsIn('lib/migrate'))).toEqual([]);
  });

  test('no file imports itself by way of others, types included: either can be read without the other', () => {
    const files = [...filesOf('lib'), ...filesOf('functions'), ...filesOf('infra'), ...filesOf('bench')];
    const done = new Set<string>();
    const circleFrom = (file: string, way: readonly string[]): readonly string[] => {
      if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
      if (done.has(file)) return [];
      for (const next of importsOf(file).filter((path) => files.includes(path))) {
        const circle = circleFrom(next, [...way, file]);
        if (circle.length > 0) return circle;
      }
      done.add(file);
      return [];
    };
    expect(files.map((file) => circleFrom(file, []).join(' -> ')).filter((circle) => circle !== '')).toEqual([]);
  });

  test('nothing but tests, the bundler and the embedded engine, which calls it by its name, imports a function', () => {
    const files = [...filesOf('lib'), ...filesOf('infra'), ...filesOf('bench')];
    expect(files.filter((file) => importsOf(file).some(startsIn('functions')))).toEqual(['infra/local/engine.ts']);
  });

  test('process.env is read in one file of lib and in no function', () => {
    const readers = [...filesOf('lib'), ...filesOf('functions')].filter((file) =>
      readFileSync(join(root, file), 'utf8')
        .split('\n')
        .some((line) => line.includes('process.env') && !/^\s*(\*|\/\/|\/\*)/.test(line)),
    );
    expect(readers).toEqual(['lib/environment.ts']);
  });
});
