import { CreateQueueCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Context } from 'aws-lambda';
import { buildApp } from 'fauxqs';
import { errorNames } from '../../lib/errors.ts';
import { repairPauseSeconds, sqsRepairDeliveries } from '../../lib/live/repair-deliveries.ts';
import { until } from '../until.ts';

const app = buildApp({ logger: false });
let client: SQSClient;
let queueUrl = '';

beforeAll(async () => {
  const endpoint = await app.listen({ port: 0, host: '127.0.0.1' });
  client = new SQSClient({
    endpoint,
    region: 'local',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const Attributes = { VisibilityTimeout: '1800' };
  queueUrl = (await client.send(new CreateQueueCommand({ QueueName: 'repairs', Attributes }))).QueueUrl ?? '';
});
afterAll(async () => {
  client.destroy();
  await app.close();
});

async function receive() {
  const request = new ReceiveMessageCommand({
    QueueUrl: queueUrl,
    MessageSystemAttributeNames: ['ApproximateReceiveCount'],
  });
  return (await client.send(request)).Messages?.[0];
}

test('a repair that failed comes back after its pause, and not after the half hour in which a call may be lost', async () => {
  await client.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: 'repair' }));
  const first = await receive();
  expect(first?.Body).toBe('repair');
  // One that is being worked on is not mended yet.
  expect(await sqsRepairDeliveries(client, queueUrl).waiting()).toBe(1);
  const heldFrom = performance.now();
  await sqsRepairDeliveries(client, queueUrl).holdBack(first?.ReceiptHandle ?? '', 1);
  let second: Awaited<ReturnType<typeof receive>>;
  await until(async () => {
    second = await receive();
    return second !== undefined;
  }, 'the repair');
  expect(performance.now() - heldFrom).toBeGreaterThan(900);
  expect([second?.Body, second?.Attributes?.ApproximateReceiveCount]).toEqual(['repair', '2']);
});

test('pauses double up to a quarter of an hour, and stay there', () => {
  expect([1, 2, 3, 4, 5, 6, 7, 300, 5000].map(repairPauseSeconds)).toEqual([30, 60, 120, 240, 480, 900, 900, 900, 900]);
});

/** No server listens there. */
const nowhere = 'http://127.0.0.1:1';

describe('mend-records', () => {
  const Records = ['a', 'b'].map((messageId) => ({
    messageId,
    receiptHandle: messageId,
    body: 'no JSON',
    attributes: { ApproximateReceiveCount: '1' },
  }));
  const call = async (input: unknown, remainingMs: number) => {
    Object.assign(process.env, {
      AWS_REGION: 'local',
      AWS_ACCESS_KEY_ID: 'local',
      AWS_SECRET_ACCESS_KEY: 'local',
      AWS_ENDPOINT_URL_SQS: nowhere,
      VECFERRY_RUNS: 'file:///nowhere',
      VECFERRY_FLAGS: 'file:///nowhere/',
      VECFERRY_REPAIR_QUEUE_URL: `${nowhere}/000000000000/repairs`,
      POWERTOOLS_LOG_LEVEL: 'SILENT',
      POWERTOOLS_TRACE_ENABLED: 'false',
    });
    const context: Partial<Context> = { getRemainingTimeInMillis: () => remainingMs };
    // Later than its environment: the logger reads it once.
    const { handler } = await import('../../functions/mend-records.ts');
    return await handler(input, context as Context);
  };

  test('fails each message by itself, also where its pause cannot be set: it comes again all the same', async () => {
    const failures = { batchItemFailures: [{ itemIdentifier: 'a' }, { itemIdentifier: 'b' }] };
    expect(await call({ Records }, 300_000)).toEqual(failures);
  });

  test('gives back what it has no time left for', async () => {
    const one = { ...Records[0], body: JSON.stringify({ version: 1, run: 'r', ids: ['1'] }) };
    expect(await call({ Records: [one] }, 1000)).toEqual({ batchItemFailures: [{ itemIdentifier: 'a' }] });
  });

  test('refuses what no queue would hand over', async () => {
    await expect(call({ wrong: true }, 300_000)).rejects.toMatchObject({ name: errorNames.invalidEvent });
  });
});
