import { Duration } from 'aws-cdk-lib';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { NodejsFunction } from 'aws-cdk-lib/aws-lambda-nodejs';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { maxDeliveries } from '../lib/states.ts';
import { functionSettings } from './function-settings.ts';

/** A message a shard, from "Export a range" to the importers, and the dead letters behind it. */
export class ImportQueue extends Construct {
  readonly queue: Queue;
  readonly deadLetters: Queue;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    const kept = {
      // The longest that SQS keeps a message, and as long as the longest run.
      retentionPeriod: Duration.days(14),
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
    };
    this.deadLetters = new Queue(this, 'DeadLetters', kept);
    this.queue = new Queue(this, 'Queue', {
      ...kept,
      // Six times the function's timeout: docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
      visibilityTimeout: Duration.minutes(6 * functionSettings['import-shard'].minutes),
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: maxDeliveries },
    });
  }

  /**
   * Lets `importer` take shards from the queue: one a call, since a shard may take all its time and memory, and no more
   * than `importers` at once, since each holds a connection to the target.
   */
  feed(importer: NodejsFunction, importers: number): void {
    importer.addEventSource(
      new SqsEventSource(this.queue, { batchSize: 1, reportBatchItemFailures: true, maxConcurrency: importers }),
    );
  }
}
