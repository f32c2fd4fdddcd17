import { ImportFailed, InvalidEvent } from '../../errors.ts';
import { isNear } from '../../log.ts';
import type { Plan, ShardEntry } from '../../run-files.ts';
import { getShard } from '../../shard/get-shard.ts';
import { releaseMemory } from '../../shard/parquet-wasm.ts';
import { plural } from '../../words.ts';
import type { TextToEmbed } from '../port.ts';
import { sendTexts } from '../send.ts';
import { openProgress } from './embed-progress.ts';
import {
  adoptShard,
  type EmbedStageInput,
  type OpenShard,
  type ShardRecords,
  type Stage,
  writeEmbedded,
} from './embedded-shards.ts';
import { type TextOf, textsOf } from './shard-texts.ts';
import type { Place } from './text-index.ts';
import { openTexts } from './texts.ts';

/** Records whose keys are kept until their shard is written; past that they are worked out again. */
const maxRecordsKept = 200_000;

/**
 * Embeds the texts of every shard, in order, and puts a shard on the import queue once its vectors are there. One caller at a
 * time: rate limits and budget are the account's, and what one asks for another does not know of.
 *
 * Repeatable: a text that has an answer in the run's objects is never asked for again, in whatever shard it stands; those
 * that failed in an earlier start of the run are. Texts of the next shards are drawn while requests are under way. A shard is
 * written once all its texts have an answer, and its order is object, marker, message, marker: whatever a crash leaves out, the
 * next call adds.
 *
 * With `"only": "failed"` nothing is asked for but what failed.
 * @throws BudgetExceeded before a request that would pass the event's budget: what was answered is kept. ImportFailed where
 * only failed texts were asked for and others are still pending. What sendTexts throws.
 */
export async function embedShards(input: EmbedStageInput): Promise<{ readonly done: boolean }> {
  const { plan, manifest, objects, log, now, embedder, deadline } = input;
  const { embed } = plan;
  if (embed === undefined) throw new InvalidEvent(`run '${plan.run}' embeds no texts`, { ids: [plan.run] });
  const texts = await openTexts({ plan, dimensions: embed.model.dimensions, objects, log });
  const progress = await openProgress({ plan, manifest, objects, texts, now });
  const stage: Stage = { ...input, embed, texts, progress, opened: [], pending: [], read: { whole: false, kept: 0 } };
  const finisher = makeFinisher(stage);
  // What an earlier call wrote says more than one that has looked at nothing yet.
  if (!progress.goesOn) await progress.write(false);
  let asked = 0;
  try {
    const sent = await sendTexts({
      embedder,
      purpose: 'document',
      texts: textsToAsk(stage, finisher.look),
      onAnswers: async (answers) => {
        await texts.add(answers);
        for (const { key, answer } of answers)
          progress.answer(key, answer instanceof Float32Array ? undefined : answer.failed);
        finisher.look();
        await progress.tick();
        finisher.check();
      },
      mayAsk: (tokens) => {
        progress.checkBudget(tokens);
        progress.addRequests(1, 0);
        asked += 1;
      },
      onTrouble: (error) => {
        progress.trouble(error.message);
        progress
          .tick()
          .catch((reason: unknown) => log.warn('the progress was not written', { reason: String(reason) }));
      },
      hasAnswered: texts.texts > 0,
      deadline,
      log,
    });
    progress.addRequests(sent.requests - asked, sent.throttled);
    await texts.settle();
    await finisher.end();
  } catch (error) {
    await keepWhatIsThere(stage, finisher);
    throw error;
  }
  const isOver = stage.read.whole && stage.opened.length === 0;
  const done = isOver && stage.pending.length === 0;
  await progress.end(done);
  if (isOver && !done) throw stillPending(stage);
  return { done };
}

/** Writes shards that are whole, one after another, beside the requests. */
interface Finisher {
  /** Looks whether the next shard is whole. */
  readonly look: () => void;
  /** @throws what went wrong in writing one */
  readonly check: () => void;
  /** Looks for the last time. @throws as check */
  readonly end: () => Promise<void>;
}

function makeFinisher(stage: Stage): Finisher {
  let last: Promise<void> = Promise.resolve();
  let isLooking = false;
  const failures: unknown[] = [];
  const check = (): void => {
    for (const failure of failures) throw failure;
  };
  const look = (): void => {
    if (isLooking) return;
    isLooking = true;
    last = last.then(async () => {
      isLooking = false;
      if (failures.length === 0) await writeWholeShards(stage).catch((error: unknown) => failures.push(error));
    });
  };
  return {
    look,
    check,
    end: async () => {
      look();
      await last;
      check();
    },
  };
}

/** After an error, which is what the caller hears of: what was answered before it is kept all the same. */
async function keepWhatIsThere({ texts, progress, log }: Stage, finisher: Finisher): Promise<void> {
  const kept = await Promise.allSettled([texts.settle(), finisher.end()]);
  const written = await Promise.allSettled([progress.end(false)]);
  for (const each of [...kept, ...written])
    if (each.status === 'rejected') log.warn('the embedding was not ended in order', { reason: String(each.reason) });
}

/** Draws the texts that have no answer yet, shard by shard, each once. */
async function* textsToAsk(stage: Stage, look: () => void): AsyncGenerator<TextToEmbed, void, undefined> {
  const { manifest, deadline, pending, opened, read } = stage;
  for (const entry of manifest.shards) {
    if (isNear(deadline)) return;
    const adopted = await adoptShard(stage, entry);
    if (adopted === 'adopted') continue;
    const mayAskAll = adopted === 'failed' || stage.plan.event.only !== 'failed';
    const shard = yield* textsOfShard(stage, entry, mayAskAll);
    if (shard === undefined) pending.push(entry.shard);
    else opened.push(shard);
    look();
  }
  read.whole = true;
}

/** @returns the shard, to be written once its texts have an answer; undefined: some are not asked for now. */
async function* textsOfShard(
  stage: Stage,
  entry: ShardEntry,
  mayAskAll: boolean,
): AsyncGenerator<TextToEmbed, OpenShard | undefined, undefined> {
  const { plan, objects, progress, embed, embedder, read, now } = stage;
  const startedAt = now().toISOString();
  const batch = await getShard(objects, plan, entry.shard);
  const textOf = textsOf(batch, embed, embedder);
  const records: TextOf[] = [];
  let left = 0;
  for (const [at, id] of batch.ids.entries()) {
    const { record, text } = textOf(at);
    records.push(record);
    const next = lookAt(stage, { id, record, mayAskAll });
    if (next === 'leave') left += 1;
    if (next !== 'ask' || record.status !== 'text') continue;
    progress.begin(record.key, id);
    yield { key: record.key, text };
  }
  for (const { values } of batch.vectors.values()) releaseMemory(values);
  if (left > 0) return undefined;
  const isKept = read.kept + batch.count <= maxRecordsKept;
  if (isKept) read.kept += batch.count;
  return { entry, startedAt, next: 0, kept: isKept ? { ids: batch.ids, records } : undefined };
}

interface Look {
  readonly id: string;
  readonly record: TextOf;
  /** False in a shard that was never done, where only failed texts are asked for: of those without an answer none failed. */
  readonly mayAskAll: boolean;
}

/** Counts a record. ask: its text is to be asked for. leave: not by this call. */
function lookAt({ plan, texts, progress }: Stage, { id, record, mayAskAll }: Look): 'ask' | 'leave' | 'done' {
  if (record.status !== 'text') {
    progress.add(record.status === 'without text' ? 'withoutText' : record.status);
    if (record.status === 'failed') progress.name(id, record.reason);
    return 'done';
  }
  const answer = texts.get(record.key);
  if (isAnswered(answer, plan)) {
    progress.add(answer?.failedIn === undefined ? 'completed' : 'failed');
    return 'done';
  }
  if (progress.joins(record.key)) return 'done';
  return mayAskAll || answer !== undefined ? 'ask' : 'leave';
}

/** A failure of an earlier start of the run is no answer: the text is asked for again. */
function isAnswered(answer: Place | undefined, { attempt }: Plan): boolean {
  return answer !== undefined && (answer.failedIn === undefined || answer.failedIn >= attempt);
}

/** Writes shards as long as the next one is whole and there is time. */
async function writeWholeShards(stage: Stage): Promise<void> {
  const { plan, texts, opened, read, progress, log } = stage;
  for (let [open] = opened; open !== undefined && !isNear(stage.deadline); [open] = opened) {
    const shard = open.kept ?? (await readRecords(stage, open.entry.shard));
    for (let record = shard.records[open.next]; record !== undefined; record = shard.records[++open.next])
      if (record.status === 'text' && !isAnswered(texts.get(record.key), plan)) return;
    const made = await writeEmbedded(stage, open.entry, { ...shard, startedAt: open.startedAt });
    progress.addWritten(made);
    opened.shift();
    if (open.kept !== undefined) read.kept -= shard.ids.length;
    const { completed, failed } = made;
    log.info('made the vectors of a shard', { shard: open.entry.shard, completed, failed });
  }
}

async function readRecords({ plan, objects, embed, embedder }: Stage, shard: string): Promise<ShardRecords> {
  const batch = await getShard(objects, plan, shard);
  const textOf = textsOf(batch, embed, embedder);
  return { ids: batch.ids, records: batch.ids.map((_, at) => textOf(at).record) };
}

function stillPending({ plan, pending, progress }: Stage): ImportFailed {
  const what = `${plural(progress.open, 'record')} of run '${plan.run}' in ${plural(pending.length, 'shard')} were never asked for`;
  const why = '"only": "failed" takes up the failed ones alone, and did';
  return new ImportFailed(`${what}: ${why}; start the run again without it to go on with the others`, { ids: pending });
}
