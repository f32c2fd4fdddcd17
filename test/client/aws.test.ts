import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { GetParameterCommand, ParameterNotFound, SSMClient } from '@aws-sdk/client-ssm';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { mockClient } from 'aws-sdk-client-mock';
import { s3Ledger, sqsRepairs, ssmFlag } from '../../lib/client/aws.ts';
import { runKeys } from '../../lib/keys.ts';
import { tombstoneSchema } from '../../lib/live/live-files.ts';
import { repairMessage } from '../../lib/states.ts';

/** The client's parts on AWS: the calls that they make, and what they make of AWS's answers. */

const ssm = mockClient(SSMClient);
const sqs = mockClient(SQSClient);
const s3 = mockClient(S3Client);
beforeEach(() => {
  ssm.reset();
  sqs.reset();
  s3.reset();
});

describe('the flag as a parameter', () => {
  const flag = { active: 'pgvector:a', candidate: 'qdrant:a', weight: 10, shadow: 5 };

  test("is read from the stack's prefix, under its name", async () => {
    ssm
      .on(GetParameterCommand, { Name: '/vecferry/flags/articles' })
      .resolves({ Parameter: { Value: JSON.stringify(flag) } });
    const reader = ssmFlag({ name: 'articles' });
    expect(reader.name).toBe('articles');
    expect(await reader.read()).toEqual(flag);
  });

  test('with a field that a later release adds is read all the same, and a wrong one is refused by its name', async () => {
    const value = (more: object) => ({ Parameter: { Value: JSON.stringify({ ...flag, ...more }) } });
    ssm
      .on(GetParameterCommand)
      .resolvesOnce(value({ later: true }))
      .resolvesOnce(value({ weight: '10' }));
    const reader = ssmFlag({ name: 'articles' });
    expect(await reader.read()).toEqual(flag);
    await expect(reader.read()).rejects.toThrow('weight');
  });

  test('that was never set is undefined, which is not a failure', async () => {
    ssm.on(GetParameterCommand).rejects(new ParameterNotFound({ message: 'no', $metadata: {} }));
    expect(await ssmFlag({ name: 'articles' }).read()).toBeUndefined();
  });

  test('that cannot be read is an error, so that the client keeps to the last value', async () => {
    ssm.on(GetParameterCommand).rejects(new Error('connect ECONNREFUSED'));
    await expect(ssmFlag({ name: 'articles' }).read()).rejects.toThrow('ECONNREFUSED');
  });
});

describe("repairs on the stack's queue", () => {
  const repairs = sqsRepairs({ queueUrl: 'https://sqs.example/repairs' });
  const sent = () =>
    sqs.commandCalls(SendMessageCommand).map(({ args: [{ input }] }) => {
      expect(input.QueueUrl).toBe('https://sqs.example/repairs');
      return repairMessage.parse(JSON.parse(input.MessageBody ?? ''));
    });

  test('are messages that mend-records reads', async () => {
    await repairs.send('r1', ['1', '2']);
    expect(sent()).toEqual([{ version: 1, run: 'r1', ids: ['1', '2'] }]);
  });

  test('are cut where a message would hold too many ids or bytes, and none is left out', async () => {
    const long = Array.from({ length: 900 }, (_, at) => `${at}-${'é'.repeat(300)}`);
    const many = Array.from({ length: 2500 }, (_, at) => String(at));
    await repairs.send('r1', [...many, ...long]);
    expect(
      sent()
        .flatMap(({ ids }) => ids)
        .toSorted(),
    ).toEqual([...many, ...long].toSorted());
    for (const { args } of sqs.commandCalls(SendMessageCommand)) {
      expect(Buffer.byteLength(args[0].input.MessageBody ?? '')).toBeLessThanOrEqual(256 * 1024);
    }
  });

  test('that SQS does not take are an error, since the write may not be acknowledged then', async () => {
    sqs.on(SendMessageCommand).resolvesOnce({}).rejects(new Error('ServiceUnavailable'));
    const ids = Array.from({ length: 1001 }, (_, at) => String(at));
    await expect(repairs.send('r1', ids)).rejects.toThrow('ServiceUnavailable');
  });

  test('with an id that no message holds are refused by name', async () => {
    await expect(repairs.send('r1', ['x'.repeat(300_000)])).rejects.toThrow(/the id 'x{50}…' is longer/);
  });
});

describe("tombstones in the runs' bucket", () => {
  const ledger = s3Ledger({ bucket: 'runs' });

  test('are an object a delete, of the form and under the key that a run looks for', async () => {
    await ledger.addTombstones('r1', ['7', '8']);
    await ledger.addTombstones('r1', ['7']);
    const puts = s3.commandCalls(PutObjectCommand).map(({ args: [{ input }] }) => input);
    expect(new Set(puts.map(({ Key }) => Key)).size).toBe(2);
    for (const { Bucket, Key = '' } of puts) {
      expect(Bucket).toBe('runs');
      expect(Key.startsWith(runKeys('r1').tombstones)).toBe(true);
    }
    const ids = puts.map(({ Body }) => tombstoneSchema.parse(JSON.parse(String(Body))).ids);
    expect(ids).toEqual([['7', '8'], ['7']]);
  });

  test('that S3 does not take are an error, so that nothing is deleted', async () => {
    s3.on(PutObjectCommand).rejects(new Error('SlowDown'));
    await expect(ledger.addTombstones('r1', ['7'])).rejects.toThrow('SlowDown');
  });
});
