import type { SQSBatchResponse } from 'aws-lambda';
import { z } from 'zod';
import { mendRecords } from '../lib/live/mend.ts';
import { repairPauseSeconds } from '../lib/live/repair-deliveries.ts';
import { isNear } from '../lib/log.ts';
import { type Around, makeHandler } from './lambda.ts';

const record = z.object({
  messageId: z.string(),
  receiptHandle: z.string(),
  body: z.string(),
  attributes: z.object({ ApproximateReceiveCount: z.coerce.number().int() }),
});
type Record = z.infer<typeof record>;

/**
 * No state: fed by the repair queue, where clients put the ids of records whose second write failed. Makes the target hold
 * of them what the source holds; a message that fails is delivered again, after pauses that grow: lib/live/repair-deliveries.ts.
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
  { body, receiptHandle, attributes }: Record,
  { services, deadline, log }: Around,
): Promise<boolean> {
  try {
    if (!isNear(deadline) && (await mendRecords({ body, services, log }))) return false;
  } catch {
    // lib/live/mend.ts has logged it. It comes again until it is among the dead letters, and takes no other message with it.
  }
  const seconds = repairPauseSeconds(attributes.ApproximateReceiveCount);
  try {
    await services.repairs?.holdBack(receiptHandle, seconds);
  } catch (error) {
    // It comes all the same, once the queue's own visibility timeout is over.
    log.warn('the pause of a repair could not be set', { seconds, error });
  }
  return true;
}
