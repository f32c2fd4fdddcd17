import { z } from 'zod';
import { InvalidEvent } from './errors.ts';
import { parseAs } from './event.ts';

/**
 * The only place that reads process.env. On AWS the stack sets these; on one machine the embedded engine does, before it
 * calls a function.
 */
const environmentSchema = z.object({
  /** Where runs live: `s3://bucket` or `file:///directory`. */
  VECFERRY_RUNS: z.string().regex(/^(s3|file):\/\//, 'must begin with s3:// or file://'),
  /** Where routing flags live: `ssm:/prefix/` or `file:///directory/`. */
  VECFERRY_FLAGS: z.string().regex(/^(ssm:|file:\/\/)\//, 'must begin with ssm:/ or file:///'),
  VECFERRY_QUEUE_URL: z.string().optional(),
  VECFERRY_DEAD_LETTER_URL: z.string().optional(),
  /** Set on AWS only: where clients that use the stack's queue put repairs, fed to mend-records. */
  VECFERRY_REPAIR_QUEUE_URL: z.string().optional(),
  /** Set on one machine only: the embedded queue's address. */
  VECFERRY_SQS_ENDPOINT: z.url().optional(),
  /** Where people are told of approvals and breaches: `sns:` and a topic's ARN, or `objects`: beside the run. */
  VECFERRY_NOTICES: z
    .string()
    .regex(/^(sns:arn:.+|objects)$/, 'must be sns:ARN or objects')
    .default('objects'),
  /** The stack's name, for the commands that a notice gives. */
  VECFERRY_STACK: z.string().optional(),
  /** Where the client's metrics are read: CloudWatch, or `file:///directory/` that applications on this machine write to. */
  VECFERRY_METRICS: z
    .string()
    .regex(/^(cloudwatch$|file:\/\/\/)/, 'must be cloudwatch or begin with file:///')
    .default('cloudwatch'),
  /** How a waiting state is answered: by Step Functions, or by a file in `file:///directory/` that the embedded engine looks for. */
  VECFERRY_TASKS: z
    .string()
    .regex(/^(stepfunctions$|file:\/\/\/)/, 'must be stepfunctions or begin with file:///')
    .default('stepfunctions'),
  /** manager: Secrets Manager. environment: VECFERRY_SECRET_<NAME>. */
  VECFERRY_SECRETS: z.enum(['manager', 'environment']).default('environment'),
});
export type Environment = z.infer<typeof environmentSchema>;

/** @throws InvalidEvent naming the variable that is missing or wrong. */
export function readEnvironment(): Environment {
  return parseAs(environmentSchema, process.env, 'the environment', InvalidEvent);
}

/** False where the embedded engine says so; Powertools reads the same variable, and traces where it is not set. */
export function isTraced(): boolean {
  return process.env['POWERTOOLS_TRACE_ENABLED'] !== 'false';
}

/** The name of the variable that holds a secret on one machine: `vecferry/qdrant` is VECFERRY_SECRET_VECFERRY_QDRANT. */
export function secretVariable(name: string): string {
  return `VECFERRY_SECRET_${name.toUpperCase().replace(/[^A-Z0-9]/g, '_')}`;
}

export function readSecretVariable(name: string): string | undefined {
  return process.env[secretVariable(name)];
}

/** The folder of pg_dump, pg_restore and psql, where it is not the one on the PATH. */
export function readProgramsFolder(): string | undefined {
  return process.env['VECFERRY_PG_BIN'];
}

/**
 * What a program that we start gets from us: our own environment without what libpq would take a server from, and what is secret
 * beside it, since arguments are seen by everybody on the machine.
 */
export function environmentOfChild(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const { PGHOST, PGHOSTADDR, PGPORT, PGDATABASE, PGUSER, PGSERVICE, PGOPTIONS, ...rest } = process.env;
  return { ...rest, ...more };
}
