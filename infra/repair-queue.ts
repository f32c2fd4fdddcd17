import { Duration } from 'aws-cdk-lib';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { NodejsFunction } from 'aws-cdk-lib/aws-lambda-nodejs';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { maxRepairDeliveries } from '../lib/states.ts';
import { functionSettings } from './function-settings.ts';

/**
 * Ids of records that an application could write to the source and not to the target, on their way to "mend-records", and
 * the dead letters behind it. Entries are ids and never values, so they may come late, twice, and in any order.
 */
export class RepairQueue extends Construct {
  readonly queue: Queue;
  readonly deadLetters: Queue;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    const kept = {
      // The longest that SQS keeps a message.
      retentionPeriod: Duration.days(14),
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
    };
    this.deadLetters = new Queue(this, 'DeadLetters', kept);
    this.queue = new Queue(this, 'Queue', {
      ...kept,
      // Six times the function's timeout: docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html. It holds where a
      // call is lost; a message that failed is held back by the function, for as long as lib/repair-deliveries.ts says.
      visibilityTimeout: Duration.minutes(6 * functionSettings['mend-records'].minutes),
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: maxRepairDeliveries },
    });
  }

  /**
   * Lets `mender` take repairs from the queue: few at once, since they are few, and since a target that was away has its
   * readers to serve first when it is back.
   */
  feed(mender: NodejsFunction): void {
    mender.addEventSource(
      new SqsEventSource(this.queue, { batchSize: 10, reportBatchItemFailures: true, maxConcurrency: 4 }),
    );
  }
}
