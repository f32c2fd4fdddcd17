import { PublishCommand, type SNSClient } from '@aws-sdk/client-sns';
import { z } from 'zod';
import { noticeKey } from './keys.ts';
import { type ObjectStore, putJson } from './objects.ts';

/** What a person is told while a run goes on: a question to answer, readers that were taken back. */
export const noticeSchema = z.strictObject({
  at: z.iso.datetime(),
  run: z.string(),
  kind: z.enum(['approval asked', 'approval not given', 'taken back']),
  /** One line, at most 100 characters: what SNS takes as a subject. */
  subject: z.string().max(100),
  text: z.string(),
});
export type Notice = z.infer<typeof noticeSchema>;

export interface Notices {
  send(notice: Notice): Promise<void>;
}

/** An object a notice beside the run, where the command line finds it. */
export function objectNotices(objects: ObjectStore): Notices {
  return { send: (notice) => putJson(objects, noticeKey(notice.run, notice.at), notice) };
}

/** To a topic, whoever has subscribed to it. */
export function snsNotices(client: SNSClient, topicArn: string): Notices {
  return {
    send: async ({ subject, text }) => {
      await client.send(new PublishCommand({ TopicArn: topicArn, Subject: subject, Message: text }));
    },
  };
}
