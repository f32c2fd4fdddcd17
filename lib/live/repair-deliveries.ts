import { ChangeMessageVisibilityCommand, GetQueueAttributesCommand, type SQSClient } from '@aws-sdk/client-sqs';

/**
 * How often, and after which pauses, a message of the repair queue is delivered. The target may be away for hours, and no
 * application may lose a repair by that, so the tries are spread over days.
 */

/** Seconds until the second delivery; it doubles from one to the next, up to `longestPauseSeconds`. */
const firstPauseSeconds = 30;
const longestPauseSeconds = 900;

/** Seconds until a message that failed is delivered again. @param deliveries so far, from 1 on */
export function repairPauseSeconds(deliveries: number): number {
  // 2 ** 1000 is a number still, so no count that SQS gives is too large.
  return Math.min(longestPauseSeconds, firstPauseSeconds * 2 ** (deliveries - 1));
}

export interface RepairDeliveries {
  /** Lets a message that was delivered come back after so many seconds, instead of the queue's visibility timeout. */
  holdBack(receiptHandle: string, seconds: number): Promise<void>;
  /** Messages that wait or are being worked on, of whichever run, as SQS counts them: within a minute. */
  waiting(): Promise<number>;
}

export function sqsRepairDeliveries(client: SQSClient, queueUrl: string): RepairDeliveries {
  return {
    holdBack: async (receiptHandle, seconds) => {
      await client.send(
        new ChangeMessageVisibilityCommand({
          QueueUrl: queueUrl,
          ReceiptHandle: receiptHandle,
          VisibilityTimeout: seconds,
        }),
      );
    },
    waiting: async () => {
      const { Attributes = {} } = await client.send(
        new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: [...counts] }),
      );
      return counts.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
    },
  };
}

const counts = ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'] as const;
