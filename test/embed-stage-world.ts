import { createHash } from 'node:crypto';
import type { Embedder, EmbedRequest, EmbedResponse } from '../lib/embed/port.ts';
import { type Embedding, embeddingSchema } from '../lib/embed/stage/embed-files.ts';
import { embedShards } from '../lib/embed/stage/embed-stage.ts';
import { RecordRefused } from '../lib/errors.ts';
import { parseEvent } from '../lib/event.ts';
import { runKeys } from '../lib/keys.ts';
import { readManifest, sealManifest } from '../lib/manifest.ts';
import { getJson, type ObjectStore } from '../lib/objects.ts';
import { planRun } from '../lib/plan.ts';
import type { Plan } from '../lib/run-files.ts';
import { memory } from '../lib/stores/memory.ts';
import { makeBatch } from './make.ts';
import { exportAll, makeWorld, noDeadline, quiet, type World, type WorldParts } from './world.ts';

/** The embedding of a run on one machine without an engine: a model that counts, and what may go wrong with it. */
export interface TestModel extends Embedder {
  /** How often each text was answered. */
  readonly answered: Map<string, number>;
  requests: number;
  /** True of texts that are refused. */
  refuses: (text: string) => boolean;
  /** Before each answer. */
  before: () => Promise<void>;
}

const dimensions = 8;

/** A vector of a text that no other text has. */
export function vectorOf(text: string): Float32Array {
  const digest = createHash('sha256').update(text).digest();
  return Float32Array.from({ length: dimensions }, (_, i) => digest.readInt16LE(i * 2) / 32768);
}

export function makeModel(parts: Partial<Embedder['card']> & { readonly textsPerRequest?: number } = {}): TestModel {
  const { textsPerRequest = 5, ...card } = parts;
  const answered = new Map<string, number>();
  const model: TestModel = {
    card: {
      provider: 'openai',
      name: 'test',
      version: '1',
      dimensions,
      distance: 'cosine',
      maxInputTokens: 100,
      usdPerMillionTokens: 1,
      isMatryoshka: false,
      ...card,
    },
    limits: {
      textsPerRequest,
      tokensPerRequest: 1e6,
      requestsPerMinute: 1e9,
      tokensPerMinute: 1e9,
      concurrency: 3,
    },
    answered,
    requests: 0,
    refuses: () => false,
    before: async () => undefined,
    countTokens: (text) => text.length,
    embed: async ({ texts }: EmbedRequest): Promise<EmbedResponse> => {
      model.requests += 1;
      await model.before();
      const refused = texts.find((text) => model.refuses(text));
      if (refused !== undefined) throw new RecordRefused(`the model refuses '${refused}'`);
      for (const text of texts) answered.set(text, (answered.get(text) ?? 0) + 1);
      return { answers: texts.map(vectorOf), tokens: texts.reduce((sum, text) => sum + text.length, 0) };
    },
    close: async () => undefined,
  };
  return model;
}

export interface StageWorldParts extends WorldParts {
  readonly texts: readonly string[];
  readonly model?: TestModel;
  readonly embed?: Record<string, unknown>;
}

/** A collection with these texts, exported: what the stage begins with. Shards hold about a dozen records. */
export async function makeStageWorld({ texts, model = makeModel(), embed = {}, event, ...parts }: StageWorldParts) {
  const records =
    parts.records ??
    makeBatch({
      ids: texts.map((_, at) => String(1000 + at)),
      payloads: texts.map((text) => JSON.stringify({ text })),
    });
  const asked = { provider: 'openai', name: 'test', dimensions, maxInputTokens: 100, usdPerMillionTokens: 1 };
  const world = await makeWorld({
    shardBytes: 600,
    ...parts,
    records,
    event: { ...event, embed: { text: 'text', model: asked, ...embed } },
  });
  const plan = await planAgain(world, model);
  await exportAll(world, plan);
  await sealManifest({ plan, objects: world.objects });
  return { world, model, plan };
}

/** Each start of the run counts one attempt more. @param event what is changed in it */
export async function planAgain(world: World, model: TestModel, event: Record<string, unknown> = {}): Promise<Plan> {
  const planned = await planRun({
    ...world,
    event: parseEvent({ ...world.event, ...event }),
    run: 'r1',
    sourceKind: memory,
    targetKind: memory,
    now: new Date(),
    embedder: model,
  });
  await world.target.prepare(planned.target);
  return world.shardBytes === undefined ? planned : { ...planned, shardBytes: world.shardBytes };
}

export async function embedAll(
  { objects, queue }: Pick<World, 'objects' | 'queue'>,
  plan: Plan,
  embedder: Embedder,
  options: Partial<Parameters<typeof embedShards>[0]> = {},
): Promise<{ readonly done: boolean }> {
  const manifest = await readManifest(objects, plan.run);
  const given = { plan, manifest, objects, queue, embedder, deadline: noDeadline, log: quiet, now: () => new Date() };
  return await embedShards({ ...given, ...options });
}

export async function embeddingOf(objects: ObjectStore): Promise<Embedding> {
  const found = await getJson(objects, runKeys('r1').embedding, embeddingSchema);
  if (found === undefined) throw new Error('there is no embedding.json');
  return found;
}
