import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { embeddingSchema } from '../../lib/embed/stage/embed-files.ts';
import { textKey } from '../../lib/embed/stage/made.ts';
import { openTexts } from '../../lib/embed/stage/texts.ts';
import { runKeys } from '../../lib/keys.ts';
import { openFileObjects } from '../../lib/objects-files.ts';
import { readPlan } from '../../lib/plan.ts';
import { type Report, reportSchema } from '../../lib/report/report-schema.ts';
import { readShard } from '../../lib/shard/shard.ts';
import { type EmbeddingServer, startEmbeddings } from '../servers/embeddings.ts';
import { until } from '../until.ts';
import { quiet } from '../world.ts';
import { readGlosses, seedGlosses } from './glosses.ts';
import { endpointIn, fewQueries, type Runs, type StoreName, startRuns } from './world.ts';

/** 2,000 definitions get vectors of another model, by a real process on real servers that is killed with SIGKILL three times. */

const records = 2000;
const glosses = readGlosses(records);
const distinct = new Set(glosses.map(({ text }) => text));

let runs: Runs;
let server: EmbeddingServer;
beforeAll(async () => {
  runs = await startRuns();
  server = await startEmbeddings({ delayMs: 250 });
});
afterAll(async () => {
  await server.close();
  await runs.close();
});

interface Place {
  readonly directory: string;
  readonly event: string;
}

async function makePlace(store: StoreName, model: Record<string, unknown>): Promise<Place> {
  const source = await seedGlosses(runs.unique('glosses'), glosses);
  const target = await endpointIn(runs, store, 'glosses');
  const embed = { text: 'text', model, limits: { concurrency: 2 } };
  // A dozen shards.
  const event = JSON.stringify({ source, target, embed, parallel: { shardMiB: 0.5 }, validate: fewQueries });
  return { directory: mkdtempSync(join(tmpdir(), 'vecferry-embed-kill-')), event };
}

function start({ directory, event }: Place) {
  const child = spawn(
    process.execPath,
    ['infra/local/vecferry.mjs', '--dir', directory, '--json', 'run', event, '--run', 'r1'],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      // A test's own, with the secret of its server.
      env: process.env,
    },
  );
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => lines.push(data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  return { child, ended, lines };
}

/** Kills the run once so many texts have a durable answer; a look costs less than a request. */
async function killAt(place: Place, texts: number): Promise<void> {
  const { child, ended, lines } = start(place);
  await until(
    () => textsOf(place) >= texts,
    () => `${texts} texts (${lines.join('').slice(-2000)})`,
    () => (child.exitCode === null ? undefined : `it ended with ${child.exitCode}`),
  );
  process.kill(-(child.pid ?? 0), 'SIGKILL');
  await ended;
  expect(existsSync(join(place.directory, runKeys('r1').report))).toBe(false);
}

/** Answers that are durable, as far as embedding.json says yet. */
function textsOf({ directory }: Place): number {
  const path = join(directory, runKeys('r1').embedding);
  return existsSync(path) ? embeddingSchema.parse(JSON.parse(readFileSync(path, 'utf8'))).texts : 0;
}

async function finish(place: Place): Promise<Report> {
  const { ended, lines } = start(place);
  const code = await ended;
  if (code !== 0) throw new Error(`exit ${code}: ${lines.join('').slice(-3000)}`);
  return reportSchema.parse(JSON.parse(readFileSync(join(place.directory, runKeys('r1').report), 'utf8')));
}

/** The texts that have a durable answer. */
async function durable({ directory }: Place): Promise<Set<string>> {
  const objects = openFileObjects(directory);
  const plan = await readPlan(objects, 'r1');
  if (plan.embed === undefined) throw new Error('nothing is embedded');
  const { model } = plan.embed;
  const kept = await openTexts({ plan, dimensions: model.dimensions, objects, log: quiet });
  return new Set([...distinct].filter((text) => kept.get(textKey(model, text)) !== undefined));
}

function expectWhole(report: Report, { directory }: Place): void {
  expect(report).toMatchObject({
    verdict: 'validated',
    compare: { equal: records, different: 0, missing: 0, unchecked: 0 },
    counts: { source: records, manifest: records, target: records, extra: 0 },
  });
  const embedding = embeddingSchema.parse(JSON.parse(readFileSync(join(directory, runKeys('r1').embedding), 'utf8')));
  expect(embedding).toMatchObject({ done: true, records, completed: records, failed: 0, texts: distinct.size });
}

test.each([
  ['PostgreSQL to Qdrant, 100 to 384 floats', 'qdrant', 'glove-384', 384],
  ['PostgreSQL to PostgreSQL, 100 to 64 floats', 'pgvector', 'glove-64', 64],
] as const)(
  '%s: killed three times it ends complete and validated, and only what was under way at a kill was paid for again',
  async (_, store, name, dimensions) => {
    const connection = { url: server.url };
    const price = { usdPerMillionTokens: 0.02, maxInputTokens: 8000 };
    const place = await makePlace(store, { provider: 'openai', name, dimensions, connection, ...price });
    server.counts.embedded.clear();
    const underWay = new Map<string, number>();
    for (const texts of [400, 900, 1400]) {
      await killAt(place, texts);
      // What the server was asked before the kill it answers, and charges, all the same.
      await until(server.isLeft, 'the end of the requests under way');
      const kept = await durable(place);
      expect(kept.size).toBeGreaterThanOrEqual(texts);
      const lost = [...server.counts.embedded.keys()].filter((text) => !kept.has(text));
      // Two requests of 256 texts at most.
      expect(lost.length).toBeLessThanOrEqual(2 * 256);
      for (const text of lost) underWay.set(text, (underWay.get(text) ?? 0) + 1);
    }
    expectWhole(await finish(place), place);
    const paid = [...server.counts.embedded].filter(([text, times]) => times !== 1 + (underWay.get(text) ?? 0));
    expect(paid).toEqual([]);
    expect(server.counts.embedded.size).toBe(distinct.size);
  },
);

test('PostgreSQL to PostgreSQL through the local model, 100 to 512 floats: killed three times, each text is answered once', async () => {
  const place = await makePlace('pgvector', { provider: 'local', name: 'universal-sentence-encoder-lite' });
  for (const texts of [200, 800, 1500]) await killAt(place, texts);
  expectWhole(await finish(place), place);
  // A kill may leave objects that another one stands for already: whoever reads takes them away.
  expect((await durable(place)).size).toBe(distinct.size);
  const keys: string[] = [];
  const objects = openFileObjects(place.directory);
  // As listed: a kill may also leave the half of an object that was being written, under a name that nobody reads.
  for (const key of await objects.list(runKeys('r1').texts)) {
    const bytes = await objects.get(key);
    if (bytes === undefined) throw new Error(`${key} is gone`);
    for await (const { ids } of readShard(bytes, key, { maxRecords: records, vectors: false })) keys.push(...ids);
  }
  expect(keys).toHaveLength(distinct.size);
  expect(new Set(keys).size).toBe(distinct.size);
});
