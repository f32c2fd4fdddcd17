import type { Answer, Plan } from './run-files.ts';
import type { Services } from './services.ts';

export interface AskOptions {
  readonly plan: Plan;
  readonly token: string;
  readonly services: Pick<Services, 'objects' | 'notices' | 'tasks' | 'stack'>;
  readonly now: Date;
}

export async function askApproval(_: AskOptions): Promise<void> {
  throw new Error('under construction');
}

export interface AnswerOptions {
  readonly run: string;
  readonly answer: Answer['answer'];
  readonly by: string;
  readonly reason: string;
  readonly services: Pick<Services, 'objects' | 'tasks'>;
  readonly now: Date;
}

export async function answerApproval(_: AnswerOptions): Promise<Answer> {
  throw new Error('under construction');
}
