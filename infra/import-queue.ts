import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { Queue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { maxDeliveries } from '../lib/states.ts';
import { keptQueue } from './kept-queue.ts';

/** A message a shard, from "Export a range" to the importers, and the dead letters behind it. */
export class ImportQueue extends Construct {
  readonly queue: Queue;
  readonly deadLetters: Queue;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    const { queue, deadLetters } = keptQueue(this, { feeds: 'import-shard', maxReceiveCount: maxDeliveries });
    this.queue = queue;
    this.deadLetters = deadLetters;
  }

  /**
   * Lets `importer` take shards from the queue: one a call, since a shard may take all its time and memory, and no more
   * than `importers` at once, since each holds a connection to the target.
   */
  feed(importer: LambdaFunction, importers: number): void {
    importer.addEventSource(
      new SqsEventSource(this.queue, { batchSize: 1, reportBatchItemFailures: true, maxConcurrency: importers }),
    );
  }
}
