import { z } from 'zod';
import type { EmbeddedText, Embedder } from '../embed/port.ts';
import { sendTexts } from '../embed/send.ts';
import { embeddingSchema } from '../embed/stage/embed-files.ts';
import { textKey } from '../embed/stage/made.ts';
import { BudgetExceeded, InvalidEvent, Throttled } from '../errors.ts';
import type { Embed, Model } from '../event-embed.ts';
import { decodeFloats, encodeFloats } from '../float-text.ts';
import { queryTextsKey, runKeys } from '../keys.ts';
import type { Deadline, Log } from '../log.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import type { Plan, Query } from '../run-files.ts';
import { count, plural } from '../words.ts';
import { type GivenText, truncated } from './query-floats.ts';
import type { GivenQueries } from './query-sets.ts';
import { type QuerySpace, querySpace } from './query-space.ts';
import { searchedVectors } from './searched-vectors.ts';

/** Makes the vectors of queries that are given as texts, by the models that made the vectors they search. */

export interface QueryModels {
  /** An embedding model, made ready once a process. */
  readonly open: (model: Model, limits?: Embed['limits']) => Promise<Embedder>;
  readonly deadline: Deadline;
  readonly log: Log;
}

export interface TextsOptions {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly given: GivenQueries;
  /** Left out: a query that is a text is refused. */
  readonly models?: QueryModels | undefined;
}

/**
 * query-texts/<n>.json: what models answered, by textKey. Beside texts/, which holds documents: some models embed a query
 * otherwise.
 */
const answersSchema = z.array(
  z.strictObject({ key: z.string(), values: z.string().optional(), failed: z.string().optional() }),
);
type Kept = z.infer<typeof answersSchema>[number];

/**
 * The given queries with the vectors of their texts. Every answer is kept in the run's objects as it comes: a call that is
 * repeated asks for what is missing alone.
 * @throws InvalidEvent when a model refuses a text, or its vectors are not of the length that is searched; BudgetExceeded
 * before a request that the event's budget does not allow; Throttled where the deadline came first: call again.
 */
export async function embedQueries(options: TextsOptions): Promise<ReadonlyMap<string, readonly Query[]>> {
  const { plan, given } = options;
  const spaces = new Map(searchedVectors(plan).map((each) => [each.vector, querySpace(plan, each)]));
  const wanted = new Map<string, Wanted>();
  for (const query of [...given.values()].flat()) {
    const space = spaces.get(query.vector);
    if (query.text === undefined || space === undefined) continue;
    for (const model of modelsOf(query, space)) {
      const name = JSON.stringify(model);
      const texts = wanted.get(name)?.texts ?? new Set();
      wanted.set(name, { model, texts: texts.add(query.text) });
    }
  }
  const found = wanted.size === 0 ? new Map<string, Answered>() : await askAll(options, [...wanted.values()]);
  const vectorOf = (model: Model | undefined, { set, id, text = '' }: GivenText): Float32Array => {
    const answered = found.get(JSON.stringify(model));
    const answer = answered?.get(text);
    if (answer instanceof Float32Array) return answer;
    const where = `validate.recall.sets '${set}', query '${id}'`;
    throw new InvalidEvent(`${where}: its text has no vector, ${answer?.failed ?? 'no model was asked'}`, {
      ids: [where],
    });
  };
  return new Map(
    [...given].map(([set, queries]) => [
      set,
      queries.map((query): Query => {
        const { asksSource, values, ...rest } = query;
        const space = spaces.get(query.vector);
        if (query.text === undefined || space === undefined) return { ...rest, values: values ?? '' };
        return { ...rest, ...madeFloats(query, space, (model) => vectorOf(model, query)) };
      }),
    ]),
  );
}

interface Wanted {
  readonly model: Model;
  readonly texts: Set<string>;
}

/** Answers by their text. */
type Answered = ReadonlyMap<string, EmbeddedText['answer']>;

function modelsOf({ asksSource }: GivenText, { model, source }: QuerySpace): Model[] {
  const asked = [model, asksSource === true ? source?.model : undefined];
  return asked.filter((each) => each !== undefined);
}

function madeFloats(
  { set, id, asksSource }: GivenText,
  { model, dimension, whole, source }: QuerySpace,
  vectorOf: (model: Model | undefined) => Float32Array,
): Pick<Query, 'values' | 'sourceValues'> {
  const made = vectorOf(model);
  const check = (values: Float32Array, asked: Model | undefined, expected: number | undefined, side: string): void => {
    if (expected === undefined || values.length === expected) return;
    const what = `validate.recall.sets '${set}', query '${id}': ${asked?.name} made a vector of ${count(values.length)} floats, and those of the ${side} have ${count(expected)}`;
    throw new InvalidEvent(`${what}; name the model that made them, and its dimensions`, { ids: [set] });
  };
  check(made, model, whole, 'target');
  const values = dimension === undefined || made.length === dimension ? made : truncated(made, dimension);
  if (source === undefined || asksSource !== true) return { values: encodeFloats(values) };
  const old = source.isSameModel ? made : vectorOf(source.model);
  check(old, source.model, source.dimension, 'source');
  return { values: encodeFloats(values), sourceValues: encodeFloats(old) };
}

async function askAll(options: TextsOptions, wanted: readonly Wanted[]): Promise<Map<string, Answered>> {
  const { plan, objects, models } = options;
  if (models === undefined) {
    throw new InvalidEvent('queries that are texts cannot be embedded here; give them their vectors', {
      ids: ['validate.recall.sets'],
    });
  }
  const keys = await objects.list(runKeys(plan.run).queryTexts);
  const parts = await Promise.all(keys.map((key) => getJson(objects, key, answersSchema)));
  const kept = new Map(parts.flatMap((part) => part ?? []).map((each) => [each.key, each]));
  const keep = groupCommit(async (answers: readonly Kept[], number) => {
    await putJson(objects, queryTextsKey(plan.run, keys.length + number), answers);
  });
  const mayAsk = await budgetOf(options);
  const found = new Map<string, Answered>();
  for (const { model, texts } of wanted) {
    const { embed } = plan.event;
    const limits = model === embed?.model ? embed.limits : undefined;
    const embedder = await models.open(model, limits);
    const keyed = [...texts].map((text) => ({ key: textKey(embedder.card, text), text }));
    const missing = keyed.filter(({ key }) => !kept.has(key));
    const asked = { ...models, embedder, purpose: 'query', texts: missing } as const;
    const sent = await sendTexts({
      ...asked,
      mayAsk: (tokens) => mayAsk(embedder, tokens),
      onAnswers: async (answers) => {
        const own = answers.map(asKept);
        for (const each of own) kept.set(each.key, each);
        await keep(own);
      },
    });
    if (!sent.done) {
      const left = missing.filter(({ key }) => !kept.has(key)).length;
      throw new Throttled(`${plural(left, 'text')} of queries are still to be embedded by ${model.name}; call again`);
    }
    found.set(JSON.stringify(model), new Map(keyed.map(({ key, text }) => [text, asAnswer(kept.get(key))])));
  }
  return found;
}

const asKept = ({ key, answer }: EmbeddedText): Kept =>
  answer instanceof Float32Array ? { key, values: encodeFloats(answer) } : { key, failed: answer.failed };

function asAnswer(kept: Kept | undefined): EmbeddedText['answer'] {
  if (kept?.values !== undefined) return decodeFloats(kept.values);
  return { failed: kept?.failed ?? 'the model gave no answer' };
}

/**
 * Writes what came while the last write was under way in one: an object a request would be 10,000 of them where a model takes
 * one text at a time. Whoever waits goes on once his answers are kept.
 */
function groupCommit(write: (answers: readonly Kept[], number: number) => Promise<void>) {
  let [waiting, number] = [[] as Kept[], 0];
  let last: Promise<void> = Promise.resolve();
  return async (answers: readonly Kept[]): Promise<void> => {
    const isFirst = waiting.length === 0;
    waiting.push(...answers);
    if (isFirst) {
      last = last.then(async () => {
        const next = waiting;
        waiting = [];
        await write(next, number++);
      });
    }
    await last;
  };
}

/** What is spent so far, and what is asked for, held against the event's budget. */
async function budgetOf({ plan, objects }: TextsOptions): Promise<(embedder: Embedder, tokens: number) => void> {
  const { embed } = plan.event;
  if (embed === undefined) return () => {};
  const { budget } = embed;
  const spent = await getJson(objects, runKeys(plan.run).embedding, embeddingSchema);
  let [tokens, usd] = [spent?.tokens ?? 0, spent?.usd ?? 0];
  return ({ card }, more) => {
    tokens += more;
    usd += (more / 1e6) * (card.usdPerMillionTokens ?? 0);
    const isOver =
      (budget.tokens !== undefined && tokens > budget.tokens) || (budget.usd !== undefined && usd > budget.usd);
    if (!isOver) return;
    const come = `the texts of validate.recall.sets bring the run to ${count(tokens)} tokens and ${usd.toFixed(4)} USD`;
    const allowed = JSON.stringify(budget);
    throw new BudgetExceeded(
      `${come}, more than embed.budget allows, ${allowed}; raise it, or ask fewer texts: what is embedded is kept`,
    );
  };
}
