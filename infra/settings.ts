import type { Node } from 'constructs';
import { z } from 'zod';
import { InvalidEvent } from '../lib/errors.ts';
import { parseAs, parseEvent } from '../lib/event.ts';

/** What a team sets in `cdk.json` (`context`) or by `--context`; docs/deploy.md explains each. */
const settingsSchema = z.strictObject({
  /** Runs that EventBridge Scheduler starts: `rate(1 day)`, `cron(0 3 * * ? *)`, `at(2027-01-31T03:00:00)`. */
  schedules: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'letters, digits, - and _, at most 64'),
        expression: z.string().regex(/^(rate|cron|at)\(.+\)$/, 'rate(…), cron(…) or at(…)'),
        /** An IANA name, `Europe/Berlin`. */
        timezone: z.string().default('UTC'),
        event: z.unknown(),
      }),
    )
    .default([]),
  /**
   * The VPC of private databases. Endpoints or a NAT gateway are the account's own: the subnets have to reach S3, SQS, SNS,
   * Step Functions, Secrets Manager, SSM, CloudWatch (metrics and logs) and X-Ray.
   */
  vpc: z
    .strictObject({
      vpcId: z.string().regex(/^vpc-[0-9a-f]{8,17}$/, 'a VPC id'),
      subnetIds: z.array(z.string().regex(/^subnet-[0-9a-f]{8,17}$/, 'a subnet id')).min(1),
      /** One for each subnet, in the same order. */
      availabilityZones: z.array(z.string()).min(1),
      /** Left out: a new group that may call anything. */
      securityGroupIds: z.array(z.string().regex(/^sg-[0-9a-f]{8,17}$/, 'a security group id')).optional(),
    })
    .refine(({ subnetIds, availabilityZones }) => subnetIds.length === availabilityZones.length, {
      message: 'needs as many availabilityZones as subnetIds',
    })
    .nullable()
    .default(null),
  /** Secrets that the functions may read: a name, or a beginning with `*`. */
  secrets: z.array(z.string().min(1)).min(1).default(['vecferry/*']),
  /** Buckets that the `files` store reads from and writes to, and where query files lie, by name; a run reaches no other. */
  buckets: z.array(z.string().regex(/^[a-z0-9.-]{3,63}$/, "a bucket's name")).default([]),
  /** Importers at once, at most. SQS takes 2 to 1,000. */
  importers: z.int().min(2).max(1000).default(16),
  /** Alarms of CloudWatch, by name, that take the readers of a routing flag back when they ring. */
  rollbackAlarms: z
    .array(
      z.strictObject({
        alarm: z.string().min(1).max(255),
        flag: z.string().regex(/^[A-Za-z0-9_.-]+$/, 'letters, digits, _ . -'),
      }),
    )
    .default([]),
  /** Addresses that alarms and notices write to, once each has confirmed. */
  alarmEmails: z.array(z.email()).default([]),
});
export type Settings = z.infer<typeof settingsSchema>;

/** @throws InvalidEvent naming the setting, or what is wrong with a schedule's event: found by `cdk synth`, not at night. */
export function readSettings(node: Node): Settings {
  const given = Object.keys(settingsSchema.shape).map((name) => [name, node.tryGetContext(`vecferry:${name}`)]);
  const present = given.filter(([, value]) => value !== undefined);
  const settings = parseAs(
    settingsSchema,
    Object.fromEntries(present),
    'the vecferry context of cdk.json',
    InvalidEvent,
  );
  for (const { name, event } of settings.schedules) checkScheduledEvent(name, event);
  return settings;
}

function checkScheduledEvent(name: string, event: unknown): void {
  const { run } = parseEvent(event);
  if (run === undefined) return;
  throw new InvalidEvent(
    `the schedule '${name}' has an event with run '${run}': each start would resume that one run; leave \`run\` out`,
    { ids: [name] },
  );
}
