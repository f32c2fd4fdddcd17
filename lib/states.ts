import { z } from 'zod';

/**
 * The payload of every state, and of the import's messages. State carries keys and tallies, never lists: nothing here
 * grows with the number of records. Everything else that a function needs it reads from the run's plan.
 */

const run = z.string();
const shard = z.string();
const tally = z.int().nonnegative();

/** Version of the message that an exporter puts on the queue; an importer refuses another. */
export const messageVersion = 1;

/** Deliveries of a message before SQS moves it to the dead letters: infra sets the redrive policy with it, importers know their last try by it. */
export const maxDeliveries = 5;

/**
 * Deliveries of a message of the repair queue before SQS moves it to the dead letters: 30 + 60 + 120 + 240 + 480 s, then 294
 * times a quarter of an hour (lib/live/repair-deliveries.ts), are 74 hours, as long as a weekend. SQS counts its 14 days from the
 * first sending on, so a dead letter has 10 left.
 */
export const maxRepairDeliveries = 300;

/** Plan the run: what Step Functions hands over from its input and context. */
export const planInput = z.strictObject({ execution: z.string(), event: z.unknown() });
export const planOutput = z.strictObject({
  run,
  dryRun: z.boolean(),
  records: tally,
  exporters: z.int().positive(),
  cutover: z.boolean(),
  /** True where the application writes to both sides meanwhile. */
  live: z.boolean(),
  /** True where a person is asked before the cutover; `approvalSeconds`: for how long. */
  approval: z.boolean(),
  approvalSeconds: z.int().positive(),
  /** True where readers are moved in steps. */
  canary: z.boolean(),
  /** True where texts are embedded by a model. */
  embeds: z.boolean(),
  /** True where the target gets other vectors than the source has: of another model, or truncated. */
  drifts: z.boolean(),
  /** True where the target is the source itself, with a new vector beside the old one. */
  inPlace: z.boolean(),
  /** True where a vector gets another index and nothing is moved; `asksOldFirst`: the old one cannot be searched by itself once the new one is there. */
  changesIndex: z.boolean(),
  asksOldFirst: z.boolean(),
  /** True where two collections are held against each other and nothing is moved. */
  validateOnly: z.boolean(),
  rangesKey: z.string(),
  shardListKey: z.string(),
});

/** Every state that needs nothing but the run. */
export const runInput = z.strictObject({ run });
/** The states that wait for the target; `since` is when the execution began. */
export const waitInput = z.strictObject({ run, since: z.string() });

/** An item of ranges.json: a range of the source, numbered from 0. Keys are the source store's own text. */
export const rangeItem = z.strictObject({
  range: tally,
  from: z.string().nullable(),
  to: z.string().nullable(),
  records: tally,
});
/** Export a range: `next` is set when an earlier call handed it back. */
export const exportCursor = z.strictObject({ part: tally, from: z.string().nullable() });
export const exportInput = z.strictObject({ run, range: rangeItem, next: exportCursor.optional() });
/** `next` only when the deadline came first: call again with it. */
export const exportOutput = z.strictObject({
  done: z.boolean(),
  shards: tally,
  records: tally,
  next: exportCursor.optional(),
});

export const sealOutput = z.strictObject({ shards: tally, records: tally });

const recordsByField = z.record(z.string(), tally);
/** Records by field (`vector 'NAME'` for a vector) that were read under another schema and made ones of the run's: lib/schema/conform.ts. */
export const schemaTallySchema = z.strictObject({
  defaulted: recordsByField,
  removed: recordsByField,
  renamed: recordsByField,
});

/** Records that a rule of the mapping left out, with the first ids. */
export const droppedSchema = z.strictObject({ rule: z.string(), records: tally, ids: z.array(z.string()) });
export type Dropped = z.infer<typeof droppedSchema>;

/** What importers of a shard have done so far, when one hands the rest back. Ids are the first hundred. */
export const importTally = z.strictObject({
  written: tally,
  skipped: tally,
  skippedIds: z.array(z.string()),
  dropped: z.array(droppedSchema).optional(),
  refused: tally,
  refusedIds: z.array(z.string()),
  throttled: tally,
  /** Records whose text could not be embedded; left out: none. */
  failed: tally.optional(),
  /** Why the first refused record was refused. */
  reason: z.string().optional(),
  /** When the first of them began. */
  startedAt: z.string().optional(),
  schema: schemaTallySchema.optional(),
});
/** A message on the import queue. `offset` is the first record not yet written, with the tally of those before it. */
export const importMessage = z.strictObject({
  version: z.literal(messageVersion),
  run,
  shard,
  /** The plan's attempt that sent it; dead letters of earlier ones do not count. */
  attempt: z.int().positive(),
  offset: z.int().nonnegative().default(0),
  tally: importTally.optional(),
});
export type ImportTally = z.infer<typeof importTally>;

export const awaitOutput = z.strictObject({ done: z.boolean(), loaded: tally, shards: tally });
/** `startedAt`: of the first look at a build that was not done then; `endedAt`: of the one that found it done. */
export const indexOutput = z.strictObject({
  done: z.boolean(),
  detail: z.string(),
  startedAt: z.iso.datetime().optional(),
  endedAt: z.iso.datetime().optional(),
  /** Builds of this start of the run that ended without an index, and what the last one said, where that was heard. */
  failed: z.strictObject({ attempt: tally, times: tally, said: z.string() }).optional(),
});

/** Compare a shard, find its neighbours. `offset` is set when an earlier call handed it back. */
export const shardInput = z.strictObject({ run, shard, offset: tally.optional() });
export const shardOutput = z.strictObject({ done: z.boolean(), offset: tally.optional() });

/** Measure recall, tune the search: called again until done; what is done stands in the run's objects. */
export const repeatOutput = z.strictObject({ done: z.boolean() });
/** Tune the search. `goal` comes from the command line alone: then it tunes whatever the event says of it. */
export const tuneGoal = z.strictObject({
  atLeast: z.number().min(0).max(1).optional(),
  maxP95Ms: z.number().positive().optional(),
});
export const tuneInput = z.strictObject({ run, goal: tuneGoal.optional() });
export const causesOutput = z.strictObject({ causes: tally });

/** The reason that is logged where a new index that did not pass is taken back. */
export const notPassed = 'the new index did not pass validation';

/** Ask for approval: the token by which the state machine goes on. What it goes on with is approvalOutput. */
export const approvalInput = z.strictObject({ run, token: z.string() });
export const approvalOutput = z.strictObject({ approved: z.boolean(), by: z.string(), reason: z.string() });
/** Answer the question: called by a person, from the console or the command line. */
export const answerInput = z.strictObject({
  run,
  answer: z.enum(['approved', 'rejected']),
  by: z.string().min(1).default('somebody'),
  reason: z.string().default(''),
});
/** Tell that readers stay: the answer that was no approval; by nobody where the time was over. */
export const stayInput = z.strictObject({ run, by: z.string(), reason: z.string() });
/** Why "Take readers back" does so, in the log of moves; {} is the error's name. By it the report knows where the run failed. */
export const canaryFailedWith = 'the canary failed with {}';
/** Cut over: `since` from the state machine alone, which does not cut over what was taken back after that. */
export const cutOverInput = z.strictObject({ run, since: z.string().optional() });
/** Step the canary: takes waitInput; `seconds` until the next look. */
export const canaryOutput = z.strictObject({ done: z.boolean(), seconds: z.number().positive() });
/** Roll back: what was moved, or why nothing was where an alarm asked for it. */
export const nothingTakenBack = z.strictObject({ nothing: z.string() });
/** Roll back: by run, or by flag where an alarm calls, which knows no run. */
export const rollBackInput = z.union([
  z.strictObject({ run, reason: z.string().optional() }),
  z.strictObject({ flag: z.string(), reason: z.string().optional() }),
]);
/** A message on the repair queue: records whose second write failed. Ids are the source's. */
export const repairMessage = z.strictObject({ version: z.literal(1), run, ids: z.array(z.string()).min(1).max(1000) });
export type RepairMessage = z.infer<typeof repairMessage>;

/** Retire: `confirm` repeats the name of what is dropped for good; without it the answer only says what would be. */
export const retireInput = z.strictObject({ run, confirm: z.string().optional() });
export const retireOutput = z.strictObject({
  dropped: z.boolean(),
  /** In words: what, how much of it, and how to have it dropped. */
  what: z.string(),
  /** What `confirm` has to say. */
  name: z.string(),
  /** null: not known. */
  records: tally.nullable(),
  bytes: tally.nullable(),
});
export type RetireOutput = z.infer<typeof retireOutput>;

export const reportOutput = z.strictObject({
  passed: z.boolean(),
  /** True where a new index that did not pass stays: lib/index-change/keeps-index.ts. */
  keepsIndex: z.boolean(),
  summary: z.string(),
  report: z.string(),
});

/** Step Functions' error output, and the run it belongs to. */
export const failureInput = z.strictObject({
  execution: z.string(),
  event: z.unknown(),
  /** Step Functions leaves the cause out where it has none, as for a timeout. */
  failure: z.object({ Error: z.string(), Cause: z.string().default('') }),
});
export const failureOutput = z.strictObject({ run, error: z.string(), message: z.string() });

export type RangeItem = z.infer<typeof rangeItem>;
export type ExportInput = z.infer<typeof exportInput>;
export type ExportOutput = z.infer<typeof exportOutput>;
export type ImportMessage = z.infer<typeof importMessage>;
export type ShardOutput = z.infer<typeof shardOutput>;
