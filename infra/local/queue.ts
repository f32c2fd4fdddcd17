import { CreateQueueCommand, GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { buildApp } from 'fauxqs';
import type { QueueSettings } from './deployment.ts';
import { limits } from './limits.ts';

/** SQS in this process: the import queue and its dead letters, with the template's settings. */
export interface LocalQueue {
  readonly endpoint: string;
  readonly url: string;
  readonly deadLetterUrl: string;
  readonly client: SQSClient;
  close(): Promise<void>;
}

/** @throws Error when no port of this machine can be listened on. */
export async function startQueue({ visibilitySeconds, maxReceiveCount }: QueueSettings): Promise<LocalQueue> {
  const app = buildApp({ logger: false });
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
    close: async () => {
      client.destroy();
      await app.close();
    },
  };
}

async function createQueue(client: SQSClient, name: string, attributes: Record<string, string>): Promise<string> {
  const Attributes = { MaximumMessageSize: String(limits.messageBytes), ...attributes };
  const { QueueUrl } = await client.send(new CreateQueueCommand({ QueueName: name, Attributes }));
  if (QueueUrl === undefined) throw new Error(`the embedded queue gave '${name}' no URL`);
  return QueueUrl;
}
