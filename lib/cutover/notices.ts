import { PublishCommand, type SNSClient } from '@aws-sdk/client-sns';
import { z } from 'zod';
import { noticeKey, runKeys } from '../keys.ts';
import { type ObjectStore, putJson } from '../objects.ts';
import type { Plan } from '../run-files.ts';
import type { Move } from './cutover-files.ts';
import { placeOf } from './flag.ts';

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

export interface TakenBackOptions {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly stack: string | undefined;
  /** The rollback, as it is logged. */
  readonly move: Move;
  readonly at: Date;
}

/** Where writes are that were made while readers were moved: the flag doubles them, an alias or a view knows nothing of them. */
export function writesMeanwhile({ event }: Plan): string {
  if (event.target.into === 'place') return 'Every write is in the table, which is one for both sides.';
  return event.cutover?.pointer === undefined
    ? 'Writes went to both sides, the source first, and go on to do so: no write was lost, and readers can be moved again.'
    : 'Nothing was deleted. What was written to the target alone while readers were there is in the target alone.';
}

/** What people are told when readers were taken back: why, what is safe, and how to go on. */
export function takenBackNotice({ plan, objects, stack, move, at }: TakenBackOptions): Notice {
  const { run, event } = plan;
  const { kind, name, to, note, reason = 'somebody rolled back' } = move;
  const on = stack === undefined ? '' : ` --stack ${stack}`;
  const isDoubled = kind === 'flag';
  return {
    at: at.toISOString(),
    run,
    kind: 'taken back',
    subject: subjectOf(`vecferry: readers taken back, run ${run}`),
    text: [
      kind === 'index'
        ? `The index of vector '${name}' of ${placeOf(event.target)} is ${to ?? 'the old one'} again.${note === undefined ? '' : ` Of it: ${note}.`}`
        : `Readers of the ${kind} '${name}' are back on ${to ?? `what they used before (the ${kind} is gone)`}, and off ${placeOf(event.target)}.`,
      ``,
      `Why: ${reason}`,
      `When: ${move.at}`,
      ``,
      writesMeanwhile(plan),
      ...(kind === 'index' ? [] : [`What the canary saw: ${objects.locate(runKeys(run).canary)}`]),
      `The validation's report: ${objects.locate(runKeys(run).reportPage)}`,
      ``,
      `To find out why, see docs/runbook.md, "Readers were taken back".`,
      `To go again once it is mended: start the run again under its id.`,
      ...(isDoubled ? [`To give up, and end the double writes: vecferry finish ${run}${on}`] : []),
    ].join('\n'),
  };
}

/** SNS takes at most 100 characters of printable ASCII. docs.aws.amazon.com/sns/latest/api/API_Publish.html */
function subjectOf(text: string): string {
  return text.slice(0, 100);
}
