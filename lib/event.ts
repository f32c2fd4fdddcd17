import { z } from 'zod';
import { InvalidEvent } from './errors.ts';
import { embedSchema, modelSchema } from './event-embed.ts';
import { connectionSchema } from './event-endpoint.ts';
import { indexChangeSchema } from './event-index.ts';
import { mappingSchema } from './event-mapping.ts';
import { namesSchema } from './event-names.ts';
import { querySetSchema } from './event-queries.ts';
import { modelIdSchema, searchSettingsSchema } from './schema.ts';

/** What a user writes to start a run: the same on AWS and on one machine. Defaults make the shortest one work. */

/** Names an S3 key, an SQS attribute and an execution may hold alike. */
export const runIdSchema = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,79}$/,
    'takes at most 80 letters, digits, - and _, and begins with a letter or a digit',
  );

const endpoint = {
  store: z.string().min(1),
  connection: connectionSchema.optional(),
  collection: z.string().min(1),
  /** The store's own options; docs/stores.md lists them. */
  options: z.record(z.string(), z.unknown()).default({}),
};
export const endpointSchema = z.strictObject(endpoint);
export type Endpoint = z.infer<typeof endpointSchema>;

const validate = z.strictObject({
  /** `all`, or the number of records to compare, drawn by `seed`. */
  compare: z.union([z.literal('all'), z.strictObject({ sample: z.int().positive() })]).default('all'),
  recall: z
    .strictObject({
      k: z.int().min(1).max(1000).default(10),
      queries: z.int().min(1).max(10_000).default(200),
      /** Least recall@k of the target, held against the lower end of the 95 % interval. */
      atLeast: z.number().min(0).max(1).default(0.95),
      /** Recall is reported at these depths too, each searched for by itself: a larger limit makes a search wider. */
      depths: z.array(z.int().min(1).max(1000)).max(8).default([1, 10, 100]),
      /** What is searched for; left out: one set, sampled from the source. */
      sets: z
        .array(querySetSchema)
        .min(1)
        .max(20)
        .refine((sets) => new Set(sets.map(({ name }) => name)).size === sets.length, 'have names that are not unique')
        .default([{ name: 'sampled' }]),
      /** How the application searches the target, where that is not as its collection is set. */
      search: searchSettingsSchema.default({}),
      /** True: where the goal is missed, the target's search settings are raised until it holds. */
      tune: z.boolean().default(false),
    })
    .nullable()
    .prefault({}),
  seed: z.int().nonnegative().default(1),
  /** Records read back from the source by id and held against the shards, another path than the export took. */
  spotCheck: z.int().nonnegative().default(100),
});

/**
 * Looks of a canary at most: each makes 9 events of the 25,000 that an execution may have, and the waits before it take up
 * to 11,000 (infra/retries.ts). docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
 */
const maxLooks = 1500;

function looksOf({
  steps,
  patienceMinutes,
  watchSeconds,
}: {
  readonly steps: readonly { readonly minutes: number }[];
  readonly patienceMinutes: number;
  readonly watchSeconds: number;
}): number {
  const minutes = steps.reduce((sum, step) => sum + step.minutes, patienceMinutes);
  return (minutes * 60) / watchSeconds;
}

/**
 * Steps in which readers are moved, and what takes them back. docs/cutover.md gives the reason for each default.
 */
const canary = z
  .strictObject({
    /** Percent of reads that go to the target, and the minutes that each share is watched. 0 percent: shadow reads alone. */
    steps: z
      .array(z.strictObject({ percent: z.number().min(0).max(100), minutes: z.number().min(0).max(10_080) }))
      .min(1)
      .max(20)
      .refine((steps) => steps.at(-1)?.percent === 100, 'end at 100 percent')
      .refine(
        (steps) => steps.every(({ percent }, at) => at === 0 || percent > (steps[at - 1]?.percent ?? 0)),
        'have percentages that do not rise',
      )
      .default([
        { percent: 1, minutes: 10 },
        { percent: 10, minutes: 10 },
        { percent: 50, minutes: 10 },
        { percent: 100, minutes: 30 },
      ]),
    /** Seconds between two looks at the metrics: a breach is taken back at the next one. */
    watchSeconds: z.number().min(1).max(900).default(30),
    /** The last so many requests are judged; a step with fewer goes on until there are as many. */
    requests: z.int().min(10).max(1000).default(100),
    /** Share of those that may fail. */
    maxErrorRate: z.number().min(0).max(1).default(0.05),
    /**
     * 95th percentile of the target's latency in the application, in ms. Left out: twice the source's as validation measured
     * it, at least 200; not judged where it measured none.
     */
    maxP95Ms: z.number().positive().optional(),
    /**
     * Least mean overlap@k of the shadow reads' two answers; null: not judged. Left out: 0.9, and not judged where the two
     * have vectors of different models.
     */
    minOverlap: z.number().min(0).max(1).nullable().optional(),
    /** Percent of reads that are sent to both stores. */
    shadowPercent: z.number().min(0).max(100).default(5),
    /** Minutes that the steps together wait for enough requests, each after its own, before readers are taken back. */
    patienceMinutes: z.number().min(0).max(10_080).default(600),
  })
  .refine(({ minOverlap, shadowPercent }) => minOverlap === null || shadowPercent > 0, {
    path: ['minOverlap'],
    message: 'needs shadow reads: set shadowPercent above 0, or minOverlap to null',
  })
  .superRefine((given, { addIssue }) => {
    const looks = Math.ceil(looksOf(given));
    if (looks <= maxLooks) return;
    const { watchSeconds, patienceMinutes } = given;
    const needs = `${watchSeconds} needs ${looks} looks for these steps and a patience of ${patienceMinutes} minutes`;
    const message = `${needs}, and an execution has room for ${maxLooks}: raise it, or lower patienceMinutes`;
    addIssue({ code: 'custom', path: ['watchSeconds'], message });
  });
export type Canary = z.infer<typeof canary>;

const cutover = z.strictObject({
  /** person: the run waits until somebody approves or rejects. none: it cuts over when validation has passed. */
  approval: z.enum(['none', 'person']).default('none'),
  /** Hours that the run waits for the answer; then it ends, and readers stay where they are. */
  approvalHours: z.number().positive().max(240).default(72),
  /** Moves readers in steps, watched; null: all at once. Needs an application that reads through the client. */
  canary: canary.nullable().default(null),
  /** A name in the target store: a Qdrant alias or a PostgreSQL view. Left out: the routing flag. */
  pointer: z.string().min(1).optional(),
  /** Name of the routing flag: SSM parameter /vecferry/flags/NAME, locally a file. Left out: the target's collection. */
  flag: z
    .string()
    .regex(/^[A-Za-z0-9_.-]+$/, 'letters, digits, _ . -')
    .optional(),
});

const parallel = z.strictObject({
  /** Bytes of vectors and payload a shard holds at most, in memory. */
  shardMiB: z.number().positive().max(256).default(16),
  exporters: z.int().min(1).max(1000).default(16),
});

const event = z.strictObject({
  /** The run's id; left out: the execution's name. The id of an earlier run resumes it. */
  run: runIdSchema.optional(),
  source: z.strictObject({
    ...endpoint,
    /** The model that made its vectors; left out: what its shards or records say. With a provider the old model can be asked for a query's vector too. */
    model: z.union([modelSchema, modelIdSchema]).optional(),
  }),
  target: z.strictObject({
    ...endpoint,
    /**
     * new: a collection that holds records is refused. existing: records are upserted into what is there. place: the source
     * itself, which gets a new vector beside the old one.
     */
    into: z.enum(['new', 'existing', 'place']).default('new'),
  }),
  mapping: mappingSchema.prefault({}),
  /** Names that stay, and the old ones under which the same was known before; left out: names are what the source says. */
  names: namesSchema.optional(),
  /** Has a vector made anew from a text by an embedding model; left out: every vector is copied. */
  embed: embedSchema.optional(),
  /** Gives a vector another index in its own collection, with target.into "place"; left out: indexes are carried over with the records. */
  index: indexChangeSchema.optional(),
  /** failed: a run that is started again takes up the records whose text could not be embedded, and nothing else. */
  only: z.enum(['failed']).optional(),
  parallel: parallel.prefault({}),
  validate: validate.prefault({}),
  /** null: stop after validation; cut over later by `vecferry cutover RUN`. */
  cutover: cutover.nullable().prefault({}),
  /**
   * True: the application writes to both sides from before the export on, through the client. `settleSeconds`: how long
   * every copy of it may take to see the flag; the client takes at most 10.
   */
  live: z.union([z.boolean(), z.strictObject({ settleSeconds: z.number().min(0).max(3600) })]).default(false),
  /** migrate: move, then validate. validate: hold two collections against each other that are there already; nothing is written to either. */
  mode: z.enum(['migrate', 'validate']).default('migrate'),
  /** True: stop after the plan. */
  dryRun: z.boolean().default(false),
});
const checkedEvent = event
  .refine(
    ({ mode, cutover: asked }) => mode === 'migrate' || (asked?.pointer === undefined && asked?.flag === undefined),
    {
      path: ['cutover'],
      message: 'names a pointer or a flag, and mode "validate" cuts nothing over; leave it out, or set it to null',
    },
  )
  .refine(({ mode, live }) => mode === 'migrate' || live === false, {
    path: ['live'],
    message: 'is for runs that move records, and mode "validate" moves none; leave it out',
  })
  .refine(({ embed, live }) => embed === undefined || live === false, {
    path: ['live'],
    message:
      'does not go with embed: a write of the application has no vector of the new model; leave it out, and write to the target once readers are there',
  })
  .refine(({ names, live }) => live === false || !renames(names), {
    path: ['names'],
    message:
      'has old names of fields or vectors, and live is true: the application writes by the names that the source has; leave one out',
  })
  .refine(({ names, target }) => target.into !== 'place' || !renames(names), {
    path: ['names'],
    message: 'has old names of fields or vectors, and the target is the source itself: it keeps the names it has',
  })
  .refine(({ embed, mode }) => embed === undefined || mode === 'migrate', {
    path: ['embed'],
    message: 'makes vectors, and mode "validate" makes nothing; leave it out',
  })
  .refine(({ embed, index, target }) => target.into !== 'place' || embed !== undefined || index !== undefined, {
    path: ['target', 'into'],
    message:
      'is "place", which gives a collection a new vector or another index beside the old one; say with embed how the vector is made, or with index which index',
  })
  .refine(({ index, target }) => index === undefined || target.into === 'place', {
    path: ['index'],
    message: 'changes an index of the source itself; say "target": {"into": "place"}',
  })
  .refine(({ index, embed }) => index === undefined || embed === undefined, {
    path: ['index'],
    message: 'does not go with embed, whose new vector gets its index anyway; leave one out',
  })
  .refine(({ index, live, mode }) => index === undefined || (live === false && mode === 'migrate'), {
    path: ['index'],
    message: 'moves nothing, so live and mode "validate" do not go with it; leave them out',
  })
  .refine(({ index }) => index === undefined || index.to !== undefined || index.quantization !== undefined, {
    path: ['index'],
    message: 'says neither another index (to) nor another quantization',
  })
  .refine(({ embed, only }) => only === undefined || embed !== undefined, {
    path: ['only'],
    message: 'is for texts that could not be embedded, and this event embeds none; leave it out',
  })
  .refine(({ cutover: asked, live }) => asked?.pointer === undefined || (live === false && asked.canary === null), {
    path: ['cutover', 'pointer'],
    message:
      'is moved at once, and neither canary nor live goes with it: both need the routing flag; leave pointer out',
  })
  .refine(
    ({ cutover: asked, target }) => target.into !== 'place' || !(asked?.pointer ?? asked?.flag ?? asked?.canary),
    {
      path: ['cutover'],
      message:
        'of a run in place renames columns or indexes, all at once: readers follow the name; leave pointer, flag and canary out',
    },
  )
  .refine(({ cutover: asked, target, embed }) => !(target.into === 'place' && embed?.records === 'missing' && asked), {
    path: ['cutover'],
    message: 'has nothing to switch where "records": "missing" fills the column that readers use; leave it out',
  });
export const eventSchema = z.preprocess(withPlace, checkedEvent);
export type RunEvent = z.infer<typeof eventSchema>;

/** Of a run in place the target is the source, which need not be said twice; one that fills what is missing cuts nothing over. */
function withPlace(input: unknown): unknown {
  const { source, target, embed, cutover: asked, ...others } = fieldsOf(input);
  if (fieldsOf(target)['into'] !== 'place') return input;
  const { store, connection, collection, options } = fieldsOf(source);
  const said = { store, collection, ...(connection !== undefined && { connection }), ...fieldsOf(target) };
  const both = { ...fieldsOf(options), ...fieldsOf(fieldsOf(target)['options']) };
  const isFill = asked === undefined && fieldsOf(embed)['records'] === 'missing';
  const cut = isFill ? null : asked;
  return {
    ...others,
    source,
    target: { ...said, options: both },
    ...(embed !== undefined && { embed }),
    ...(cut !== undefined && { cutover: cut }),
  };
}

const fieldsOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};

function renames(names: z.infer<typeof namesSchema> | undefined): boolean {
  return Object.keys({ ...names?.fields, ...names?.vectors }).length > 0;
}

/** What the state machine branches on: planOutput in states.ts. */
export function wayOf({ cutover: asked, mode, live, target, index }: RunEvent) {
  const isCutOver = asked !== null && mode === 'migrate';
  return {
    cutover: isCutOver,
    live: live !== false,
    approval: isCutOver && asked.approval === 'person',
    approvalSeconds: Math.ceil((asked?.approvalHours ?? 1) * 3600),
    canary: isCutOver && asked.canary !== null,
    inPlace: target.into === 'place' && index === undefined,
    changesIndex: index !== undefined,
  };
}

/** Seconds that a live run waits for its writers; null where it is not live. */
export function settleSecondsOf({ live }: RunEvent): number | null {
  if (live === false) return null;
  return live === true ? defaultSettleSeconds : live.settleSeconds;
}

/** Half again what a client takes to see a flag: lib/client/flag-cache.ts. */
const defaultSettleSeconds = 15;

/** @throws InvalidEvent naming every field that is wrong, its value's problem and what is accepted. */
export function parseEvent(input: unknown): RunEvent {
  // zod's records drop this one name, and what the event says of it would be passed over: a secret that is left out stays.
  const where = pathOfProto(input);
  if (where !== undefined) {
    const text = `${where} is a name that events cannot give; rename that field in the source`;
    throw new InvalidEvent(`the event is not valid: ${text}`, { ids: [where] });
  }
  return parseAs(eventSchema, input, 'the event', InvalidEvent);
}

/** Where a name `__proto__` stands in JSON. */
function pathOfProto(input: unknown): string | undefined {
  if (typeof input !== 'object' || input === null) return undefined;
  for (const [name, value] of Object.entries(input)) {
    if (name === '__proto__') return name;
    const within = pathOfProto(value);
    if (within !== undefined) return `${name}.${within}`;
  }
  return undefined;
}

/** A run's id as given by a user or an execution. @throws InvalidEvent */
export function parseRunId(input: unknown): string {
  return parseAs(runIdSchema, input, 'the run id', InvalidEvent);
}

/** Parses `input`, and says all that is wrong with it in one error of the given class. */
export function parseAs<T>(
  schema: z.ZodType<T>,
  input: unknown,
  what: string,
  Failure: new (message: string, details: { ids: readonly string[] }) => Error,
): T {
  const parsed = schema.safeParse(input);
  if (parsed.success) return parsed.data;
  const problems = problemsOf(parsed.error);
  const text = problems
    .map(({ path, message }) => (path === '' ? message.replace(/^is wrong: /, '') : `${path} ${message}`))
    .join('; ');
  throw new Failure(`${what} is not valid: ${text}`, { ids: problems.map(({ path }) => path) });
}

export interface Problem {
  /** Names and numbers with dots between; '' is the whole. */
  readonly path: string;
  readonly message: string;
}

/** What is wrong, a line a field: `message` goes on where the field's name ends. */
export function problemsOf(error: z.ZodError): readonly Problem[] {
  return error.issues.flatMap(flattenIssue);
}

function flattenIssue(issue: z.core.$ZodIssue): readonly Problem[] {
  const path = issue.path.map(String).join('.');
  if (issue.code === 'invalid_union') {
    // The member that got furthest says what was meant; its problems are the useful ones.
    const deepest = [...issue.errors].sort((a, b) => a.length - b.length || depth(b) - depth(a))[0] ?? [];
    return deepest.flatMap(flattenIssue).map((inner) => ({
      path: [path, inner.path].filter((part) => part !== '').join('.'),
      message: inner.message,
    }));
  }
  return [{ path, message: phrase(issue.message) }];
}

function depth(issues: readonly z.core.$ZodIssue[]): number {
  return Math.max(0, ...issues.map((issue) => issue.path.length));
}

/** Zod's "Invalid input: expected string, received number" as the end of a sentence that begins with the field. */
function phrase(message: string): string {
  return message
    .replace(/^Invalid input: expected (.*), received undefined$/, 'is missing (expected $1)')
    .replace(/^Invalid input: /, 'is wrong: ');
}
