import { ChangeMessageVisibilityCommand, type SQSClient } from '@aws-sdk/client-sqs';

/**
 * How often, and after which pauses, a message of the repair queue is delivered. The target may be away for hours, and no
 * application may lose a repair by that, so the tries are spread over days.
 */

/** Seconds until the second delivery; it doubles from one to the next, up to `longestPauseSeconds`. */
const firstPauseSeconds = 30;
const longestPauseSeconds = 900;

/**
 * Deliveries of a message before SQS moves it to the dead letters: 30 + 60 + 120 + 240 + 480 s, then 294 times a quarter of
 * an hour, are 74 hours, as long as a weekend. SQS counts its 14 days from the first sending on, so a dead letter has 10 left.
 */
export const maxRepairDeliveries = 300;

/** Seconds until a message that failed is delivered again. @param deliveries so far, from 1 on */
export function repairPauseSeconds(deliveries: number): number {
  // 2 ** 1000 is a number still, so no count that SQS gives is too large.
  return Math.min(longestPauseSeconds, firstPauseSeconds * 2 ** (deliveries - 1));
}

export interface RepairDeliveries {
  /** Lets a message that was delivered come back after so many seconds, instead of the queue's visibility timeout. */
  holdBack(receiptHandle: string, seconds: number): Promise<void>;
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
  };
}
