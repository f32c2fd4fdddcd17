import { z } from 'zod';
import { isIndexChange } from '../../index-change/index-change.ts';
import { runKeys } from '../../keys.ts';
import { getJson, type ObjectStore } from '../../objects.ts';
import { isInPlace } from '../../place.ts';
import { hasOtherVectors } from '../../recall/drift.ts';
import type { Plan } from '../../run-files.ts';
import type { Stage } from '../../stage.ts';
import { count, money, plural } from '../../words.ts';
import { type Embedding, embeddingSchema } from './embed-files.ts';

/** Of drift.json: whether it is measured. */
const driftDoneSchema = z.looseObject({ done: z.boolean() });

/** What a run that makes vectors has besides the stages of every run; empty lists where it has none. */
export interface EmbedStatus {
  /** undefined: none, or not begun. */
  readonly embedding: Embedding | undefined;
  /** Before the import, which goes on beside it. */
  readonly embed: readonly Stage[];
  /** In place, before the index: what was written to the table meanwhile. */
  readonly catchUp: readonly Stage[];
  /** After the recall. */
  readonly drift: readonly Stage[];
}

/** @param seen records of the run, an estimate until the manifest is sealed; and whether its index is begun */
export async function readEmbedStatus(
  objects: ObjectStore,
  plan: Plan,
  seen: { readonly records: number; readonly isIndexed: boolean },
): Promise<EmbedStatus> {
  const { embedding: embeddingKey, drift: driftKey } = runKeys(plan.run);
  // Both are overwritten while they grow, so they are never remembered.
  const [embedding, drift] = await Promise.all([
    plan.embed && getJson(objects, embeddingKey, embeddingSchema),
    hasOtherVectors(plan) ? getJson(objects, driftKey, driftDoneSchema) : undefined,
  ]);
  return {
    embedding,
    embed: plan.embed === undefined ? [] : [embedStage(embedding, seen.records)],
    catchUp:
      isInPlace(plan.event) && !isIndexChange(plan.event)
        ? [step('catch up', seen.isIndexed ? 'done' : 'waiting')]
        : [],
    drift: hasOtherVectors(plan) ? [step('drift', driftState(drift))] : [],
  };
}

function driftState(drift: z.infer<typeof driftDoneSchema> | undefined): Stage['state'] {
  if (drift === undefined) return 'waiting';
  return drift.done ? 'done' : 'running';
}

/** How far the texts are embedded: records that have an answer, of all. */
function embedStage(embedding: Embedding | undefined, records: number): Stage {
  const stage = { name: 'embed', unit: 'records' } as const;
  if (embedding === undefined) return { ...stage, state: 'waiting', done: 0, total: records };
  const { completed, failed, withoutText } = embedding;
  const done = embedding.done ? embedding.records : completed + failed + withoutText;
  const state = embedding.done ? 'done' : 'running';
  return { ...stage, state, done, total: embedding.records, detail: spentText(embedding) };
}

/** What it took so far, and what could not be embedded. */
function spentText({
  done,
  texts,
  tokens,
  usd,
  failed,
  withoutText,
  throttled,
  trouble,
  attempt,
  at,
}: Embedding): string {
  const seconds = attempt === undefined ? 0 : (Date.parse(at) - Date.parse(attempt.startedAt)) / 1000;
  const perSecond = Math.round((attempt?.texts ?? 0) / Math.max(1, seconds));
  return [
    `${plural(texts, 'text')} of ${plural(tokens, 'token')}`,
    ...(usd === null || usd === 0 ? [] : [`${money(usd)} USD`]),
    ...(done || perSecond === 0 ? [] : [`${count(perSecond)} texts a second`]),
    ...(failed === 0 ? [] : [`${count(failed)} failed`]),
    ...(withoutText === 0 ? [] : [`${count(withoutText)} without text`]),
    ...(throttled === 0 ? [] : [`throttled ${count(throttled)} times`]),
    ...(trouble === undefined ? [] : [`waiting: ${trouble}`]),
  ].join(', ');
}

function step(name: Stage['name'], state: Stage['state']): Stage {
  return { name, state, done: state === 'done' ? 1 : 0, total: 1, unit: 'steps' };
}
