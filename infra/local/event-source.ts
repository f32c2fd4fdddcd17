import { setTimeout as sleep } from 'node:timers/promises';
import {
  ChangeMessageVisibilityCommand,
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { z } from 'zod';
import type { ImporterSettings } from './deployment.ts';
import type { Invoke } from './execution.ts';
import { limits } from './limits.ts';

/**
 * The event source mapping between the import queue and its function: messages are handed over in batches, what the
 * function does not name as failed is deleted, and the rest comes back until the queue gives it up to the dead letters.
 * docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
 */
export interface EventSourceOptions {
  readonly client: SQSClient;
  /** Resolves when something may have come since the call; LocalQueue has it. */
  readonly arrival: (signal: AbortSignal) => Promise<void>;
  readonly queueUrl: string;
  readonly settings: ImporterSettings;
  readonly invoke: Invoke;
  /** Batches in flight at once, at most, whatever the template allows. */
  readonly maxConcurrency: number;
  /** A batch that failed as a whole is told here; its messages come back. */
  readonly onFailure: (error: unknown) => void;
  /** Seconds until a failed message comes back. AWS waits for the queue's whole visibility timeout; one machine need not. */
  readonly retrySeconds?: number;
}

/** Begins to poll. `stop` takes no more messages and waits for the batches in flight. */
export function startEventSource(options: EventSourceOptions): { stop(): Promise<void> } {
  const { settings, maxConcurrency } = options;
  const stopping = new AbortController();
  const workers = Math.min(settings.maxConcurrency, maxConcurrency);
  const done = Promise.all(Array.from({ length: workers }, () => poll(options, stopping.signal)));
  return {
    stop: async () => {
      stopping.abort();
      await done;
    },
  };
}

async function poll(options: EventSourceOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      // Asked for before the look: what comes between the look and the wait is not slept over.
      const arrived = options.arrival(signal);
      const messages = await receive(options, signal);
      if (messages.length > 0) await deliver(options, messages);
      else await arrived;
    } catch (error) {
      // Lambda's pollers outlive a queue that is out of reach for a while; messages that were in hand come back.
      options.onFailure(error);
      await sleep(1000, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** Up to a batch of messages; waits for the window to fill it, where the template has one. */
async function receive(
  { client, arrival, queueUrl, settings }: EventSourceOptions,
  signal: AbortSignal,
): Promise<readonly Message[]> {
  const { batchSize, windowSeconds } = settings;
  const messages: Message[] = [];
  const closing = windowSeconds > 0 ? AbortSignal.any([signal, AbortSignal.timeout(windowSeconds * 1000)]) : undefined;
  for (;;) {
    const arrived = closing && arrival(closing);
    const request = new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: Math.min(batchSize - messages.length, limits.messagesPerBatch),
      // No long poll: its time would be waited for at the end of every run, since a request that is broken off would still
      // be handed a message. The queue of this process says by itself when to look.
      WaitTimeSeconds: 0,
      MessageSystemAttributeNames: ['All'],
    });
    const { Messages = [] } = await client.send(request);
    messages.push(...Messages);
    if (messages.length === 0 || messages.length >= batchSize || closing?.aborted !== false) return messages;
    if (Messages.length === 0) await arrived;
  }
}

async function deliver(options: EventSourceOptions, messages: readonly Message[]): Promise<void> {
  const failed = await invoke(options, messages);
  const { client, queueUrl, retrySeconds = 1 } = options;
  const done = messages.filter(({ MessageId }) => !failed.has(MessageId ?? ''));
  for (let at = 0; at < done.length; at += limits.messagesPerBatch) {
    const Entries = done
      .slice(at, at + limits.messagesPerBatch)
      .map(({ ReceiptHandle }, i) => ({ Id: String(i), ReceiptHandle }));
    await client.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
  }
  for (const { ReceiptHandle } of messages.filter((message) => !done.includes(message))) {
    await client.send(
      new ChangeMessageVisibilityCommand({ QueueUrl: queueUrl, ReceiptHandle, VisibilityTimeout: retrySeconds }),
    );
  }
}

const responseSchema = z.object({ batchItemFailures: z.array(z.object({ itemIdentifier: z.string() })).default([]) });

/** Ids of the messages that failed: those the function names, or all when it throws or names one that was not sent. */
async function invoke(
  { settings, invoke: call, queueUrl, onFailure }: EventSourceOptions,
  messages: readonly Message[],
): Promise<ReadonlySet<string>> {
  const all = new Set(messages.map(({ MessageId }) => MessageId ?? ''));
  try {
    const answer = await call(settings.function, { Records: messages.map((message) => toRecord(message, queueUrl)) });
    if (!settings.partialFailures || answer === null) return new Set();
    const failed = responseSchema.parse(answer).batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    return failed.every((id) => all.has(id)) ? new Set(failed) : all;
  } catch (error) {
    onFailure(error);
    return all;
  }
}

/** A message as Lambda hands it over: docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event */
function toRecord(message: Message, queueUrl: string): Record<string, unknown> {
  return {
    messageId: message.MessageId,
    receiptHandle: message.ReceiptHandle,
    body: message.Body,
    attributes: message.Attributes ?? {},
    messageAttributes: message.MessageAttributes ?? {},
    md5OfBody: message.MD5OfBody,
    eventSource: 'aws:sqs',
    eventSourceARN: `arn:aws:sqs:local:000000000000:${queueUrl.slice(queueUrl.lastIndexOf('/') + 1)}`,
    awsRegion: 'local',
  };
}
