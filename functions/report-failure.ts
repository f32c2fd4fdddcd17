import { z } from 'zod';
import { errorNames, NotFound } from '../lib/errors.ts';
import { runIdSchema } from '../lib/event.ts';
import { readPlan } from '../lib/plan.ts';
import { writeFailure } from '../lib/report/report-failure.ts';
import { failureInput, failureOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** What a Lambda's error looks like within Step Functions' Cause; other causes are plain text. */
const lambdaCause = z.object({ errorMessage: z.string() });
const named = z.object({ run: runIdSchema });

/**
 * State "Report the failure": every other state's Catch leads here. Writes the report of a run that ended early; the
 * execution then fails under the error's own name and message. A map's children report by themselves ("Report the failed
 * range"), since the map then fails with a count alone: what they said stays.
 */
export const handler = makeHandler({
  input: failureInput,
  output: failureOutput,
  run: async ({ execution, event, failure }, { services: { objects } }) => {
    const run = named.safeParse(event).data?.run ?? execution;
    const message = messageOf(failure.Cause);
    // Another run owns this id: its report is not this event's to change.
    if (failure.Error === errorNames.runMismatch) return { run, error: failure.Error, message };
    const plan = await readPlan(objects, run).catch((error: unknown) => {
      if (error instanceof NotFound) return undefined;
      throw error;
    });
    const report = await writeFailure({ objects, run, error: failure.Error, message, plan });
    if (failure.Error === errorNames.validationFailed) return { run, error: failure.Error, message: report.summary };
    const { error, message: reported } = report.failure ?? { error: failure.Error, message };
    return { run, error, message: reported };
  },
});

function messageOf(cause: string): string {
  try {
    return lambdaCause.parse(JSON.parse(cause)).errorMessage;
  } catch {
    return cause;
  }
}
