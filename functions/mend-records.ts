import type { SQSBatchResponse } from 'aws-lambda';
import { z } from 'zod';
import { mendRecords } from '../lib/mend.ts';
import { makeHandler } from './lambda.ts';

const input = z.object({ Records: z.array(z.object({ messageId: z.string(), body: z.string() })) });

/**
 * No state: fed by the repair queue, where clients put the ids of records whose second write failed. Makes the target hold
 * of them what the source holds; a message that fails is delivered again.
 */
export const handler = makeHandler({
  input,
  output: z.custom<SQSBatchResponse>(),
  run: async ({ Records }, { services, log }) => {
    const batchItemFailures: { itemIdentifier: string }[] = [];
    for (const { messageId, body } of Records) {
      if (!(await mendRecords({ body, services, log }))) batchItemFailures.push({ itemIdentifier: messageId });
    }
    return { batchItemFailures };
  },
});
