import type { Embedder } from '../lib/embed/port.ts';
import { embedShards } from '../lib/embed/stage/embed-stage.ts';
import type { Model } from '../lib/event-embed.ts';
import { readManifest, sealManifest } from '../lib/manifest.ts';
import { planRun } from '../lib/plan.ts';
import type { QueryModels } from '../lib/recall/query-texts.ts';
import type { Plan } from '../lib/run-files.ts';
import { memory } from '../lib/stores/memory.ts';
import { makeBatch, makeSchema } from './make.ts';
import { exportAll, importAll, makeWorld, noDeadline, quiet, type World } from './world.ts';

/**
 * Records on a curve, each with its place in its text: `place 17`. A model puts a text where its function says, so a test
 * knows what another model changes.
 */

export const placeOf = (text: string): number => Number(/-?[\d.]+$/.exec(text)?.[0] ?? Number.NaN);

/** Places at uneven distances, so that no two neighbours are as near. */
const angle = (place: number): number => place * 0.012 + 0.004 * Math.sin(place * place);

/** A vector of so many floats, of length 1. */
export function onCurve(place: number, dimensions: number): number[] {
  return Array.from({ length: dimensions }, (_, at) =>
    at === 0 ? Math.cos(angle(place)) : at === 1 ? Math.sin(angle(place)) : 0,
  );
}

export interface Asked {
  readonly texts: string[];
}

/** A model whose vectors lie on the curve. @param moved where a text's place goes */
export function makeModel(
  { name, dimensions, provider = 'openai' }: Pick<Model, 'name' | 'provider'> & { readonly dimensions: number },
  moved: (place: number) => number = (place) => place,
): Embedder & { readonly asked: Record<'document' | 'query', string[]> } {
  const asked = { document: [] as string[], query: [] as string[] };
  return {
    asked,
    card: {
      provider,
      name,
      version: '1',
      dimensions,
      distance: 'cosine',
      maxInputTokens: 100,
      usdPerMillionTokens: 1,
      isMatryoshka: false,
    },
    limits: {
      textsPerRequest: 16,
      tokensPerRequest: 1000,
      requestsPerMinute: 1e6,
      tokensPerMinute: 1e9,
      concurrency: 2,
    },
    countTokens: (text) => text.split(' ').length,
    embed: async ({ texts, purpose }) => {
      asked[purpose].push(...texts);
      const answers = texts.map((text) => {
        const place = placeOf(text);
        if (Number.isNaN(place)) return { refused: 'it names no place' };
        return Float32Array.from(onCurve(moved(place), dimensions));
      });
      return { answers, tokens: texts.length * 2 };
    },
    close: async () => {},
  };
}

export const places = 120;
export const idOf = (place: number): string => String(1000 + place);

export const oldModel = { name: 'old', provider: 'openai', dimensions: 4, version: '0' } as const;
export const newModel = { name: 'new', provider: 'openai', dimensions: 6 } as const;

export interface DriftWorld extends World {
  readonly plan: Plan;
  readonly models: QueryModels;
}

/** A run up to the loaded target. @param recall of the event @param embedder makes the target's vectors @param old makes the source's */
export async function makeDriftWorld({
  recall,
  embedder,
  old,
  source = {},
  event = {},
  without,
}: {
  /** validate.recall; no set has a goal for its recall. */
  readonly recall: Record<string, unknown> & { readonly sets?: readonly Record<string, unknown>[] };
  readonly embedder: Embedder;
  readonly old?: Embedder;
  readonly source?: Record<string, unknown>;
  readonly event?: Record<string, unknown>;
  /** Places whose records have no vector in the source. */
  readonly without?: (place: number) => boolean;
}): Promise<DriftWorld> {
  const { sets = [{ name: 'sampled' }] } = recall;
  const ids = Array.from({ length: places }, (_, place) => idOf(place));
  const payloads = ids.map((_, place) => JSON.stringify({ title: `place ${place}`, rank: place }));
  const values = Float32Array.from(ids.flatMap((_, place) => onCurve(place, 4)));
  const present = without && { present: Uint8Array.from(ids, (_, place) => (without(place) ? 0 : 1)) };
  const vectors = new Map([['embedding', { kind: 'dense', dimension: 4, values, ...present } as const]]);
  const made = await makeWorld({
    schema: makeSchema(),
    records: { ...makeBatch({ ids, payloads }), vectors },
    event: {
      embed: { text: 'title', model: newModel },
      validate: { recall: { depths: [1, 10], ...recall, sets: sets.map((set) => ({ ...set, atLeast: null })) } },
      ...event,
    },
  });
  const world = { ...made, event: { ...made.event, source: { ...made.event.source, ...source } } };
  const planned = await planRun({
    ...world,
    run: 'r1',
    sourceKind: memory,
    targetKind: memory,
    now: new Date(),
    embedder,
    sourceModel: old,
  });
  await world.target.prepare(planned.target);
  await exportAll(world, planned);
  await sealManifest({ plan: planned, objects: world.objects });
  const manifest = await readManifest(world.objects, planned.run);
  const stage = { plan: planned, manifest, objects: world.objects, queue: world.queue, embedder };
  await embedShards({ ...stage, deadline: noDeadline, log: quiet, now: () => new Date() });
  await importAll(world, planned);
  const open: QueryModels['open'] = async ({ name }) => {
    const found = [embedder, old].find((each) => each?.card.name === name);
    if (found === undefined) throw new Error(`no model ${name}`);
    return found;
  };
  return { ...world, plan: planned, models: { open, deadline: noDeadline, log: quiet } };
}
