import { BedrockRuntimeClient, InvokeModelCommand } from '@aws-sdk/client-bedrock-runtime';
import { CloudWatchClient, GetMetricDataCommand, type MetricDataQuery } from '@aws-sdk/client-cloudwatch';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandInput,
  NoSuchKey,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { SendTaskSuccessCommand, SFNClient } from '@aws-sdk/client-sfn';
import { PublishCommand, SNSClient } from '@aws-sdk/client-sns';
import {
  ChangeMessageVisibilityCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { GetParameterCommand, ParameterNotFound, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { mockClient } from 'aws-sdk-client-mock';

/** A permission that a call needs, in IAM's words. */
export interface Need {
  readonly action: string;
  readonly resource: string;
}

export interface RecordedAws {
  /** What the calls so far needed; emptied by whoever reads it. */
  readonly needs: Need[];
  readonly objects: Map<string, Uint8Array>;
  /** Bodies of messages by queue URL. */
  readonly messages: Map<string, string[]>;
  /** Subjects of what was sent to a topic. */
  readonly notices: string[];
  /** What a state that waits was told, by its token. */
  readonly answers: Map<string, unknown>;
  /** What CloudWatch has of the last minute, by metric and statistic: `Reads Sum`. */
  readonly metrics: Map<string, number>;
  /** Seconds after which a message comes back, by its receipt handle. */
  readonly heldBack: Map<string, number>;
  /** Every client in use: a call that is none of the commands below fails. */
  restore(): void;
}

const account = 'eu-west-1:123456789012';

/** What Titan, or Cohere, answers: vectors of the length that is asked for, another for each text. */
function answerOf(body: {
  readonly inputText?: string;
  readonly dimensions?: number;
  readonly texts?: readonly string[];
  readonly output_dimension?: number;
}): unknown {
  const vectorOf = (text: string, dimensions: number): number[] =>
    Array.from({ length: dimensions }, (_, at) =>
      Math.sin(((at + 1) * [...text].reduce((sum, each) => sum * 31 + each.charCodeAt(0), 7)) % 1000),
    );
  const { inputText, dimensions = 1024, texts = [], output_dimension: length = 1536 } = body;
  if (inputText !== undefined) return { embedding: vectorOf(inputText, dimensions), inputTextTokenCount: 3 };
  return { embeddings: { float: texts.map((text) => vectorOf(text, length)) } };
}

/** AWS's side of the SDK's clients, in memory: what the functions call is answered, and written down as the permission it needs. */
export function recordAws(secrets: ReadonlyMap<string, string>, machineArn: string): RecordedAws {
  const needs: Need[] = [];
  const objects = new Map<string, Uint8Array>();
  const messages = new Map<string, string[]>();
  const parameters = new Map<string, string>();
  const notices: string[] = [];
  const answers = new Map<string, unknown>();
  const metrics = new Map<string, number>();
  const heldBack = new Map<string, number>();
  const need = (action: string, resource: string): void => void needs.push({ action, resource });
  const refuse = (): never => {
    throw new Error('a call to AWS that the test does not know');
  };
  const bucketArn = (bucket = ''): string => `arn:aws:s3:::${bucket}`;
  const queueArn = (url = ''): string => `arn:aws:sqs:${account}:${url.slice(url.lastIndexOf('/') + 1)}`;
  const parameterArn = (name = ''): string => `arn:aws:ssm:${account}:parameter${name}`;

  const s3 = mockClient(S3Client)
    .onAnyCommand()
    .callsFake(async () => refuse());
  s3.on(GetObjectCommand).callsFake(
    async ({ Bucket, Key = '', Range }: { Bucket?: string; Key?: string; Range?: string }) => {
      need('s3:GetObject', `${bucketArn(Bucket)}/${Key}`);
      // Without leave to list, S3 says 403 instead of 404 where there is no object.
      need('s3:ListBucket', bucketArn(Bucket));
      const body = objects.get(Key);
      if (body === undefined) {
        throw new NoSuchKey({ message: `no ${Key}`, $metadata: { httpStatusCode: 404 } });
      }
      const [, from, to] = /^bytes=(\d*)-(\d*)$/.exec(Range ?? '') ?? [];
      const part =
        Range === undefined
          ? // Whoever reads an object owns its bytes, and may give them away.
            body.slice()
          : from === ''
            ? body.slice(-Number(to))
            : body.slice(Number(from), to === '' ? undefined : Number(to) + 1);
      return { Body: { transformToByteArray: async () => part }, ETag: '"tag"' };
    },
  );
  s3.on(PutObjectCommand).callsFake(
    async ({ Bucket, Key = '', Body, IfNoneMatch }: PutObjectCommandInput & { Body?: Uint8Array }) => {
      need('s3:PutObject', `${bucketArn(Bucket)}/${Key}`);
      if (IfNoneMatch === '*' && objects.has(Key)) {
        const $metadata = { httpStatusCode: 412 };
        throw new S3ServiceException({ name: 'PreconditionFailed', message: Key, $fault: 'client', $metadata });
      }
      objects.set(Key, new Uint8Array(Body ?? []));
      return {};
    },
  );
  s3.on(DeleteObjectCommand).callsFake(async ({ Bucket, Key = '' }: { Bucket?: string; Key?: string }) => {
    need('s3:DeleteObject', `${bucketArn(Bucket)}/${Key}`);
    objects.delete(Key);
    return {};
  });
  s3.on(ListObjectsV2Command).callsFake(async (given: ListObjectsV2CommandInput) => {
    const { Bucket, Prefix = '', Delimiter } = given;
    need('s3:ListBucket', bucketArn(Bucket));
    const keys = [...objects.keys()].filter((key) => key.startsWith(Prefix)).sort();
    if (Delimiter !== undefined) {
      const ends = keys
        .map((key) => key.indexOf(Delimiter, Prefix.length))
        .map((end, at) => keys[at]?.slice(0, end + 1));
      return { CommonPrefixes: [...new Set(ends)].map((each) => ({ Prefix: each })) };
    }
    return { Contents: keys.map((Key) => ({ Key, Size: objects.get(Key)?.byteLength, ETag: '"tag"' })) };
  });

  const put = (url: string, body: string): void => void messages.set(url, [...(messages.get(url) ?? []), body]);
  const sqs = mockClient(SQSClient)
    .onAnyCommand()
    .callsFake(async () => refuse());
  sqs
    .on(SendMessageCommand)
    .callsFake(async ({ QueueUrl = '', MessageBody = '' }: { QueueUrl?: string; MessageBody?: string }) => {
      need('sqs:SendMessage', queueArn(QueueUrl));
      put(QueueUrl, MessageBody);
      return {};
    });
  sqs
    .on(SendMessageBatchCommand)
    .callsFake(
      async ({ QueueUrl = '', Entries }: { QueueUrl?: string; Entries: readonly { MessageBody: string }[] }) => {
        need('sqs:SendMessage', queueArn(QueueUrl));
        for (const { MessageBody } of Entries) put(QueueUrl, MessageBody);
        return { Failed: [] };
      },
    );
  sqs.on(ReceiveMessageCommand).callsFake(async ({ QueueUrl = '' }: { QueueUrl?: string }) => {
    need('sqs:ReceiveMessage', queueArn(QueueUrl));
    return { Messages: (messages.get(QueueUrl) ?? []).slice(0, 10).map((Body) => ({ Body })) };
  });

  sqs
    .on(ChangeMessageVisibilityCommand)
    .callsFake(
      async ({
        QueueUrl = '',
        ReceiptHandle = '',
        VisibilityTimeout = 0,
      }: {
        QueueUrl?: string;
        ReceiptHandle?: string;
        VisibilityTimeout?: number;
      }) => {
        need('sqs:ChangeMessageVisibility', queueArn(QueueUrl));
        heldBack.set(ReceiptHandle, VisibilityTimeout);
        return {};
      },
    );

  sqs.on(GetQueueAttributesCommand).callsFake(async ({ QueueUrl = '' }: { QueueUrl?: string }) => {
    need('sqs:GetQueueAttributes', queueArn(QueueUrl));
    return { Attributes: { ApproximateNumberOfMessages: String(messages.get(QueueUrl)?.length ?? 0) } };
  });

  const sns = mockClient(SNSClient)
    .onAnyCommand()
    .callsFake(async () => refuse());
  sns.on(PublishCommand).callsFake(async ({ TopicArn = '', Subject = '' }: { TopicArn?: string; Subject?: string }) => {
    need('sns:Publish', TopicArn);
    notices.push(Subject);
    return {};
  });

  const sfn = mockClient(SFNClient)
    .onAnyCommand()
    .callsFake(async () => refuse());
  sfn
    .on(SendTaskSuccessCommand)
    .callsFake(async ({ taskToken = '', output = '' }: { taskToken?: string; output?: string }) => {
      need('states:SendTaskSuccess', machineArn);
      answers.set(taskToken, JSON.parse(output));
      return {};
    });

  const cloudWatch = mockClient(CloudWatchClient)
    .onAnyCommand()
    .callsFake(async () => refuse());
  cloudWatch
    .on(GetMetricDataCommand)
    .callsFake(
      async ({ MetricDataQueries = [], EndTime }: { MetricDataQueries?: MetricDataQuery[]; EndTime: Date }) => {
        need('cloudwatch:GetMetricData', '*');
        const results = MetricDataQueries.map(({ Id, MetricStat: { Metric, Period = 60, Stat } = {} }) => {
          const value = metrics.get(`${Metric?.MetricName} ${Stat}`);
          const last = new Date(EndTime.getTime() - Period * 1000);
          return { Id, StatusCode: 'Complete', ...(value !== undefined && { Timestamps: [last], Values: [value] }) };
        });
        return { MetricDataResults: results };
      },
    );

  const ssm = mockClient(SSMClient)
    .onAnyCommand()
    .callsFake(async () => refuse());
  ssm.on(GetParameterCommand).callsFake(async ({ Name = '' }: { Name?: string }) => {
    need('ssm:GetParameter', parameterArn(Name));
    const Value = parameters.get(Name);
    if (Value === undefined) throw new ParameterNotFound({ message: Name, $metadata: {} });
    return { Parameter: { Value } };
  });
  ssm.on(PutParameterCommand).callsFake(async ({ Name = '', Value = '' }: { Name?: string; Value?: string }) => {
    need('ssm:PutParameter', parameterArn(Name));
    parameters.set(Name, Value);
    return {};
  });

  const bedrock = mockClient(BedrockRuntimeClient)
    .onAnyCommand()
    .callsFake(async () => refuse());
  bedrock.on(InvokeModelCommand).callsFake(async ({ modelId = '', body = '' }: { modelId?: string; body?: string }) => {
    const [, area, model] = /^(?:(us|eu|apac|global)\.)?(.*)$/.exec(modelId) ?? [];
    if (area !== undefined) {
      need('bedrock:InvokeModel', `arn:aws:bedrock:${account}:inference-profile/${modelId}`);
      // The profile may choose another region than its own.
      need('bedrock:InvokeModel', `arn:aws:bedrock:eu-north-1::foundation-model/${model}`);
    }
    need('bedrock:InvokeModel', `arn:aws:bedrock:eu-west-1::foundation-model/${model}`);
    return { body: new TextEncoder().encode(JSON.stringify(answerOf(JSON.parse(body)))) };
  });

  const manager = mockClient(SecretsManagerClient)
    .onAnyCommand()
    .callsFake(async () => refuse());
  manager.on(GetSecretValueCommand).callsFake(async ({ SecretId = '' }: { SecretId?: string }) => {
    need('secretsmanager:GetSecretValue', `arn:aws:secretsmanager:${account}:secret:${SecretId}-AbCdEf`);
    return { SecretString: secrets.get(SecretId) };
  });

  return {
    needs,
    objects,
    messages,
    notices,
    answers,
    metrics,
    heldBack,
    restore: () => {
      for (const each of [s3, sqs, sns, sfn, cloudWatch, ssm, bedrock, manager]) each.restore();
    },
  };
}
