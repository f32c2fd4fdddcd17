import { setTimeout as sleep } from 'node:timers/promises';
import { type Batch, type DenseColumn, selectRecords } from '../../batch.ts';
import { Incompatible, StoreUnavailable } from '../../errors.ts';
import { type Deadline, isNear, type Log } from '../../log.ts';
import { readManifest } from '../../manifest.ts';
import { mapBatch } from '../../mapping/mapping.ts';
import type { ObjectStore } from '../../objects.ts';
import { patiently } from '../../patiently.ts';
import type { Plan } from '../../run-files.ts';
import type { FillLacking, Lacking, PlaceTarget } from '../../stores/place-port.ts';
import type { Store } from '../../stores/port.ts';
import { storeKind } from '../../stores/registry.ts';
import type { Embedder, TextToEmbed } from '../port.ts';
import { sendTexts } from '../send.ts';
import type { EmbedPlan } from './embed-files.ts';
import { openProgress } from './embed-progress.ts';
import { textsOf } from './shard-texts.ts';
import { openTexts, type Texts } from './texts.ts';

/**
 * Of a run in place: makes the vectors that records lack, because they were added or their text changed since their range was
 * exported, or because an application had them locked. Answers are kept with the run's others, so no text is paid for twice.
 */

export interface CatchUpInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly target: Store;
  readonly embedder: Embedder;
  readonly deadline: Deadline;
  readonly log: Log;
  readonly now?: () => Date;
}

/** Records looked at in one go: each a key, a text, and then a vector. */
const pageRecords = 500;
/** Passes over the table after which it is left to the switch, which looks again: an application may write faster than a pass takes. */
const maxPasses = 20;
/** Before records that somebody had locked are tried again. */
const lockedMs = 250;

/**
 * Passes over what lacks a vector until a pass finds nothing that it can do. What cannot be embedded is left, and named by
 * the comparison, or by the switch, which refuses to be made without it.
 * @throws BudgetExceeded when the event's budget would be passed: what was answered is kept.
 */
export async function catchUp(input: CatchUpInput): Promise<{ readonly done: boolean }> {
  const { plan, target, log } = input;
  const { embed } = plan;
  // Nothing lacked a vector when the run was planned.
  if (embed === undefined) return { done: true };
  const { place } = target;
  if (place === undefined) throw new Incompatible('the target has no vector that could be made in place');
  const stage = await openStage(input, embed, place);
  let before: readonly string[] = [];
  for (let pass = 1; pass <= maxPasses; pass++) {
    const { caught, isWhole } = await passOver(stage);
    if (!isWhole) return { done: false };
    if (caught.length === 0) return { done: true };
    log.info('caught up with the table', { pass, records: caught.length });
    // The same ones again: others have them locked.
    if (caught.every((id) => before.includes(id))) await sleep(lockedMs);
    before = caught.slice(0, pageRecords);
  }
  return { done: true };
}

/**
 * Makes the vectors of a few records that lack them, and writes them nowhere but to the run's answers: the switch does that,
 * while writers wait. @throws StoreUnavailable where the deadline comes first, and as catchUp
 */
export async function openVectors(input: CatchUpInput): Promise<FillLacking> {
  const { embed } = input.plan;
  const { place } = input.target;
  if (embed === undefined || place === undefined)
    throw new Incompatible('the target has no vector that could be made in place');
  const stage = await openStage(input, embed, place);
  return async (lacking) => {
    const made = await vectorsOf(stage, lacking);
    if (made === undefined) throw new StoreUnavailable('there was no time to ask the model', { ids: lacking.ids });
    return made.batch;
  };
}

async function openStage(input: CatchUpInput, embed: EmbedPlan, place: PlaceTarget): Promise<Stage> {
  const { plan, objects, log, now = () => new Date() } = input;
  const texts = await openTexts({ plan, dimensions: embed.model.dimensions, objects, log });
  const manifest = await readManifest(objects, plan.run);
  const progress = await openProgress({ plan, manifest, objects, texts, now });
  const { capabilities } = await storeKind(plan.event.target.store);
  return {
    ...input,
    embed,
    texts,
    place,
    ids: capabilities.ids,
    mayAsk: (tokens) => progress.checkBudget(tokens),
  };
}

interface Stage extends CatchUpInput {
  readonly embed: EmbedPlan;
  readonly texts: Texts;
  readonly place: PlaceTarget;
  readonly ids: Parameters<typeof mapBatch>[2];
  readonly mayAsk: (tokens: number) => void;
}

/** Once over the table, in key order. `caught` are the ids whose vector was there to be written. */
async function passOver(stage: Stage): Promise<{ readonly caught: readonly string[]; readonly isWhole: boolean }> {
  const { place, deadline } = stage;
  const caught: string[] = [];
  let after: string | null = null;
  do {
    if (isNear(deadline)) return { caught, isWhole: false };
    const from: string | null = after;
    const { batch, next }: Lacking = await patiently(() => place.lacking(from, pageRecords));
    if (batch.count > 0) {
      const written = await embedPage(stage, batch);
      if (written === undefined) return { caught, isWhole: false };
      caught.push(...written);
    }
    after = next;
  } while (after !== null);
  return { caught, isWhole: true };
}

/** @returns the ids that were written; undefined: the deadline came first. */
async function embedPage(stage: Stage, batch: Batch): Promise<readonly string[] | undefined> {
  const made = await vectorsOf(stage, batch);
  if (made === undefined) return undefined;
  if (made.ids.length > 0) await patiently(() => stage.target.write(made.batch, { mode: 'upsert' }));
  return made.ids;
}

/** The records whose text has a vector by now, as the target takes them, and their ids. undefined: the deadline came first. */
async function vectorsOf(
  stage: Stage,
  batch: Batch,
): Promise<{ readonly batch: Batch; readonly ids: readonly string[] } | undefined> {
  const { plan, embed, embedder, texts, mayAsk, deadline, log, ids } = stage;
  const textOf = textsOf(batch, embed, embedder);
  const keys = new Map<number, string>();
  const asked = new Map<string, TextToEmbed>();
  for (const at of batch.ids.keys()) {
    const { record, text } = textOf(at);
    if (record.status !== 'text') continue;
    keys.set(at, record.key);
    if (texts.get(record.key) === undefined) asked.set(record.key, { key: record.key, text });
  }
  const { done } = await sendTexts({
    embedder,
    purpose: 'document',
    texts: asked.values(),
    onAnswers: async (answers) => await texts.add(answers),
    mayAsk,
    deadline,
    log,
  });
  await texts.settle();
  if (!done) return undefined;
  const answered = [...keys].filter(
    ([, key]) => texts.get(key)?.failedIn === undefined && texts.get(key) !== undefined,
  );
  const { dimensions } = embed.model;
  const column: DenseColumn = {
    kind: 'dense',
    dimension: dimensions,
    values: new Float32Array(answered.length * dimensions),
  };
  await texts.copyVectors(
    answered.map(([, key], i) => [i, key] as const),
    column,
  );
  const records = selectRecords(
    batch,
    answered.map(([at]) => at),
  );
  const mapped = mapBatch({ ...records, vectors: new Map([[embed.vector, column]]) }, plan.mapping, ids);
  return { batch: mapped.batch, ids: records.ids };
}
