import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { maxRepairDeliveries } from '../lib/states.ts';
import { keptQueue } from './kept-queue.ts';

/**
 * Ids of records that an application could write to the source and not to the target, on their way to "mend-records", and
 * the dead letters behind it. Entries are ids and never values, so they may come late, twice, and in any order.
 */
export class RepairQueue extends Construct {
  readonly queue: Queue;
  readonly deadLetters: Queue;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    // Its visibility holds where a call is lost; a message that failed is held back by the function, for as long as
    // lib/live/repair-deliveries.ts says.
    const { queue, deadLetters } = keptQueue(this, { feeds: 'mend-records', maxReceiveCount: maxRepairDeliveries });
    this.queue = queue;
    this.deadLetters = deadLetters;
  }

  /**
   * Lets `mender` take repairs from the queue: few at once, since they are few, and since a target that was away has its
   * readers to serve first when it is back.
   */
  feed(mender: LambdaFunction): void {
    mender.addEventSource(
      new SqsEventSource(this.queue, { batchSize: 10, reportBatchItemFailures: true, maxConcurrency: 4 }),
    );
  }
}
