import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { storesTable } from '../infra/local/cli/stores-table.ts';
import { placeOf } from '../lib/cutover/flag.ts';
import { parseEvent } from '../lib/event.ts';
import { storeNames } from '../lib/stores/registry.ts';

/** Documents that would otherwise go stale without anyone noticing. */

const pages = ['README.md', 'CHANGELOG.md', ...readdirSync('docs').map((name) => join('docs', name))];
const read = (page: string): string => readFileSync(page, 'utf8');

test('the capability table is made from the code that the plan reads', async () => {
  const shown = /<!-- stores -->\n([\s\S]*?)\n<!-- \/stores -->/.exec(read('docs/stores.md'))?.[1];
  expect(shown).toBe(await storesTable());
});

test('every dependency has a line that says why this one', () => {
  const { dependencies, devDependencies } = JSON.parse(read('package.json'));
  const named = [...read('docs/decisions.md').matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
  const isNamed = (name: string): boolean =>
    named.some((each) => each === name || (each.endsWith('*') && name.startsWith(each.slice(0, -1))));
  expect(
    Object.keys({ ...dependencies, ...devDependencies }).filter(
      (name) => !name.startsWith('@types/') && !isNamed(name),
    ),
  ).toEqual([]);
});

test('versions are exact, so that a clone is the same next year', () => {
  const { dependencies, devDependencies } = JSON.parse(read('package.json'));
  expect(
    Object.entries({ ...dependencies, ...devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(String(version)),
    ),
  ).toEqual([]);
});

describe.each(pages)('%s', (page) => {
  test('has no link to a file that is not there', () => {
    const links = [...read(page).matchAll(/\]\(([^)#:]+)(#[^)]*)?\)/g)].map(([, target = '']) =>
      join(dirname(page), target),
    );
    expect(links.filter((target) => !existsSync(target))).toEqual([]);
  });

  test('names no file of the project that is not there', () => {
    const files = [...read(page).matchAll(/`((?:docs|events|lib|infra|functions|test|bench)\/[\w./-]+\.\w+)`/g)].map(
      ([, file = '']) => file,
    );
    expect(files.filter((file) => !existsSync(file))).toEqual([]);
  });
});

test('every page of documents that the code points to is there', () => {
  const sources = ['lib', 'lib/stores', 'infra', 'infra/local', 'functions'].flatMap((folder) =>
    readdirSync(folder).map((name) => join(folder, name)),
  );
  const named = sources
    .filter((path) => path.endsWith('.ts'))
    .flatMap((path) => [...read(path).matchAll(/docs\/[\w-]+\.md/g)].map(([page]) => page));
  expect([...new Set(named)].filter((page) => !existsSync(page))).toEqual([]);
});

test('every store has a chapter of its own', () => {
  const text = read('docs/stores.md');
  const titles = {
    pgvector: 'PostgreSQL with pgvector',
    qdrant: 'Qdrant',
    chroma: 'Chroma',
    lancedb: 'LanceDB',
    files: 'Files',
    memory: 'Memory',
  };
  expect(Object.keys(titles).toSorted()).toEqual([...storeNames].toSorted());
  for (const title of Object.values(titles)) expect(text).toContain(`\n## ${title}\n`);
});

test('the events shown in a page are those of the files that it names', () => {
  const shown = [...read('docs/validation.md').matchAll(/\[(events\/[\w-]+\.json)\][^\n]*\n```json\n([\s\S]*?)\n```/g)];
  const files = ['filtered-search', 'gold-queries', 'gold-queries-text'].map((name) => `events/${name}.json`);
  expect(shown.map(([, file]) => file)).toEqual(files);
  for (const [, file = '', text = ''] of shown) {
    expect(JSON.parse(`{${text}}`)).toEqual({ validate: JSON.parse(read(file)).validate });
  }
});

test('the events of docs/embedding.md are those of their files, as far as they are shown', () => {
  const shown = [...read('docs/embedding.md').matchAll(/\[(events\/[\w-]+\.json)\][\s\S]*?```json\n([\s\S]*?)\n```/g)];
  expect(shown.map(([, file]) => file)).toEqual(['events/reembed.json', 'events/matryoshka.json']);
  for (const [, file = '', text = ''] of shown)
    expect(JSON.parse(read(file))).toMatchObject(JSON.parse(text.startsWith('{') ? text : `{${text}}`));
});

test('the application in docs/client.md has a side for each place that the events of such runs name', () => {
  for (const file of ['events/live.json', 'events/canary.json']) {
    const { source, target, cutover } = parseEvent(JSON.parse(read(file)));
    const application = /<!-- express -->([\s\S]*?)\n```\n/.exec(read('docs/client.md'))?.[1] ?? '';
    expect(application).toContain(`sides: { '${placeOf(source)}': inPostgres, '${placeOf(target)}': inQdrant }`);
    expect(application).toContain(`source: '${placeOf(source)}'`);
    expect(application).toContain(`/flags\`, '${cutover?.flag}')`);
  }
});
