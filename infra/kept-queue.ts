import { Duration } from 'aws-cdk-lib';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { type FunctionName, functionSettings } from './function-settings.ts';

export interface KeptQueue {
  readonly queue: Queue;
  readonly deadLetters: Queue;
}

/** A queue that feeds a function, and the dead letters behind it: after so many failed deliveries. */
export function keptQueue(
  scope: Construct,
  { feeds, maxReceiveCount }: { readonly feeds: FunctionName; readonly maxReceiveCount: number },
): KeptQueue {
  const kept = {
    // The longest that SQS keeps a message, and as long as the longest run.
    retentionPeriod: Duration.days(14),
    encryption: QueueEncryption.SQS_MANAGED,
    enforceSSL: true,
  };
  const deadLetters = new Queue(scope, 'DeadLetters', kept);
  const queue = new Queue(scope, 'Queue', {
    ...kept,
    // Six times the function's timeout: docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    visibilityTimeout: Duration.minutes(6 * functionSettings[feeds].minutes),
    deadLetterQueue: { queue: deadLetters, maxReceiveCount },
  });
  return { queue, deadLetters };
}
