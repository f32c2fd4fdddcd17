import { z } from 'zod';
import { InvalidEvent, NotFound } from '../errors.ts';
import { wayOf } from '../event.ts';
import { approvalAnswerKey, runKeys } from '../keys.ts';
import { createJson, getJson, type ObjectStore, putJson } from '../objects.ts';
import type { Plan } from '../run-files.ts';
import type { Services } from '../services.ts';
import { noRun } from '../status.ts';
import { type Answer, type Approval, answerSchema, approvalSchema } from './cutover-files.ts';
import { readMoves, refuseFinished, refuseRetired, wasRolledBack } from './moves.ts';

/**
 * A person's yes before readers are moved. A question is known by when it was first asked; its answer is an object that is
 * only made where there is none, so of two people at once exactly one decides. An approval stays valid until readers
 * are taken back; a rejection ends the run that takes it, and a run started again asks anew.
 */

export interface AskOptions {
  readonly plan: Plan;
  /** By which the state that waits is told. */
  readonly token: string;
  readonly services: Pick<Services, 'objects' | 'notices' | 'tasks' | 'stack'>;
  readonly now: Date;
}

/** Asks, and tells people how to answer; where the answer is there already the state goes on with it at once. */
export async function askApproval({ plan, token, services, now }: AskOptions): Promise<void> {
  const { run } = plan;
  const { objects, notices, stack } = services;
  const earlier = await readQuestion(objects, run);
  if (earlier?.answer !== undefined && (await isValid(objects, run, earlier.answer))) {
    await tellState({ run, token, answer: earlier.answer, services });
    return;
  }
  // Asked before and not answered since: whoever was told then may still answer, and their answer counts here.
  const isStillAsked = earlier !== undefined && earlier.answer === undefined && now.toISOString() < earlier.until;
  const approval: Approval = {
    token,
    askedAt: isStillAsked ? earlier.askedAt : now.toISOString(),
    until: new Date(now.getTime() + wayOf(plan.event).approvalSeconds * 1000).toISOString(),
  };
  await putJson(objects, runKeys(run).approval, approval);
  // One that came between the first look and the new token was told to the old one.
  const meanwhile = await getJson(objects, approvalAnswerKey(run, approval.askedAt), answerSchema);
  if (meanwhile !== undefined) {
    await tellState({ run, token, answer: meanwhile, services });
    return;
  }
  await notices.send({
    at: now.toISOString(),
    run,
    kind: 'approval asked',
    subject: subjectOf(`run ${run} asks whether readers may be moved`),
    text: await questionText(plan, approval, { objects, stack }),
  });
}

export interface AnswerOptions {
  readonly run: string;
  readonly answer: Answer['answer'];
  readonly by: string;
  readonly reason: string;
  readonly services: Pick<Services, 'objects' | 'tasks'>;
  readonly now: Date;
}

/**
 * Answers the question of a run, from wherever. The same answer again is fine. One that comes while the run is stopped is
 * kept, and taken when it goes on (`taken`).
 * @throws NotFound when there is no such run, when it asks nothing, when the time is over, or when what was approved was
 * taken back since.
 * @throws InvalidEvent when it was answered otherwise: who, when and why; when the run was finished or retired, so that no answer moves anything.
 */
export async function answerApproval({ run, answer, by, reason, services, now }: AnswerOptions): Promise<Answer> {
  const { objects } = services;
  const question = await readQuestion(objects, run);
  if (question === undefined) {
    if ((await objects.get(runKeys(run).plan)) === undefined) throw await noRun(objects, run);
    const text = `run '${run}' asks nothing: it has not come so far, or its event has no "approval": "person"`;
    throw new NotFound(`${text}; vecferry status ${run} says where it is`, { ids: [run] });
  }
  const moves = await readMoves(objects, run);
  refuseRetired(run, moves);
  refuseFinished(run, moves);
  const { askedAt, until } = question;
  if (question.answer === undefined && now.toISOString() > until) {
    const text = `run '${run}' waited for an answer until ${until}, and ended without one; readers were not moved`;
    throw new NotFound(`${text}. Start it again, and it asks again`, { ids: [run] });
  }
  const mine: Answer = { answer, by, reason, at: now.toISOString(), askedAt, taken: false };
  const given = question.answer ?? (await decide(objects, run, mine));
  if (given.answer === 'approved' && !(await isValid(objects, run, given))) {
    const text = `run '${run}' was approved by ${given.by} at ${given.at}, and readers were taken back since`;
    throw new NotFound(`${text}, which ended that approval. Start the run again, and it asks again`, { ids: [run] });
  }
  if (given.answer !== answer) throw new InvalidEvent(answeredOtherwise(run, given), { ids: [run] });
  return given.taken ? given : await tellRun({ run, answer: given, services });
}

type Question = Approval & { readonly answer: Answer | undefined };

async function readQuestion(objects: ObjectStore, run: string): Promise<Question | undefined> {
  const approval = await getJson(objects, runKeys(run).approval, approvalSchema);
  if (approval === undefined) return undefined;
  return { ...approval, answer: await getJson(objects, approvalAnswerKey(run, approval.askedAt), answerSchema) };
}

/** A rejection that a run has taken ended that run; an approval does not outlast a rollback. */
async function isValid(objects: ObjectStore, run: string, { answer, taken, at }: Answer): Promise<boolean> {
  if (answer === 'rejected') return !taken;
  return !wasRolledBack(await readMoves(objects, run), at);
}

/** Makes `mine` the answer; somebody else's, who was faster, where that is so. */
async function decide(objects: ObjectStore, run: string, mine: Answer): Promise<Answer> {
  const key = approvalAnswerKey(run, mine.askedAt);
  if (await createJson(objects, key, mine)) return mine;
  return (await getJson(objects, key, answerSchema)) ?? mine;
}

interface TellOptions {
  readonly run: string;
  readonly answer: Answer;
  readonly services: Pick<Services, 'objects' | 'tasks'>;
}

/** Hands the answer to the state that waits; where it asked anew meanwhile, by the new token. */
async function tellRun(options: TellOptions): Promise<Answer> {
  const { run, answer, services } = options;
  const tried = new Set<string>();
  for (;;) {
    const approval = await getJson(services.objects, runKeys(run).approval, approvalSchema);
    if (approval === undefined || approval.askedAt !== answer.askedAt || tried.has(approval.token)) break;
    tried.add(approval.token);
    if (await tellState({ ...options, token: approval.token })) return { ...answer, taken: true };
  }
  // Told meanwhile by somebody who gave the same answer, or kept for a run that is stopped.
  return (await getJson(services.objects, approvalAnswerKey(run, answer.askedAt), answerSchema)) ?? answer;
}

/** False when nothing waits by this token: the run was stopped, or somebody else has told it. */
async function tellState({ run, token, answer, services }: TellOptions & { token: string }): Promise<boolean> {
  const { by, reason } = answer;
  try {
    await services.tasks.succeed(token, { approved: answer.answer === 'approved', by, reason });
  } catch (error) {
    if (error instanceof NotFound) return false;
    throw error;
  }
  await markTaken(services.objects, run, answer);
  return true;
}

async function markTaken(objects: ObjectStore, run: string, answer: Answer): Promise<void> {
  await putJson(objects, approvalAnswerKey(run, answer.askedAt), { ...answer, taken: true });
}

function answeredOtherwise(run: string, { answer, by, at, reason }: Answer): string {
  const why = reason === '' ? '' : `: ${reason}`;
  const next =
    answer === 'approved'
      ? `vecferry rollback ${run} takes readers back`
      : 'readers stay where they are; start the run again, and it asks again';
  return `run '${run}' was ${answer} by ${by} at ${at}${why}; ${next}`;
}

const reportSummary = z.looseObject({ summary: z.string() });

async function questionText(
  plan: Plan,
  { until }: Approval,
  { objects, stack }: { readonly objects: ObjectStore; readonly stack: string | undefined },
): Promise<string> {
  const { run } = plan;
  const { report, reportPage } = runKeys(run);
  const summary = (await getJson(objects, report, reportSummary))?.summary ?? 'validation has passed';
  const at = stack === undefined ? '' : ` --stack ${stack}`;
  const byHand = [
    `or invoke the function that the stack's output AnswerApprovalFunction names, with`,
    `  {"run": "${run}", "answer": "approved", "by": "YOUR NAME"}   or "rejected", with a "reason"`,
  ];
  return [
    movedLine(plan),
    summary,
    '',
    `Report:  ${objects.locate(reportPage)}`,
    ...consolePage(objects.locate(reportPage)),
    '',
    `Approve: vecferry approve ${run}${at}`,
    `Reject:  vecferry reject ${run}${at} --reason "..."`,
    ...(stack === undefined ? [] : byHand),
    '',
    thenLine(plan),
    `Without an answer by ${until} the run ends, and readers stay where they are.`,
  ].join('\n');
}

function movedLine({ run, event: { source, target } }: Plan): string {
  return `Run ${run}: ${source.store} ${source.collection} to ${target.store} ${target.collection}.`;
}

function thenLine({ event }: Plan): string {
  const steps = event.cutover?.canary?.steps;
  if (steps === undefined)
    return 'Once approved, all readers use the target at once; vecferry rollback takes them back.';
  const shares = steps.map(({ percent }) => `${percent} %`).join(', ');
  return `Once approved, readers are moved in steps, watched, and taken back on a breach: ${shares}.`;
}

/** S3's page of the object, for whoever has no command line at hand. */
function consolePage(location: string): readonly string[] {
  const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/.exec(location) ?? [];
  if (bucket === undefined || key === undefined) return [];
  return [`         https://s3.console.aws.amazon.com/s3/object/${bucket}?prefix=${encodeURIComponent(key)}`];
}

/** SNS takes a subject of at most 100 characters. */
function subjectOf(text: string): string {
  return `vecferry: ${text}`.slice(0, 100);
}
