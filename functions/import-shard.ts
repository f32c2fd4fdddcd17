import type { SQSBatchResponse } from 'aws-lambda';
import { z } from 'zod';
import { importShard, noteFailure } from '../lib/import.ts';
import { readPlan } from '../lib/plan.ts';
import { importMessage, maxDeliveries } from '../lib/states.ts';
import { type Around, makeHandler } from './lambda.ts';

const record = z.object({
  messageId: z.string(),
  body: z.string(),
  attributes: z.object({ ApproximateReceiveCount: z.coerce.number().int() }),
});
type Record = z.infer<typeof record>;

/**
 * Fed by the import queue, beside the state machine: a message a shard. Answers which messages have to be delivered
 * again; after `maxDeliveries` SQS moves them to the dead letters, and "Await the import" fails the run, naming them.
 */
export const handler = makeHandler({
  input: z.object({ Records: z.array(record) }),
  output: z.custom<SQSBatchResponse>(),
  run: async ({ Records }, around) => {
    const again: string[] = [];
    for (const each of Records) if (await mustComeAgain(each, around)) again.push(each.messageId);
    return { batchItemFailures: again.map((itemIdentifier) => ({ itemIdentifier })) };
  },
});

async function mustComeAgain(
  { body, attributes }: Record,
  { services, deadline, log, count }: Around,
): Promise<boolean> {
  const message = importMessage.parse(JSON.parse(body));
  const { objects } = services;
  const now = (): Date => new Date();
  const plan = await readPlan(objects, message.run);
  const queue = services.queue();
  try {
    const { store, kind } = await services.openTarget(plan);
    const { outcome, written, throttled } = await importShard({
      plan,
      message,
      target: store,
      targetKind: kind,
      objects,
      queue,
      deadline,
      log,
      now,
    });
    count('RecordsImported', written);
    if (throttled > 0) count('Throttled', throttled);
    if (outcome !== 'handedBack') count(outcome === 'loaded' ? 'ShardsLoaded' : 'ShardsFailed', 1);
    return false;
  } catch (error) {
    count('ShardsFailed', 1);
    const attempts = attributes.ApproximateReceiveCount;
    return await noteFailure({ plan, message, objects, queue, log, now }, error, {
      attempts,
      maxAttempts: maxDeliveries,
    });
  }
}
