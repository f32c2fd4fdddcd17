import { S3Client } from '@aws-sdk/client-s3';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { GetParameterCommand, ParameterNotFound, SSMClient } from '@aws-sdk/client-ssm';
import { InvalidEvent } from '../errors.ts';
import { tombstoneKey } from '../keys.ts';
import { tombstoneSchema } from '../live/live-files.ts';
import { putJson } from '../objects.ts';
import { openS3Objects } from '../objects-s3.ts';
import { type RepairMessage, repairMessage } from '../states.ts';
import type { FlagReader } from './flag-reader.ts';
import { parseFlagText } from './flag-text.ts';
import type { Ledger } from './ledger.ts';
import type { RepairSink } from './repairs.ts';

/**
 * What the client needs of a deployed stack: its flags, its repair queue and its runs' bucket. The stack's policy
 * `ClientPolicyArn` allows these three calls and nothing else; docs/client.md shows it.
 */

/**
 * Bytes of a message at most: half of SQS's 1 MiB, and within the 256 KiB of queues and proxies that still have that limit.
 * docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
 */
const maxMessageBytes = 200_000;
const maxIdsPerMessage = 1000;

export interface SsmFlagOptions {
  /** The flag's name: the event's `cutover.flag`, or that of the target's collection. */
  readonly name: string;
  /** Begins and ends with a slash; default the stack's, `/vecferry/flags/`. */
  readonly prefix?: string;
  readonly client?: SSMClient;
}

/** The routing flag as an SSM parameter. Its `read` throws what AWS throws; the client keeps to the last value then. */
export function ssmFlag({ name, prefix = '/vecferry/flags/', client = new SSMClient({}) }: SsmFlagOptions): FlagReader {
  const parameter = `${prefix}${name}`;
  return {
    name,
    read: async () => {
      try {
        const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter }));
        return parseFlagText(Parameter?.Value ?? '', parameter);
      } catch (error) {
        if (error instanceof ParameterNotFound) return undefined;
        throw error;
      }
    },
  };
}

export interface SqsRepairsOptions {
  /** The stack's output `RepairQueueUrl`. */
  readonly queueUrl: string;
  readonly client?: SQSClient;
}

/** Hands repairs to the stack, which makes them even when this process is gone: for Lambda, and for many small processes. */
export function sqsRepairs({ queueUrl, client = new SQSClient({}) }: SqsRepairsOptions): RepairSink {
  return {
    kind: 'sink',
    // One after the other, so that an error means that not all were sent; the caller sends all of them again, which harms nothing.
    send: async (run, ids) => {
      for (const body of messagesOf(run, ids)) {
        await client.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: body }));
      }
    },
  };
}

/** Bodies that each keep to the limits of a message. @throws InvalidEvent when one id alone does not fit */
function messagesOf(run: string, ids: readonly string[]): readonly string[] {
  if (ids.length === 0) return [];
  const message: RepairMessage = { version: 1, run, ids: ids.slice(0, maxIdsPerMessage) };
  const body = JSON.stringify(message);
  const rest = ids.slice(maxIdsPerMessage);
  if (Buffer.byteLength(body) <= maxMessageBytes) {
    repairMessage.parse(message);
    return [body, ...messagesOf(run, rest)];
  }
  const half = Math.floor(message.ids.length / 2);
  if (half === 0) {
    const text = `the id '${message.ids[0]?.slice(0, 50)}…' is longer than a message of the repair queue, ${maxMessageBytes} bytes`;
    throw new InvalidEvent(text, { ids: message.ids });
  }
  return [
    ...messagesOf(run, message.ids.slice(0, half)),
    ...messagesOf(run, message.ids.slice(half)),
    ...messagesOf(run, rest),
  ];
}

export interface S3LedgerOptions {
  /** The stack's output `RunsBucket`. */
  readonly bucket: string;
  readonly client?: S3Client;
}

/** The ledger of runs in the stack's bucket: an object a delete. */
export function s3Ledger({ bucket, client = new S3Client({}) }: S3LedgerOptions): Ledger {
  const objects = openS3Objects(bucket, client);
  return {
    addTombstones: async (run, ids) => {
      const at = new Date().toISOString();
      await putJson(objects, tombstoneKey(run, at), tombstoneSchema.parse({ at, ids }));
    },
  };
}
