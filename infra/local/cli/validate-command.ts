import { join } from 'node:path';
import type { z } from 'zod';
import { refuseUnlessBoth } from '../../../lib/cutover/cutover-flag.ts';
import { fileFlags } from '../../../lib/cutover/flag.ts';
import { readMoves, refuseRetired } from '../../../lib/cutover/moves.ts';
import { InvalidEvent } from '../../../lib/errors.ts';
import { parseAs, parseEvent, parseRunId, runIdSchema, wayOf } from '../../../lib/event.ts';
import { forgetFinished } from '../../../lib/forget.ts';
import { runKeys } from '../../../lib/keys.ts';
import { putJson } from '../../../lib/objects.ts';
import { openFileObjects } from '../../../lib/objects-files.ts';
import { refuseUnheededSettings } from '../../../lib/plan-checks.ts';
import { hasOtherVectors } from '../../../lib/recall/drift.ts';
import type { Plan } from '../../../lib/run-files.ts';
import { searchSettingsSchema } from '../../../lib/schema.ts';
import type { planOutput } from '../../../lib/states.ts';
import { storeKind } from '../../../lib/stores/registry.ts';
import type { Machine } from '../asl.ts';
import { type CommandContext, execute, planOf, runCommand } from './commands.ts';
import { type GivenEvent, newRunId, parseJson, readEvent, shownEvent } from './event-input.ts';
import { shownCommand } from './shown-command.ts';

/** `vecferry validate`: a run's target again, or two collections that an event names, whoever filled them. */

export interface ValidateArguments {
  /** RUN or EVENT. */
  readonly argument: string;
  /** Of an event. */
  readonly run?: string | undefined;
  readonly stack?: string | undefined;
  /** Of a run: how the application searches its target by now, as JSON; the run's event says so from then on. */
  readonly search?: string | undefined;
}

export async function validateCommand(
  context: CommandContext,
  { argument, run, stack, search }: ValidateArguments,
): Promise<number> {
  if (isRun(argument)) {
    if (run === undefined && stack === undefined) return await validateRun(context, argument, search);
    const text = `'${argument}' is the id of a run, which is validated where it lies: --run and --stack go with an event`;
    throw new InvalidEvent(text, { ids: [argument] });
  }
  if (search !== undefined) {
    const text = '--search goes with the id of a run; an event says it itself, in validate.recall.search';
    throw new InvalidEvent(text, { ids: ['--search'] });
  }
  const event = toValidate(await readEvent(argument));
  const id = run === undefined ? (event.parsed.run ?? newRunId()) : parseRunId(run);
  if (stack !== undefined) {
    const { deployedRun } = await import('./deployed.ts');
    return await deployedRun(context, stack, id, event);
  }
  const again = shownCommand(context, `validate ${shownEvent(argument)} --run ${id}`);
  return await runCommand(context, id, event, again);
}

/** A run's id has neither dot nor slash, and JSON begins with a brace: what looks like an id is one. */
const isRun = (argument: string): boolean => runIdSchema.safeParse(argument).success;

/** The event of a migration says which collections belong together too; of what it would move nothing is left. */
function toValidate({ raw, parsed }: GivenEvent): GivenEvent {
  if (parsed.mode === 'validate') return { raw, parsed };
  const changed = { ...raw, mode: 'validate', cutover: null, live: false };
  return { raw: changed, parsed: parseEvent(changed) };
}

/** Where validation begins; infra/workflow.ts names it, and a test runs it. */
const firstOfValidation = 'Choose the queries';

/** Compares everything again and measures recall again, or goes on where that was cut off; moves no data and cuts nothing over. */
async function validateRun(context: CommandContext, given: string, search: string | undefined): Promise<number> {
  const run = parseRunId(given);
  const objects = openFileObjects(context.directory);
  const planned = await planOf(objects, run);
  const plan = search === undefined ? planned : await searchedSo(planned, search);
  const keys = runKeys(run);
  if ((await objects.get(keys.manifest)) === undefined) {
    throw new InvalidEvent(
      `run '${run}' is not wholly exported; go on with it first: vecferry run EVENT --run ${run}`,
      { ids: [run] },
    );
  }
  // Before its report is taken away: it says what was there when that was dropped.
  refuseRetired(run, await readMoves(objects, run));
  // The validation of a live run mends what differs, and after `finish` the target may hold what is newer.
  if (plan.event.live !== false) await refuseUnlessBoth(plan, fileFlags(join(context.directory, 'flags')));
  const input: z.infer<typeof planOutput> = {
    run,
    dryRun: false,
    records: plan.records,
    exporters: plan.event.parallel.exporters,
    ...wayOf({ ...plan.event, cutover: null }),
    embeds: plan.embed !== undefined,
    // Whoever validates by hand takes back by hand.
    changesIndex: false,
    asksOldFirst: false,
    drifts: hasOtherVectors(plan),
    validateOnly: plan.event.mode === 'validate',
    rangesKey: keys.ranges,
    shardListKey: keys.shardList,
  };
  return await execute(context, run, input, {
    again: shownCommand(context, `validate ${run}`),
    part: validationPart,
    begin: async () => {
      await forgetFinished(objects, run);
      if (search !== undefined) await putJson(objects, keys.plan, plan);
    },
  });
}

/** The plan of a run whose application searches with these settings. @throws InvalidEvent, Incompatible */
async function searchedSo(plan: Plan, text: string): Promise<Plan> {
  const { recall } = plan.event.validate;
  if (recall === null)
    throw new InvalidEvent(`run '${plan.run}' measures no recall, so --search has no use`, { ids: ['--search'] });
  const search = parseAs(searchSettingsSchema, parseJson(text, '--search'), '--search', InvalidEvent);
  const event = { ...plan.event, validate: { ...plan.event.validate, recall: { ...recall, search } } };
  refuseUnheededSettings(event, await storeKind(event.target.store));
  return { ...plan, event };
}

/** The state machine from there on; its input says that nothing is cut over. */
function validationPart(definition: Machine): Machine {
  if (definition.States[firstOfValidation] === undefined)
    throw new Error(`the state machine has no '${firstOfValidation}'`);
  return { ...definition, StartAt: firstOfValidation };
}
