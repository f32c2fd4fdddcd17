import { BudgetExceeded } from '../../errors.ts';
import { runKeys } from '../../keys.ts';
import { getJson, type ObjectStore, putJson } from '../../objects.ts';
import type { Manifest, Plan } from '../../run-files.ts';
import { count } from '../../words.ts';
import { type Embedded, type Embedding, embeddingSchema } from './embed-files.ts';
import type { Texts } from './texts.ts';

/** Failures that embedding.json names; the objects below embedded/ name all. */
const maxNamed = 100;
/** Milliseconds between two writes of embedding.json. */
const writeEveryMs = 1000;

/** How far the embedding of a run is, record by record: what embedding.json says, and what the budget is held against. */
export interface EmbedProgress {
  /** Of a shard whose vectors were there. */
  addShard(made: Embedded): void;
  /** Of a shard that was written now: its records were added one by one, and what it names is new. */
  addWritten(made: Embedded): void;
  add(status: 'completed' | 'copied' | 'failed' | 'withoutText', records?: number): void;
  /** A text that is asked for, on behalf of this record first. */
  begin(key: string, id: string): void;
  /** True when the text is being asked for already: its answer is this record's too. */
  joins(key: string): boolean;
  /** @param reason why the text was refused */
  answer(key: string, reason?: string): void;
  name(id: string, reason: string): void;
  /** @param tokens of what is under way and of the next request @throws BudgetExceeded when these would pass what the event allows */
  checkBudget(tokens: number): void;
  /** Records that wait for an answer, and those that were not looked at. */
  readonly open: number;
  write(isDone: boolean): Promise<void>;
  /** True where embedding.json is there already. */
  readonly goesOn: boolean;
  /** The last time of this call: nothing is under way any more. */
  end(isDone: boolean): Promise<void>;
  /** The provider is busy or away: said until it answers. */
  trouble(reason: string): void;
  /** Writes where it is time. */
  tick(): Promise<void>;
  addRequests(requests: number, throttled: number): void;
}

export interface ProgressOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly texts: Texts;
  readonly now: () => Date;
}

export async function openProgress({ plan, manifest, objects, texts, now }: ProgressOptions): Promise<EmbedProgress> {
  const key = runKeys(plan.run).embedding;
  const { provider, name, version, usdPerMillionTokens } = plan.embed?.model ?? {
    provider: '',
    name: '',
    version: '',
    usdPerMillionTokens: null,
  };
  const earlier = await getJson(objects, key, embeddingSchema);
  const beganAt = now();
  const before = earlier?.attempt?.number === plan.attempt ? earlier.attempt : undefined;
  const startedAt = before?.startedAt ?? beganAt.toISOString();
  const textsBefore = texts.texts - (before?.texts ?? 0);
  const tally = { completed: 0, copied: 0, failed: 0, withoutText: 0, processing: 0, shards: 0 };
  const sent = { requests: earlier?.requests ?? 0, throttled: earlier?.throttled ?? 0 };
  const underWay = new Map<string, { readonly id: string; records: number }>();
  const failures = new Map<string, string>();
  let writtenAt = 0;
  let trouble: string | undefined;

  const usdOf = (tokens: number): number | null =>
    usdPerMillionTokens === null ? null : (tokens * usdPerMillionTokens) / 1e6;
  const open = (): number => manifest.records - tally.completed - tally.failed - tally.withoutText;
  const named = (id: string, reason: string): void => {
    if (failures.size < maxNamed || failures.has(id)) failures.set(id, reason);
  };

  const write = async (done: boolean): Promise<void> => {
    writtenAt = now().getTime();
    const { completed, copied, failed, withoutText, processing, shards } = tally;
    const embedding: Embedding = {
      done,
      model: { provider, name, version },
      records: manifest.records,
      pending: Math.max(0, open() - processing),
      processing,
      completed,
      failed,
      withoutText,
      failures: [...failures].map(([id, reason]) => ({ id, reason })),
      copied,
      shared: Math.max(0, completed - copied - texts.texts),
      texts: texts.texts,
      tokens: Math.round(texts.tokens),
      usd: usdOf(texts.tokens),
      ...sent,
      ...(trouble !== undefined && !done && { trouble }),
      shards,
      startedAt: earlier?.startedAt ?? beganAt.toISOString(),
      at: now().toISOString(),
      attempt: { number: plan.attempt, startedAt, texts: texts.texts - textsBefore },
    };
    await putJson(objects, key, embedding);
  };

  return {
    addShard: (made) => {
      tally.completed += made.completed + made.copied;
      tally.copied += made.copied;
      tally.failed += made.failed;
      tally.withoutText += made.withoutText;
      tally.shards += 1;
      for (const { id, reason } of made.failures) named(id, reason);
    },
    addWritten: (made) => {
      tally.shards += 1;
      for (const { id, reason } of made.failures) named(id, reason);
    },
    add: (status, records = 1) => {
      tally[status] += records;
      if (status === 'copied') tally.completed += records;
    },
    begin: (text, id) => {
      underWay.set(text, { id, records: 1 });
      tally.processing += 1;
    },
    joins: (text) => {
      const asked = underWay.get(text);
      if (asked === undefined) return false;
      asked.records += 1;
      tally.processing += 1;
      return true;
    },
    answer: (text, reason) => {
      trouble = undefined;
      const asked = underWay.get(text);
      if (asked === undefined) return;
      underWay.delete(text);
      tally.processing -= asked.records;
      tally[reason === undefined ? 'completed' : 'failed'] += asked.records;
      if (reason !== undefined) named(asked.id, reason);
    },
    name: named,
    checkBudget: (next) => {
      const budget = plan.event.embed?.budget ?? {};
      const tokens = Math.round(texts.tokens + next);
      const usd = usdOf(tokens);
      const minutes = (now().getTime() - Date.parse(startedAt)) / 60_000;
      const spent = `${count(Math.round(texts.tokens))} tokens of run '${plan.run}' are paid for`;
      if (budget.tokens !== undefined && tokens > budget.tokens)
        throw overBudget(spent, `the next would make it ${count(tokens)}`, `embed.budget.tokens is ${budget.tokens}`);
      if (budget.usd !== undefined && usd !== null && usd > budget.usd)
        throw overBudget(spent, `the next would make it ${usd.toFixed(6)} USD`, `embed.budget.usd is ${budget.usd}`);
      if (budget.minutes !== undefined && minutes > budget.minutes)
        throw overBudget(spent, `it took ${minutes.toFixed(1)} minutes`, `embed.budget.minutes is ${budget.minutes}`);
    },
    get open() {
      return open();
    },
    write,
    goesOn: earlier !== undefined,
    end: async (isDone) => {
      underWay.clear();
      tally.processing = 0;
      await write(isDone);
    },
    trouble: (reason) => {
      trouble = reason;
    },
    tick: async () => {
      if (now().getTime() - writtenAt >= writeEveryMs) await write(false);
    },
    addRequests: (requests, throttled) => {
      sent.requests += requests;
      sent.throttled += throttled;
    },
  };
}

function overBudget(spent: string, next: string, limit: string): BudgetExceeded {
  const mend = 'raise it and start the run again under its id: what is paid for is kept';
  return new BudgetExceeded(`${spent}, ${next}, and ${limit}; ${mend}`, { ids: ['embed.budget'] });
}
