import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { oldestNode, type PackedProject, packedProject, run } from './packed.ts';

/** What `npm pack` makes is what an application uses: with no package of AWS beside it, under a plain Node. */

let project: PackedProject;
beforeAll(() => {
  project = packedProject();
});

const inProject = (path: string): string => join(project.directory, path);

/** An application that keeps its records in two Maps, with what the flag of its directory says. */
const application = `
import { mkdirSync, writeFileSync } from 'node:fs';
import { bucketOf, createClient, fileFlag, fileLedger, fileMetrics, fileRepairs, RepairQueueFull } from 'vecferry/client';

const asked = [];
const sideOf = (name, records = new Map()) => ({
  records,
  search: async ({ k }) => { asked.push(name); return [...records.values()].slice(0, k); },
  upsert: async (given) => { for (const record of given) records.set(record.id, record); },
  delete: async (ids) => { for (const id of ids) records.delete(id); },
  fetch: async (ids) => ids.flatMap((id) => records.get(id) ?? []),
});
const sides = { 'old:articles': sideOf('old'), 'new:articles': sideOf('new') };
mkdirSync('state/flags', { recursive: true });
const say = (flag) => writeFileSync('state/flags/articles.json', JSON.stringify(flag));
const both = { active: 'old:articles', candidate: 'new:articles', shadow: 0, writes: ['old:articles', 'new:articles'], run: 'r1' };
say({ ...both, weight: 50 });

const client = createClient({
  flag: fileFlag('state/flags', 'articles'),
  sides,
  source: 'old:articles',
  repairs: fileRepairs({ path: 'state/repairs.jsonl' }),
  ledger: fileLedger('state'),
  metrics: fileMetrics('state/metrics'),
});
await client.upsert([{ id: '1', vector: [1, 0] }, { id: '2', vector: [0, 1] }]);
await client.delete(['2']);
const keys = ['ann', 'bob', 'cleo', 'dan', 'eve', 'fay'];
for (const key of keys) await client.search({ k: 1 }, { key });
await client.close();
console.log(JSON.stringify({
  old: [...sides['old:articles'].records.keys()],
  new: [...sides['new:articles'].records.keys()],
  asked,
  wanted: keys.map((key) => (bucketOf('articles', key) < 50 ? 'new' : 'old')),
  isError: new RepairQueueFull('full') instanceof Error,
}));
`;

test('a read is routed and a write doubled under the oldest Node that it says it runs on, with no other package at all', () => {
  expect(readdirSync(inProject('node_modules'))).toEqual(['vecferry']);
  writeFileSync(inProject('application.mjs'), application);
  const seen = JSON.parse(run(oldestNode(), ['application.mjs'], project.directory));
  expect(seen).toMatchObject({ old: ['1'], new: ['1'], isError: true });
  expect(seen.asked).toEqual(seen.wanted);
  expect(new Set(seen.asked)).toEqual(new Set(['old', 'new']));
  expect(readdirSync(inProject('state')).toSorted()).toEqual(
    expect.arrayContaining(['flags', 'metrics', 'repairs.jsonl', 'runs']),
  );
});

test('the client and all that it loads import nothing but Node, so that AWS is needed by nobody who does not use it', () => {
  const reached = new Set<string>();
  const foreign: string[] = [];
  const follow = (file: string): void => {
    if (reached.has(file)) return;
    reached.add(file);
    const text = readFileSync(inProject(`node_modules/vecferry/dist/${file}`), 'utf8');
    for (const [, from = ''] of text.matchAll(/^(?:import|export)\b[^;]*?from "([^"]+)"|^import "([^"]+)"/gm)) {
      if (from.startsWith('./')) follow(from.slice(2));
      else if (!from.startsWith('node:')) foreign.push(`${file}: ${from}`);
    }
  };
  follow('client.js');
  expect(reached.size).toBeGreaterThan(1);
  expect(foreign).toEqual([]);
});

test('what is packed is built, and holds no source, no test and no infrastructure', () => {
  const files = readdirSync(inProject('node_modules/vecferry'), { recursive: true }).map(String);
  const folders = new Set(files.filter((file) => file.includes('/')).map((file) => file.split('/')[0]));
  expect([...folders].toSorted()).toEqual(['dist', 'docs', 'infra']);
  // npm packs what package.json names in bin.
  expect(files.filter((file) => file.startsWith('infra/local/'))).toEqual(['infra/local/vecferry.mjs']);
  const { exports } = JSON.parse(readFileSync('package.json', 'utf8'));
  const named = Object.values<string | Record<string, string>>(exports).flatMap((each) =>
    typeof each === 'string' ? [each] : Object.values(each),
  );
  expect(named.length).toBeGreaterThan(6);
  for (const path of named) expect(existsSync(inProject(`node_modules/vecferry/${path}`))).toBe(true);
});

test('the command says where it runs, when somebody looks for it in the package', () => {
  expect(() => run(process.execPath, ['node_modules/vecferry/infra/local/vecferry.mjs'], project.directory)).toThrow(
    /without the command line; run vecferry in a clone/,
  );
});

/** Types of an application: its own records, queries and hits, and each mistake that must not compile. */
const typed = `
import { type ClientSide, createClient, fileFlag, type Flag, memoryRepairs } from 'vecferry/client';
import { s3Ledger, sqsRepairs, ssmFlag } from 'vecferry/client/aws';
import { openSide } from 'vecferry/client/stores';

interface Article { readonly id: string; readonly title: string; readonly vector: readonly number[] }
interface Query { readonly vector: readonly number[]; readonly k: number }
interface Hit { readonly id: string; readonly title: string }
declare const side: ClientSide<Article, Query, Hit>;

const client = createClient({ flag: fileFlag('flags', 'articles'), sides: { 'a:b': side }, repairs: memoryRepairs({ capacity: 10 }) });
const hits: readonly Hit[] = await client.search({ vector: [1], k: 3 }, { key: 'ann' });
await client.upsert([{ id: '1', title: hits[0]?.title ?? '', vector: [1] }]);
const { flag }: { readonly flag: Flag | undefined } = await client.flush();
flag?.weight.toFixed();

const opened = await openSide({ store: 'pgvector', connection: { url: 'postgresql://localhost' }, collection: 'articles' });
const onAws = createClient({
  flag: ssmFlag({ name: 'articles' }),
  sides: { [opened.place]: opened },
  repairs: sqsRepairs({ queueUrl: 'https://example' }),
  ledger: s3Ledger({ bucket: 'runs' }),
});
const [hit] = await onAws.search({ values: [1, 2], k: 3 });
hit?.score.toFixed();

// @ts-expect-error a query has its vector
await client.search({ k: 3 });
// @ts-expect-error a record has its title
await client.upsert([{ id: '1', vector: [1] }]);
// @ts-expect-error there is no such option
createClient({ flag: fileFlag('flags', 'articles'), sides: {}, retries: 3 });
`;

test('its declarations hold for an application in strict TypeScript', () => {
  project.link('zod', '@types/node', 'undici-types', ...scoped('@aws-sdk'), ...scoped('@smithy'));
  writeFileSync(inProject('typed.ts'), typed);
  writeFileSync(inProject('package.json'), JSON.stringify({ name: 'application', type: 'module', private: true }));
  const options = { target: 'es2024', module: 'nodenext', strict: true, noEmit: true, types: ['node'] };
  writeFileSync(inProject('tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['typed.ts'] }));
  const tsc = join(process.cwd(), 'node_modules', 'typescript', 'bin', 'tsc');
  expect(run(process.execPath, [tsc, '-p', '.'], project.directory)).toBe('');
});

function scoped(scope: string): readonly string[] {
  return readdirSync(join('node_modules', scope)).map((name) => `${scope}/${name}`);
}
