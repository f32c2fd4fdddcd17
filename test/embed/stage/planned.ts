import { expect } from '@jest/globals';
import type { Embedder } from '../../../lib/embed/port.ts';
import { planRun } from '../../../lib/plan.ts';
import type { Plan } from '../../../lib/run-files.ts';
import type { CollectionSchema, ModelId } from '../../../lib/schema.ts';
import { memory } from '../../../lib/stores/memory.ts';
import type { Capabilities, Source } from '../../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../../make.ts';
import { makeWorld, type World } from '../../world.ts';

/** A model whose tokens are words: planning asks it nothing else. */
export const makeEmbedder = (
  card: Partial<Embedder['card']> = {},
): Pick<Embedder, 'card' | 'limits' | 'countTokens'> => ({
  card: {
    provider: 'openai',
    name: 'new-model',
    version: '2',
    dimensions: 8,
    distance: 'cosine',
    maxInputTokens: 50,
    usdPerMillionTokens: 0.5,
    isMatryoshka: false,
    ...card,
  },
  limits: {
    textsPerRequest: 10,
    tokensPerRequest: 1_000,
    requestsPerMinute: 60,
    tokensPerMinute: 100_000,
    concurrency: 2,
  },
  countTokens: (text) => (text === '' ? 0 : text.split(' ').length),
});

export const [vector] = makeSchema().vectors;
export const withModel = (model: ModelId): CollectionSchema => makeSchema({ vectors: [{ ...vector!, model }] });
export const ids = (count: number): string[] => Array.from({ length: count }, (_, at) => String(10_000 + at));
export const texts = (count: number, fields: object = {}): string[] =>
  ids(count).map((id, at) => JSON.stringify({ title: `t ${id}`, body: 'word '.repeat(at % 7).trim(), ...fields }));

export interface Parts {
  readonly embed?: object;
  readonly event?: object;
  readonly source?: object;
  readonly schema?: CollectionSchema;
  readonly payloads?: readonly string[];
  readonly missing?: readonly number[];
  readonly capabilities?: Partial<Capabilities>;
  readonly card?: Partial<Embedder['card']>;
  /** In place of what the source says of itself. */
  readonly describe?: (source: Source) => Source['describe'];
}

export async function makePlanned({
  payloads = texts(100),
  schema = makeSchema(),
  missing = [],
  ...parts
}: Parts = {}) {
  const records = makeBatch({ ids: ids(payloads.length), vectors: schema.vectors, payloads, missing });
  const world = await makeWorld({ records, schema });
  const { event } = await makeWorld({
    event: {
      ...parts.event,
      source: { ...world.event.source, ...parts.source },
      target: world.event.target,
      embed: { text: '{title}: {body}', model: { provider: 'openai', name: 'new-model' }, ...parts.embed },
    },
  });
  const targetKind = { ...memory, capabilities: { ...memory.capabilities, ...parts.capabilities } };
  const source =
    parts.describe === undefined ? world.source : { ...world.source, describe: parts.describe(world.source) };
  const embedder = makeEmbedder(parts.card);
  const input = { ...world, source, event, run: 'r1', sourceKind: memory, targetKind, embedder, now: new Date() };
  return { world, input, plan: () => planRun(input) };
}

export const planned = async (parts: Parts = {}): Promise<Plan> => await (await makePlanned(parts)).plan();

/** @returns what was refused, and sees that nothing was written for it */
export async function refused(parts: Parts): Promise<Error> {
  const { world, plan } = await makePlanned(parts);
  const error: Error = await plan().then(
    () => Promise.reject(new Error('was not refused')),
    (reason) => reason,
  );
  expect(await written(world)).toEqual([]);
  return error;
}
const written = async ({ objects }: World): Promise<readonly string[]> => await objects.list('runs/');
