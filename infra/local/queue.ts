import { CreateQueueCommand, GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { buildApp } from 'fauxqs';
import { z } from 'zod';
import type { QueueSettings } from './deployment.ts';
import { limits } from './limits.ts';

/** SQS in this process: the import queue and its dead letters, with the template's settings. */
export interface LocalQueue {
  readonly endpoint: string;
  readonly url: string;
  readonly deadLetterUrl: string;
  readonly client: SQSClient;
  /**
   * Resolves as soon as a message may have come since the call: sent, given back, its delay over, or at the latest after a
   * second, since a message that its receiver says nothing of comes back without a word. Also once the signal is aborted.
   */
  arrival(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** @throws Error when no port of this machine can be listened on. */
export async function startQueue({ visibilitySeconds, maxReceiveCount }: QueueSettings): Promise<LocalQueue> {
  const app = buildApp({ logger: false });
  const bell = makeBell();
  app.addHook('onResponse', async ({ headers, body }) => {
    for (const seconds of new Set(delaysOf(String(headers['x-amz-target']), body))) bell.ring(seconds);
  });
  // fauxqs's own startFauxqs listens on every interface; a queue without credentials is for this machine alone.
  const endpoint = await app.listen({ port: 0, host: '127.0.0.1' });
  // fauxqs looks at no credentials, and keeps its queues by region: the functions name the same one.
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const client = new SQSClient({ endpoint, region: 'local', credentials });
  const deadLetterUrl = await createQueue(client, 'import-dead-letters', {});
  const arn = await client.send(
    new GetQueueAttributesCommand({ QueueUrl: deadLetterUrl, AttributeNames: ['QueueArn'] }),
  );
  const url = await createQueue(client, 'import', {
    VisibilityTimeout: String(visibilitySeconds),
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: arn.Attributes?.QueueArn, maxReceiveCount }),
  });
  return {
    endpoint,
    url,
    deadLetterUrl,
    client,
    arrival: bell.wait,
    close: async () => {
      bell.close();
      client.destroy();
      await app.close();
    },
  };
}

const delayed = z.object({ DelaySeconds: z.number().default(0), VisibilityTimeout: z.number().default(0) });
const brings = z.union([
  z.object({ Entries: z.array(delayed) }).transform(({ Entries }) => Entries),
  delayed.transform((one) => [one]),
]);

/** Seconds after which the messages of a request can be received; none for a request that brings no message. */
function delaysOf(target: string, body: unknown): readonly number[] {
  if (!/\.(SendMessage|ChangeMessageVisibility)(Batch)?$/.test(target)) return [];
  // The queue has refused what is of no such form.
  const { data = [] } = brings.safeParse(body);
  return data.map(({ DelaySeconds, VisibilityTimeout }) => DelaySeconds + VisibilityTimeout);
}

/** Longest sleep of those who wait for the bell, in milliseconds. */
const longestMs = 1000;
/** fauxqs compares clocks that count whole milliseconds. */
const latenessMs = 5;

function makeBell() {
  const waiting = new Set<() => void>();
  const timers = new Set<NodeJS.Timeout>();
  const ringNow = (): void => {
    for (const wake of [...waiting]) wake();
  };
  return {
    /** Wakes all that wait, after so many seconds. */
    ring: (seconds: number): void => {
      const timer = setTimeout(
        () => {
          timers.delete(timer);
          ringNow();
        },
        seconds === 0 ? 0 : seconds * 1000 + latenessMs,
      );
      timers.add(timer);
    },
    wait: (signal: AbortSignal): Promise<void> =>
      new Promise((resolve) => {
        const wake = (): void => {
          waiting.delete(wake);
          clearTimeout(timer);
          signal.removeEventListener('abort', wake);
          resolve();
        };
        const timer = setTimeout(wake, longestMs);
        waiting.add(wake);
        signal.addEventListener('abort', wake, { once: true });
        if (signal.aborted) wake();
      }),
    close: (): void => {
      for (const timer of timers) clearTimeout(timer);
      ringNow();
    },
  };
}

async function createQueue(client: SQSClient, name: string, attributes: Record<string, string>): Promise<string> {
  const Attributes = { MaximumMessageSize: String(limits.messageBytes), ...attributes };
  const { QueueUrl } = await client.send(new CreateQueueCommand({ QueueName: name, Attributes }));
  if (QueueUrl === undefined) throw new Error(`the embedded queue gave '${name}' no URL`);
  return QueueUrl;
}
