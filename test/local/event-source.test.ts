import { setTimeout as sleep } from 'node:timers/promises';
import { ReceiveMessageCommand, SendMessageBatchCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ImporterSettings } from '../../infra/local/deployment.ts';
import { startEventSource } from '../../infra/local/event-source.ts';
import { limits } from '../../infra/local/limits.ts';
import { type LocalQueue, startQueue } from '../../infra/local/queue.ts';
import { until } from '../until.ts';

interface SqsEvent {
  readonly Records: readonly {
    readonly messageId: string;
    readonly body: string;
    readonly attributes: { readonly ApproximateReceiveCount: string };
  }[];
}

const settings: ImporterSettings = {
  function: 'import-shard',
  batchSize: 10,
  windowSeconds: 0,
  maxConcurrency: 2,
  partialFailures: true,
};
let queue: LocalQueue;
beforeEach(async () => {
  queue = await startQueue({ visibilitySeconds: 30, maxReceiveCount: 3 });
});
afterEach(async () => {
  await queue.close();
});

const send = (...bodies: string[]) =>
  queue.client.send(
    new SendMessageBatchCommand({
      QueueUrl: queue.url,
      Entries: bodies.map((MessageBody, i) => ({ Id: String(i), MessageBody })),
    }),
  );

/** Delivers with `answer` until `isDone`. Gives the bodies in the order of their deliveries. */
async function deliver(
  answer: (event: SqsEvent) => unknown,
  isDone: (bodies: readonly string[]) => boolean,
  more: Partial<ImporterSettings> = {},
): Promise<readonly string[]> {
  const bodies: string[] = [];
  const source = startEventSource({
    client: queue.client,
    arrival: queue.arrival,
    queueUrl: queue.url,
    settings: { ...settings, ...more },
    invoke: async (_, payload) => {
      const event = payload as SqsEvent;
      bodies.push(...event.Records.map(({ body }) => body));
      return await answer(event);
    },
    maxConcurrency: 2,
    onFailure: () => undefined,
    retrySeconds: 0,
  });
  await until(
    () => isDone(bodies),
    () => `deliveries, where there were ${bodies.join(', ')}`,
  ).finally(source.stop);
  return bodies;
}

async function messagesIn(url: string): Promise<readonly string[]> {
  const { Messages = [] } = await queue.client.send(
    new ReceiveMessageCommand({ QueueUrl: url, MaxNumberOfMessages: 10 }),
  );
  return Messages.map(({ Body = '' }) => Body);
}

const failing = (event: SqsEvent, body: string) => ({
  batchItemFailures: event.Records.filter((record) => record.body === body).map(({ messageId }) => ({
    itemIdentifier: messageId,
  })),
});

describe('the event source', () => {
  test('delivers again what the function names as failed, and deletes the rest', async () => {
    await send('good', 'bad', 'fine');
    let tries = 0;
    const bodies = await deliver(
      (event) =>
        event.Records.some(({ body }) => body === 'bad') && ++tries < 2
          ? failing(event, 'bad')
          : { batchItemFailures: [] },
      (seen) => seen.filter((body) => body === 'bad').length === 2,
    );
    expect([...bodies].sort()).toEqual(['bad', 'bad', 'fine', 'good']);
    await sleep(50);
    expect(await messagesIn(queue.url)).toEqual([]);
  });

  test('delivers a whole batch again when the function throws, as Lambda does', async () => {
    await send('a', 'b');
    let isFirst = true;
    const bodies = await deliver(
      () => {
        if (!isFirst) return { batchItemFailures: [] };
        isFirst = false;
        throw new Error('gone');
      },
      (seen) => seen.length === 4,
    );
    expect([...bodies].sort()).toEqual(['a', 'a', 'b', 'b']);
  });

  test('gives a poison message up to the dead letters after the deliveries that the template allows', async () => {
    await send('poison');
    const counts: string[] = [];
    const bodies = await deliver(
      (event) => {
        counts.push(...event.Records.map(({ attributes }) => attributes.ApproximateReceiveCount));
        return failing(event, 'poison');
      },
      (seen) => seen.length === 3,
    );
    expect(await messagesIn(queue.url)).toEqual([]);
    expect(bodies).toEqual(['poison', 'poison', 'poison']);
    expect(counts).toEqual(['1', '2', '3']);
    expect(await messagesIn(queue.deadLetterUrl)).toEqual(['poison']);
  });

  test('fails the whole batch when the function names a message that it was not given', async () => {
    await send('a');
    let calls = 0;
    const bodies = await deliver(
      () => (++calls === 1 ? { batchItemFailures: [{ itemIdentifier: 'nobody' }] } : {}),
      (seen) => seen.length === 2,
    );
    expect(bodies).toEqual(['a', 'a']);
  });

  test('hands over no more messages at once than the template says', async () => {
    await send('a', 'b', 'c');
    const sizes: number[] = [];
    await deliver(
      (event) => {
        sizes.push(event.Records.length);
        return {};
      },
      (seen) => seen.length === 3,
      { batchSize: 1 },
    );
    expect(sizes).toEqual([1, 1, 1]);
  });

  test('waits for the batch in flight when it stops, and takes no other', async () => {
    await send('a', 'b', 'c', 'd', 'e');
    let finished = 0;
    const bodies = await deliver(
      async () => {
        await sleep(100);
        finished++;
        return {};
      },
      (seen) => seen.length > 0,
      { batchSize: 1, maxConcurrency: 2 },
    );
    expect(bodies.length).toBeLessThanOrEqual(2);
    expect(finished).toBe(bodies.length);
  });
});

describe('an event source that has nothing to do', () => {
  const idle = (seen: () => void, maxConcurrency = 2) =>
    startEventSource({
      client: queue.client,
      arrival: queue.arrival,
      queueUrl: queue.url,
      settings,
      invoke: async () => seen(),
      maxConcurrency,
      onFailure: () => undefined,
    });
  // With a look a second one of two would take longer; the others may be late for whatever this machine does besides.
  const limitMs = 500;
  const median = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1] ?? Infinity;

  test('stops at once: its last look would be waited for at the end of every run', async () => {
    const times: number[] = [];
    for (let i = 0; i < 10; i++) {
      const source = idle(() => undefined);
      await sleep(20);
      const began = performance.now();
      await source.stop();
      times.push(performance.now() - began);
    }
    expect(median(times)).toBeLessThan(limitMs);
  });

  test('takes what comes as it comes, not at its next look', async () => {
    let taken = (): void => undefined;
    const source = idle(() => taken(), 1);
    const times: number[] = [];
    for (let i = 0; i < 20; i++) {
      const delivered = new Promise<void>((resolve) => {
        taken = resolve;
      });
      const began = performance.now();
      await send(String(i));
      await delivered;
      times.push(performance.now() - began);
      // Time enough to have looked again, and to wait.
      await sleep(20);
    }
    expect(median(times)).toBeLessThan(limitMs);
    await source.stop();
  });
});

test('a window fills a batch with what comes while it is open, and is waited for, not asked about over and over', async () => {
  const windowSeconds = 2;
  let looks = 0;
  queue.client.middlewareStack.add(
    (next, { commandName }) =>
      (args) => {
        if (commandName === 'ReceiveMessageCommand') looks++;
        return next(args);
      },
    { step: 'initialize' },
  );
  const sizes: number[] = [];
  const source = startEventSource({
    client: queue.client,
    arrival: queue.arrival,
    queueUrl: queue.url,
    settings: { ...settings, windowSeconds },
    invoke: async (_, payload) => void sizes.push((payload as SqsEvent).Records.length),
    maxConcurrency: 1,
    onFailure: () => undefined,
  });
  // Again where this machine was too busy to send the second while the window was certainly open.
  for (let isInTime = false; !isInTime; ) {
    sizes.length = 0;
    looks = 0;
    const began = performance.now();
    await send('a');
    await sleep(100);
    await send('b');
    isInTime = performance.now() - began < (windowSeconds * 1000) / 2;
    await until(() => sizes.reduce((sum, size) => sum + size, 0) === 2, 'both messages');
  }
  await source.stop();
  expect(sizes).toEqual([2]);
  expect(looks).toBeLessThan(20);
});

describe('the embedded queue', () => {
  test('refuses a message past the limit of SQS', async () => {
    const large = 'x'.repeat(limits.messageBytes + 1);
    const sent = queue.client.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody: large }));
    await expect(sent).rejects.toThrow();
  });

  test('takes a message of exactly the limit', async () => {
    const MessageBody = 'x'.repeat(limits.messageBytes);
    await expect(
      queue.client.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody })),
    ).resolves.toBeDefined();
  });

  test('refuses more messages a batch than SQS takes', async () => {
    const bodies = Array.from({ length: limits.messagesPerBatch + 1 }, (_, i) => String(i));
    await expect(send(...bodies)).rejects.toThrow(/10/);
  });

  test('can be reached from this machine only, since it asks for no credentials', () => {
    expect(new URL(queue.endpoint).hostname).toBe('127.0.0.1');
  });
});
