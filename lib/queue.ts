import {
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { StoreUnavailable } from './errors.ts';
import { type ImportMessage, importMessage } from './states.ts';

/** The import queue, and the dead letters behind it. */
export interface ShardQueue {
  send(messages: readonly ImportMessage[]): Promise<void>;
  /** The rest of a shard, or a shard that the store is too busy for: comes back after `delaySeconds` (0 to 900), as a message that has never failed. */
  sendLater(message: ImportMessage, delaySeconds: number): Promise<void>;
  /** Puts a message that no retry can mend straight among the dead letters, instead of failing it `maxReceiveCount` times. */
  bury(message: ImportMessage, reason: string): Promise<void>;
  /** Shards of a run's attempt among the dead letters, as many as one look shows; the messages stay where they are. */
  deadShards(run: string, attempt: number): Promise<readonly string[]>;
}

/** SQS takes at most 10 messages a batch: docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
const maxMessagesPerBatch = 10;
/** A look at the dead letters hides them from other lookers for this long only. */
const lookSeconds = 1;

export interface QueueUrls {
  readonly queue: string;
  readonly deadLetters: string;
}

export function sqsQueue(client: SQSClient, { queue, deadLetters }: QueueUrls): ShardQueue {
  return {
    send: async (messages) => {
      for (let at = 0; at < messages.length; at += maxMessagesPerBatch) {
        const entries = messages
          .slice(at, at + maxMessagesPerBatch)
          .map((message, i) => ({ Id: String(i), MessageBody: JSON.stringify(message) }));
        const { Failed = [] } = await client.send(new SendMessageBatchCommand({ QueueUrl: queue, Entries: entries }));
        const [first] = Failed;
        if (first !== undefined)
          throw new StoreUnavailable(
            `the import queue refused ${Failed.length} messages: ${first.Code}; the step is repeated`,
          );
      }
    },
    sendLater: async (message, delaySeconds) => {
      await client.send(
        new SendMessageCommand({ QueueUrl: queue, MessageBody: JSON.stringify(message), DelaySeconds: delaySeconds }),
      );
    },
    bury: async (message, reason) => {
      const attributes = { reason: { DataType: 'String', StringValue: reason.slice(0, 1000) } };
      await client.send(
        new SendMessageCommand({
          QueueUrl: deadLetters,
          MessageBody: JSON.stringify(message),
          MessageAttributes: attributes,
        }),
      );
    },
    deadShards: async (run, attempt) => {
      const found = await client.send(
        new ReceiveMessageCommand({
          QueueUrl: deadLetters,
          MaxNumberOfMessages: maxMessagesPerBatch,
          VisibilityTimeout: lookSeconds,
        }),
      );
      const messages = (found.Messages ?? []).map(({ Body }) => importMessage.safeParse(JSON.parse(Body ?? '{}')));
      return messages.flatMap((parsed) =>
        parsed.success && parsed.data.run === run && parsed.data.attempt === attempt ? [parsed.data.shard] : [],
      );
    },
  };
}
