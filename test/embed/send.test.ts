/** Over 400 lines: what may go wrong between packing and keeping, before one clock that the test turns. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { EmbedRequest } from '../../lib/embed/port.ts';
import { sendTexts } from '../../lib/embed/send.ts';
import {
  AccessDenied,
  BudgetExceeded,
  InvalidEvent,
  RecordRefused,
  StoreUnavailable,
  Throttled,
} from '../../lib/errors.ts';
import { type Collected, collect, noDeadline, quiet, sendAndCollect, toEmbed } from './make.ts';
import { answerAll, makeScripted, type Script, vectorOf } from './scripted.ts';

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `text ${i}`);

/** Requests and tokens of the busiest minute. */
function busiest(begun: readonly { readonly at: number; readonly tokens: number }[]): {
  requests: number;
  tokens: number;
} {
  let requests = 0;
  let tokens = 0;
  for (const { at } of begun) {
    const minute = begun.filter((each) => each.at >= at && each.at < at + 60_000);
    requests = Math.max(requests, minute.length);
    tokens = Math.max(
      tokens,
      minute.reduce((sum, each) => sum + each.tokens, 0),
    );
  }
  return { requests, tokens };
}

type Planned = 'none' | 'throttle' | 'away' | 'half' | 'nothing' | 'first';

const isBad = (text: string): boolean => text.startsWith('!');

const isTrouble = (fault: Planned): boolean => fault === 'throttle' || fault === 'away';

/** Fails as planned, refuses bad texts, and leaves each of the others out twice at most: a third time would rightly be a failure. */
function failAsPlanned(planned: readonly Planned[]): Script {
  const answered = new Set<string>();
  const left = new Map<string, number>();
  const isOut = (fault: Planned, text: string, i: number): boolean => {
    if (fault !== 'nothing' && !(fault === 'half' && i % 2 === 1) && !(fault === 'first' && i === 0)) return false;
    left.set(text, (left.get(text) ?? 0) + 1);
    return (left.get(text) ?? 0) < 3;
  };
  return (n, { texts }) => {
    for (const text of texts) expect(answered).not.toContain(text);
    // After four in a row it answers: being away for long has its own tests.
    const fault = planned.slice(Math.max(0, n - 4), n).filter(isTrouble).length === 4 ? 'none' : (planned[n] ?? 'none');
    if (fault === 'throttle') throw new Throttled('too many', n % 2 === 0 ? { retryAfterMs: 700 } : {});
    if (fault === 'away') throw new StoreUnavailable('away');
    if (texts.some(isBad)) throw new RecordRefused(`one of ${texts.length} is refused`);
    return texts.map((text, i) => {
      if (isOut(fault, text, i)) return undefined;
      answered.add(text);
      return vectorOf(text);
    });
  };
}

describe('whatever a provider does', () => {
  const anyRun = fc.record({
    good: fc.uniqueArray(fc.string({ minLength: 1, maxLength: 40 }), { maxLength: 60 }),
    // Sixteen refused before the first answer say that the event is wrong, which has its own test.
    bad: fc.uniqueArray(fc.string({ maxLength: 10 }), { maxLength: 7 }),
    planned: fc.array(fc.constantFrom<Planned[]>('none', 'none', 'throttle', 'away', 'half', 'nothing', 'first'), {
      maxLength: 30,
    }),
    limits: fc.record({
      textsPerRequest: fc.integer({ min: 1, max: 10 }),
      tokensPerRequest: fc.integer({ min: 5, max: 100 }),
      requestsPerMinute: fc.integer({ min: 1, max: 50 }),
      tokensPerMinute: fc.integer({ min: 50, max: 500 }),
      concurrency: fc.integer({ min: 1, max: 5 }),
    }),
  });

  test('every text is answered once, asked for again only where it was not, and no limit is passed', async () => {
    await fc.assert(
      fc.asyncProperty(anyRun, async ({ good, bad, planned, limits }) => {
        const texts = [...good.filter((text) => !isBad(text)), ...bad.map((text) => `!${text}`)].toSorted();
        const scripted = makeScripted(failAsPlanned(planned), limits);
        const { begun } = scripted;
        const { keys, answers, tokens, sent } = await sendAndCollect(scripted.embedder, texts, scripted);
        expect(sent).toEqual({ done: true, requests: begun.length, throttled: expect.any(Number) });
        expect(keys.toSorted()).toEqual(texts);
        const expected = (text: string): unknown => (isBad(text) ? { failed: 'one of 1 is refused' } : vectorOf(text));
        for (const text of texts) expect(answers.get(text)).toEqual(expected(text));
        expect(tokens).toBe(scripted.charged);
        for (const request of begun) {
          expect(request.texts.length).toBeLessThanOrEqual(limits.textsPerRequest);
          if (request.texts.length > 1) expect(request.tokens).toBeLessThanOrEqual(limits.tokensPerRequest);
        }
        const minute = busiest(begun);
        expect(minute.requests).toBeLessThanOrEqual(limits.requestsPerMinute);
        expect(minute.tokens).toBeLessThanOrEqual(limits.tokensPerMinute);
      }),
      { numRuns: 150 },
    );
  });

  test("the texts' tokens add up to what the provider charged, also for what it left out", async () => {
    const script: Script = (n, { texts }) =>
      texts.map((text, i) => (n % 3 === 0 && i === 0 ? undefined : vectorOf(text)));
    const scripted = makeScripted(script, { textsPerRequest: 7 });
    const { tokens } = await sendAndCollect(scripted.embedder, numbered(100), { clock: scripted.clock });
    expect(tokens).toBe(scripted.charged);
  });
});

describe('a provider that is busy or away', () => {
  test('gets no request before the time it asks for, from any of those that run side by side', async () => {
    const script: Script = (n, request, now) => {
      if (n === 0) throw new Throttled('busy', { retryAfterMs: 30_000 });
      return answerAll(n, request, now);
    };
    const { embedder, clock, begun } = makeScripted(script, { concurrency: 4 });
    await sendAndCollect(embedder, numbered(40), { clock });
    const early = begun.filter(({ at }) => at > 0 && at < 30_000);
    expect(early).toEqual([]);
    expect(begun.some(({ at }) => at >= 30_000)).toBe(true);
  });

  test('that throttles on and on ends the call with its own words after five minutes, for the state machine to try later', async () => {
    const { embedder, clock } = makeScripted(() => {
      throw new Throttled('busy all day');
    });
    const sent = sendAndCollect(embedder, numbered(4), { clock });
    await expect(sent).rejects.toThrow(Throttled);
    await expect(sent).rejects.toThrow('busy all day');
    expect(clock.now()).toBeGreaterThan(300_000);
    expect(clock.now()).toBeLessThan(330_000);
  });

  test('that is away ends it after two minutes', async () => {
    const { embedder, clock } = makeScripted(() => {
      throw new StoreUnavailable('nobody there');
    });
    await expect(sendAndCollect(embedder, numbered(4), { clock })).rejects.toThrow(StoreUnavailable);
    expect(clock.now()).toBeGreaterThan(120_000);
    expect(clock.now()).toBeLessThan(150_000);
  });

  test('that asks for a wait of a day is believed at once, since no function waits so long', async () => {
    const { embedder, clock, begun } = makeScripted(() => {
      throw new Throttled('come back tomorrow', { retryAfterMs: 86_400_000 });
    });
    await expect(sendAndCollect(embedder, numbered(4), { clock })).rejects.toThrow('come back tomorrow');
    expect(begun.length).toBeLessThanOrEqual(2);
    expect(clock.now()).toBe(0);
  });

  test('that takes too long for many texts is asked for fewer at once', async () => {
    const script: Script = (n, request, now) => {
      if (request.texts.length > 8) throw new StoreUnavailable('it has not answered within 25 seconds');
      return answerAll(n, request, now);
    };
    const { embedder, clock, begun } = makeScripted(script, { textsPerRequest: 64, concurrency: 1 });
    const { keys } = await sendAndCollect(embedder, numbered(64), { clock });
    expect(keys.length).toBe(64);
    expect(begun.slice(0, 4).map(({ texts }) => texts.length)).toEqual([64, 32, 16, 8]);
  });
});

describe('what is under way is kept', () => {
  /** The first request ends as it is told to only when the others have been answered. */
  function lateFailure(error: Error): { script: Script; release: () => void } {
    let release = (): void => undefined;
    const others = new Promise<void>((resolve) => {
      release = resolve;
    });
    return {
      script: async (n, { texts }) => {
        if (n === 0) throw error;
        await others;
        return texts.map(vectorOf);
      },
      release: () => release(),
    };
  }

  test('when another request fails for good: its answers are handed over before the error is thrown', async () => {
    const { script, release } = lateFailure(new AccessDenied('wrong key'));
    const { embedder, clock, begun } = makeScripted(script, { concurrency: 3 });
    const collected: Collected = { answers: new Map(), keys: [], tokens: 0 };
    const sent = sendTexts({
      embedder,
      purpose: 'document',
      texts: toEmbed(numbered(100)),
      onAnswers: async (answers) => collect(collected, answers),
      deadline: noDeadline,
      log: quiet,
      clock,
    });
    setTimeout(release, 20);
    await expect(sent).rejects.toThrow('wrong key');
    const answered = begun.slice(1).flatMap(({ texts }) => texts);
    expect(answered.length).toBeGreaterThan(0);
    expect(collected.keys.toSorted()).toEqual(answered.toSorted());
  });

  test('when the budget is reached: what was asked for is answered, and the budget is not passed by those side by side', async () => {
    const script: Script = async (n, request, now) => {
      await new Promise((resolve) => setTimeout(resolve, 2));
      return answerAll(n, request, now);
    };
    const scripted = makeScripted(script, { concurrency: 4, textsPerRequest: 3 });
    const budget = 200;
    const collected: Collected = { answers: new Map(), keys: [], tokens: 0 };
    const sent = sendTexts({
      embedder: scripted.embedder,
      purpose: 'document',
      texts: toEmbed(numbered(100)),
      onAnswers: async (answers) => collect(collected, answers),
      mayAsk: (tokens) => {
        if (collected.tokens + tokens > budget) throw new BudgetExceeded(`${collected.tokens} + ${tokens} > ${budget}`);
      },
      deadline: noDeadline,
      log: quiet,
      clock: scripted.clock,
    });
    await expect(sent).rejects.toThrow(BudgetExceeded);
    expect(scripted.charged).toBeLessThanOrEqual(budget);
    expect(scripted.charged).toBeGreaterThan(budget - 30);
    expect(collected.tokens).toBe(scripted.charged);
  });

  test('when the budget is near: a request waits for what those under way really cost, instead of stopping a run that fits', async () => {
    const script: Script = async (n, request, now) => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return answerAll(n, request, now);
    };
    const { embedder, clock } = makeScripted(script, { concurrency: 4, textsPerRequest: 3 });
    const texts = numbered(60);
    const [charged, request] = [texts.join('').length, 2 * 3 * 'text 60'.length];
    let spent = 0;
    const sent = await sendTexts({
      // It counts twice what is charged.
      embedder: { ...embedder, countTokens: (text) => 2 * text.length },
      purpose: 'document',
      texts: toEmbed(texts),
      onAnswers: async (answers) => {
        for (const { tokens } of answers) spent += tokens;
      },
      mayAsk: (tokens) => {
        if (spent + tokens > charged + request) throw new BudgetExceeded(`${spent} + ${tokens}`);
      },
      deadline: noDeadline,
      log: quiet,
      clock,
    });
    expect(sent.done).toBe(true);
    expect(spent).toBe(charged);
  });

  test('when keeping the answers fails, that ends it: they are not asked and paid for again', async () => {
    const { embedder, clock, begun } = makeScripted(answerAll, { concurrency: 1 });
    const sent = sendAndCollect(embedder, numbered(4), {
      clock,
      onAnswers: async () => {
        throw new StoreUnavailable('the bucket is away');
      },
    });
    await expect(sent).rejects.toThrow('the bucket is away');
    expect(begun.length).toBe(1);
  });
});

describe('near the deadline', () => {
  test('nothing is begun, what is under way is kept, and the next call does the rest without asking twice', async () => {
    const texts = numbered(100);
    let remainingMs = 100_000;
    const script: Script = (n, request, now) => {
      remainingMs -= 8_000;
      return answerAll(n, request, now);
    };
    const { embedder, clock, begun } = makeScripted(script, { concurrency: 2 });
    const first = await sendAndCollect(embedder, texts, { clock, deadline: { remainingMs: () => remainingMs } });
    expect(first.sent.done).toBe(false);
    expect(first.keys.length).toBeGreaterThan(0);
    expect(first.keys.length).toBeLessThan(100);
    expect(remainingMs).toBeGreaterThan(0);
    const rest = texts.filter((text) => !first.answers.has(text));
    const second = await sendAndCollect(embedder, rest, { clock });
    expect(second.sent.done).toBe(true);
    const asked = begun.flatMap((request) => request.texts);
    expect(asked.length).toBe(new Set(asked).size);
  });

  test('it is done all the same when nothing was left', async () => {
    let remainingMs = 100_000;
    const script: Script = (n, request, now) => {
      remainingMs = 0;
      return answerAll(n, request, now);
    };
    const { embedder, clock } = makeScripted(script);
    const { sent } = await sendAndCollect(embedder, numbered(3), {
      clock,
      deadline: { remainingMs: () => remainingMs },
    });
    expect(sent.done).toBe(true);
  });

  test('a pause that would pass it hands over; a call that got nothing says why, so that it is not repeated without a pause', async () => {
    const busy: Script = () => {
      throw new Throttled('busy', { retryAfterMs: 60_000 });
    };
    const nothing = makeScripted(busy);
    const deadline = { remainingMs: () => 50_000 };
    const sent = sendAndCollect(nothing.embedder, numbered(4), { clock: nothing.clock, deadline });
    await expect(sent).rejects.toThrow(Throttled);

    const some = makeScripted((n, request, now) => (n === 0 ? answerAll(n, request, now) : busy(n, request, now)), {
      concurrency: 1,
    });
    const handedOver = await sendAndCollect(some.embedder, numbered(10), { clock: some.clock, deadline });
    expect(handedOver.sent).toEqual({ done: false, requests: 2, throttled: 1 });
  });
});

describe('a request that is refused as a whole', () => {
  test('is halved until the bad text stands alone; the others are answered', async () => {
    const script: Script = (_, { texts }) => {
      if (texts.includes('text 40')) throw new RecordRefused('invalid input');
      return texts.map(vectorOf);
    };
    const { embedder, clock, begun } = makeScripted(script, { textsPerRequest: 64 });
    const { answers } = await sendAndCollect(embedder, numbered(64), { clock });
    expect(answers.get('text 40')).toEqual({ failed: 'invalid input' });
    expect([...answers.values()].filter((answer) => answer instanceof Float32Array).length).toBe(63);
    // 64, then two of 32, 16, 8, 4, 2 and 1 each.
    expect(begun.length).toBe(13);
  });

  test('and every text in it too: the event is wrong, and that is said before all are named as failed', async () => {
    const { embedder, clock, begun } = makeScripted(
      () => {
        throw new RecordRefused('this model takes images alone');
      },
      { textsPerRequest: 64 },
    );
    const sent = sendAndCollect(embedder, numbered(1_000), { clock });
    await expect(sent).rejects.toThrow(InvalidEvent);
    await expect(sent).rejects.toThrow(/this model takes images alone; so it was for 16 texts/);
    expect(begun.length).toBeLessThan(60);
  });
});

test('texts that are each too long by themselves are named one by one, however many come before the first answer', async () => {
  const script: Script = (_, { texts }) => {
    const [long] = texts.filter((text) => text.length > 10);
    if (long !== undefined) throw new RecordRefused(`too many tokens: ${long}`);
    return texts.map(vectorOf);
  };
  const { embedder, clock } = makeScripted(script, { textsPerRequest: 1 });
  const texts = [...numbered(100).map((text) => `a very long ${text}`), 'short'];
  const { answers } = await sendAndCollect(embedder, texts, { clock });
  expect([...answers.values()].filter((answer) => answer instanceof Float32Array).length).toBe(1);
  expect(answers.size).toBe(101);
});

test('a text that is never answered fails with the reason after the third time, and holds up no other', async () => {
  const script: Script = (_, { texts }) => texts.map((text) => (text === 'text 5' ? undefined : vectorOf(text)));
  const { embedder, clock, begun } = makeScripted(script);
  const { answers } = await sendAndCollect(embedder, numbered(20), { clock });
  expect(answers.get('text 5')).toEqual({
    failed: "the model 'scripted' was asked 3 times and gave no vector of 1 finite floats",
  });
  expect(begun.filter(({ texts }) => texts.includes('text 5')).length).toBe(3);
  expect(answers.size).toBe(20);
});

test('texts are drawn as they are needed, so that a run of millions is not in memory', async () => {
  let drawn = 0;
  let mostAhead = 0;
  let answered = 0;
  function* draw(): Generator<{ key: string; text: string }> {
    for (const text of numbered(1_000)) {
      drawn += 1;
      mostAhead = Math.max(mostAhead, drawn - answered);
      yield { key: text, text };
    }
  }
  const { embedder, clock } = makeScripted(answerAll, { concurrency: 3, textsPerRequest: 10 });
  const sent = await sendTexts({
    embedder,
    purpose: 'document',
    texts: draw(),
    onAnswers: async (answers) => {
      await new Promise((resolve) => setImmediate(resolve));
      answered += answers.length;
    },
    deadline: noDeadline,
    log: quiet,
    clock,
  });
  expect(sent.done).toBe(true);
  expect(drawn).toBe(1_000);
  expect(mostAhead).toBeLessThanOrEqual(41);
});

test('the purpose reaches the provider, since some embed a query otherwise than a document', async () => {
  const purposes: EmbedRequest['purpose'][] = [];
  const { embedder, clock } = makeScripted((n, request, now) => {
    purposes.push(request.purpose);
    return answerAll(n, request, now);
  });
  await sendAndCollect(embedder, ['one'], { clock, purpose: 'query' });
  expect(purposes).toEqual(['query']);
});
