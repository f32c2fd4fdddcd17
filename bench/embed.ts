import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { sendTexts } from '../lib/embed/send.ts';
import { embedShards } from '../lib/embed/stage/embed-stage.ts';
import { runKeys } from '../lib/keys.ts';
import { readManifest } from '../lib/manifest.ts';
import { openFileObjects } from '../lib/objects-files.ts';
import { readPlan } from '../lib/plan.ts';
import type { ShardQueue } from '../lib/queue.ts';
import { makeModel, makeStageWorld } from '../test/embed-stage-world.ts';
import { makeBatch, makeSchema } from '../test/make.ts';
import { noDeadline, quiet } from '../test/world.ts';
import { timed } from './child.ts';
import { type BenchRow, medianMs } from './row.ts';

const dimensions = 384;
const asked = { provider: 'openai', name: 'test', dimensions, maxInputTokens: 1000, usdPerMillionTokens: 0 };

/** A model that answers at once: what is left is our own work. */
export function instantModel() {
  const vector = new Float32Array(dimensions).fill(0.05);
  const model = makeModel({ dimensions, maxInputTokens: 1000, textsPerRequest: 256 });
  return {
    ...model,
    limits: { ...model.limits, tokensPerRequest: 1e9, requestsPerMinute: 1e12, tokensPerMinute: 1e12, concurrency: 8 },
    embed: async ({ texts }: { readonly texts: readonly string[] }) => ({
      answers: texts.map(() => vector),
      tokens: texts.length * 10,
    }),
  };
}

const noQueue: ShardQueue = {
  send: async () => undefined,
  sendLater: async () => undefined,
  bury: async () => undefined,
  deadShards: async () => [],
};

/** The stage over what `directory` holds, from its beginning. */
export async function embedOnce(directory: string): Promise<void> {
  const objects = openFileObjects(directory);
  for (const key of [...(await objects.list(runKeys('r1').texts)), ...(await objects.list(runKeys('r1').embedded))])
    await objects.delete(key);
  const [plan, manifest] = await Promise.all([readPlan(objects, 'r1'), readManifest(objects, 'r1')]);
  const input = { plan, manifest, objects, queue: noQueue, deadline: noDeadline, log: quiet, now: () => new Date() };
  const { done } = await embedShards({ ...input, embedder: instantModel() });
  if (!done) throw new Error('the stage is not done');
}

/** So many bytes, in objects of 2 MiB as answers are kept in, and again in those of 16 MiB as shards are. */
async function writeOnce(directory: string, bytes: number): Promise<void> {
  const objects = openFileObjects(directory);
  for (const size of [2 * 2 ** 20, 16 * 2 ** 20]) {
    const body = new Uint8Array(size).fill(1);
    for (let at = 0; at < bytes; at += size) await objects.put(`floor/${size}-${at}`, body);
  }
  for (const key of await objects.list('floor/')) await objects.delete(key);
}

const textOf = (at: number): string => `A short text about the thing with number ${at}, of some sixty characters`;

async function exported(records: number): Promise<string> {
  const { world } = await makeStageWorld({
    texts: [],
    model: instantModel(),
    schema: makeSchema(),
    records: makeBatch({
      ids: Array.from({ length: records }, (_, at) => String(at)),
      payloads: Array.from({ length: records }, (_, at) => JSON.stringify({ text: textOf(at), rank: at })),
    }),
    shardBytes: 16 * 2 ** 20,
    embed: { model: asked },
  });
  return dirname(world.objects.locate('runs'));
}

/**
 * Our own part of embedding: texts drawn from shards, packed, their answers kept before anything else, and put together to
 * shards of vectors, by a model that answers at once; and the most memory of its process, which must not go with the texts.
 */
export async function run(): Promise<BenchRow[]> {
  const records = 100_000;
  const [few, many] = [await exported(records), await exported(4 * records)];
  const texts = Array.from({ length: records }, (_, at) => ({ key: String(at), text: textOf(at) }));
  const onAnswers = async (): Promise<void> => undefined;
  const alone = await medianMs(3, async () => {
    const sent = { embedder: instantModel(), purpose: 'document' as const, texts, onAnswers };
    await sendTexts({ ...sent, deadline: noDeadline, log: quiet });
  });
  const stage = await medianMs(3, () => embedOnce(few));
  const written = await medianMs(3, () => writeOnce(few, records * dimensions * Float32Array.BYTES_PER_ELEMENT));
  const inChild = (directory: string) =>
    timed([
      '--input-type=module',
      '-e',
      `await (await import('./bench/embed.ts')).embedOnce(process.argv[1])`,
      directory,
    ]);
  const [little, much] = [await inChild(few), await inChild(many)];
  for (const directory of [few, many]) await rm(directory, { recursive: true, force: true });
  const count = (value: number): string => value.toLocaleString('en');
  const perSecond = (milliseconds: number): number => (records / milliseconds) * 1000;
  return [
    { name: `texts packed and sent to a model that answers at once`, value: perSecond(alone), unit: 'texts/s' },
    {
      name: `embedding stage without a model's time, ${count(records)} short texts, ${dimensions} floats`,
      value: perSecond(stage),
      unit: 'texts/s',
      against: 'sending them, and writing their vectors durably twice, as answers and as shards',
      ratio: (alone + written) / stage,
    },
    { name: `the same: peak memory, ${count(records)} texts`, value: little.peakMb, unit: 'MB' },
    {
      name: `the same: peak memory, ${count(4 * records)} texts`,
      value: much.peakMb,
      unit: 'MB',
      against: 'a quarter of the texts',
      ratio: much.peakMb / little.peakMb,
    },
  ];
}
