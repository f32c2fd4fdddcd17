import { setTimeout as sleep } from 'node:timers/promises';
import { RecordRefused, StoreUnavailable, Throttled } from '../errors.ts';
import { isNear } from '../log.ts';
import { makeAnswers } from './answers.ts';
import { type Limiter, makeLimiter } from './limiter.ts';
import { makePacker, type Request, tokensOf } from './packing.ts';
import type { Embedder, EmbedResponse, SendOptions, Sent } from './port.ts';
import { makePressure } from './pressure.ts';

/** Rates are the account's, so they are kept to from call to call of a process. */
const limiters = new WeakMap<Embedder, Limiter>();

/** How long a pause goes on before we look again. */
const longestSleepMs = 1_000;

const realClock = { now: Date.now, sleep: async (ms: number): Promise<void> => void (await sleep(ms)) };

/**
 * Asks for every text, packed into requests, within the provider's limits, again with growing pauses where it is busy or
 * away. What an answer lacks is asked for again, what it holds is not. An error ends it after the answers under way have
 * been handed over.
 * @throws Throttled, StoreUnavailable when the provider has been busy or away for too long, and as Embedder.embed, `mayAsk`
 * and `onAnswers` do.
 */
export async function sendTexts(options: SendOptions): Promise<Sent> {
  const { embedder, deadline, clock = realClock } = options;
  const limiter = limiters.get(embedder) ?? makeLimiter(embedder.limits);
  limiters.set(embedder, limiter);
  const packer = makePacker(options.texts, embedder);
  const pressure = makePressure({ limits: embedder.limits, log: options.log });
  const answers = makeAnswers(options);
  /** To be asked before any further text is drawn. */
  const again: Request[] = [];
  const underWay = new Set<Promise<void>>();
  let tokensUnderWay = 0;
  let failure: { readonly error: unknown } | undefined;
  let requests = 0;

  const ask = async (request: Request, tokens: number): Promise<void> => {
    const begunAt = clock.now();
    const texts = request.map(({ text }) => text);
    const asked = await settle(embedder.embed({ texts, purpose: options.purpose }));
    // What has arrived is the caller's to count, from here on.
    tokensUnderWay -= tokens;
    try {
      if ('error' in asked) return await recover(asked.error, request, begunAt);
      pressure.succeeded();
      again.push(...(await answers.take(request, asked.response)));
    } catch (error) {
      failure ??= { error };
    }
  };
  const recover = async (error: unknown, request: Request, begunAt: number): Promise<void> => {
    if (error instanceof RecordRefused) {
      pressure.succeeded();
      if (saysTooMany(error)) pressure.tooMany(request.length);
      again.unshift(...(await answers.refused(request, error)));
    } else if (error instanceof Throttled || error instanceof StoreUnavailable) {
      options.onTrouble?.(error);
      pressure.failed(error, begunAt, clock.now());
      // One that was left out of an answer is asked for alone, so it does not go among the others again.
      if (request.some(({ tries }) => tries > 0)) again.unshift(request);
      else packer.putBack(request);
    } else throw error;
  };
  const waitMs = (tokens: number): number => {
    const now = clock.now();
    return Math.max(pressure.pausedUntil - now, limiter.waitMs(tokens, now));
  };

  /** Undefined where there is none, or no room for one. */
  const nextRequest = async (): Promise<Request | undefined> => {
    if (underWay.size >= pressure.concurrency()) return undefined;
    return again.shift() ?? (await packer.next(pressure.textsPerRequest()));
  };

  /** One request begun, or a wait for what is under way; false at the end. */
  const step = async (): Promise<boolean> => {
    if (isNear(deadline)) return false;
    const request = await nextRequest();
    if (request === undefined) {
      // One that failed while texts were drawn has put its own back.
      if (underWay.size === 0) return again.length > 0 || (await packer.hasMore());
      await Promise.race(underWay);
      return true;
    }
    const tokens = tokensOf(request);
    const ms = waitMs(tokens);
    if (ms > 0) {
      again.unshift(request);
      if (isNear({ remainingMs: () => deadline.remainingMs() - ms })) return false;
      // In slices, so that an error of what is under way is not kept waiting.
      await clock.sleep(Math.min(ms, longestSleepMs));
      return true;
    }
    try {
      options.mayAsk?.(tokens + tokensUnderWay);
    } catch (error) {
      if (underWay.size === 0) throw error;
      // What is under way may turn out to be less than was counted for it.
      again.unshift(request);
      await Promise.race(underWay);
      return true;
    }
    limiter.took(tokens, clock.now());
    tokensUnderWay += tokens;
    requests += 1;
    const asked: Promise<void> = ask(request, tokens).finally(() => underWay.delete(asked));
    underWay.add(asked);
    return true;
  };

  try {
    while (failure === undefined && (await step()));
  } catch (error) {
    failure ??= { error };
  }
  await Promise.all(underWay);
  const done = failure === undefined && again.length === 0 && !(await packer.hasMore());
  await packer.close();
  if (failure !== undefined) throw failure.error;
  // Called again at once it would do no better, so it is not said to have gone on.
  if (!done && answers.count === 0 && pressure.lastError !== undefined) throw pressure.lastError;
  return { done, requests, throttled: pressure.throttled };
}

type Asked = { readonly response: EmbedResponse } | { readonly error: unknown };

/** The provider's errors apart from those of who takes the answers: only after its own may a text be asked for again. */
async function settle(asked: Promise<EmbedResponse>): Promise<Asked> {
  try {
    return { response: await asked };
  } catch (error) {
    return { error };
  }
}

/**
 * Servers with a limit of their own say so in words alone: "batch size 64 > maximum allowed batch size 32" (Text Embeddings
 * Inference), "batch size is invalid, it should not be larger than 10" (DashScope).
 */
const saysTooMany = (error: RecordRefused): boolean => /batch.?size/i.test(error.message);
