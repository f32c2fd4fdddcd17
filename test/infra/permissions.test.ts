import { clearCaches } from '@aws-lambda-powertools/parameters';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Context } from 'aws-lambda';
import pg from 'pg';
import { functionSettings } from '../../infra/function-settings.ts';
import { handOverMs } from '../../lib/log.ts';
import { services } from '../../lib/services.ts';
import { makeDatabase } from '../servers/database.ts';
import { type Need, type RecordedAws, recordAws } from './recorded-aws.ts';
import { at, functionNames, listAt, ofType, synthesize } from './template.ts';

/**
 * Least privilege, proved: a whole run by the functions themselves, from one PostgreSQL table into another, in the
 * environment that the stack gives them. What each calls on AWS is held against the policy of its own role.
 */

const template = synthesize();
const withBucket = synthesize({ buckets: ['team-queries'] });
const run = 'permissions';
const secret = 'vecferry/permissions';
const used = new Map<string, Need[]>(Object.keys(functionSettings).map((name) => [name, []]));

let aws: RecordedAws;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let queueUrl = '';

/** A value of the template as it would be in an account: ARNs and URLs by logical id. */
function resolve(value: unknown): string {
  if (typeof value === 'string') return value;
  const pseudo: Readonly<Record<string, string>> = {
    'AWS::Partition': 'aws',
    'AWS::Region': 'eu-west-1',
    'AWS::AccountId': '123456789012',
  };
  const ref = at(value, 'Ref');
  if (typeof ref === 'string') {
    const isQueue = template.Resources[ref]?.Type === 'AWS::SQS::Queue';
    return pseudo[ref] ?? (isQueue ? `https://sqs/123456789012/${ref}` : ref);
  }
  const id = at(value, 'Fn::GetAtt', 0);
  if (typeof id === 'string') {
    const type = template.Resources[id]?.Type;
    if (type === 'AWS::S3::Bucket') return `arn:aws:s3:::${id}`;
    return `arn:aws:${type === 'AWS::SQS::Queue' ? 'sqs' : 'other'}:eu-west-1:123456789012:${id}`;
  }
  return listAt(value, 'Fn::Join', 1)
    .map(resolve)
    .join(String(at(value, 'Fn::Join', 0)));
}

/** What Lambda itself needs: its log, its traces, and to poll the queue. */
const ofRuntime = /^(logs|xray):/;
const ofPoller = /^sqs:(ReceiveMessage|DeleteMessage|ChangeMessageVisibility|GetQueueUrl|GetQueueAttributes)$/;

/** What a function's role allows, one action on one resource at a time, besides what the runtime needs. */
function allowedTo(name: string, made = template): readonly Need[] {
  const [id] = [...functionNames(made)].find(([, each]) => each === name) ?? [];
  const role = at(made.Resources[id ?? ''], 'Properties', 'Role', 'Fn::GetAtt', 0);
  const policies = ofType(made, 'AWS::IAM::Policy').filter(([, { Properties }]) =>
    listAt(Properties, 'Roles').some((each) => at(each, 'Ref') === role),
  );
  return policies
    .flatMap(([, { Properties }]) => listAt(Properties, 'PolicyDocument', 'Statement'))
    .flatMap((statement) => {
      const actions = [at(statement, 'Action')].flat().map(String);
      const resources = [at(statement, 'Resource')].flat().map(resolve);
      return actions.flatMap((action) => resources.map((resource) => ({ action, resource })));
    })
    .filter(({ action }) => !ofRuntime.test(action) && !(name === 'import-shard' && ofPoller.test(action)));
}

function covers(allowed: Need, needed: Need): boolean {
  const pattern = allowed.resource
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return allowed.action === needed.action && new RegExp(`^${pattern}$`).test(needed.resource);
}

/** Calls functions/<name>.ts in the environment of the deployed function, and books what it needed to its name. */
async function call<T>(name: keyof typeof functionSettings, event: unknown, remainingMs = 900_000): Promise<T> {
  const [id = ''] = [...functionNames(template)].find(([, each]) => each === name) ?? [];
  const variables = at(template.Resources[id], 'Properties', 'Environment', 'Variables');
  for (const key of Object.keys(variables ?? {}).filter((each) => each.startsWith('VECFERRY_'))) {
    process.env[key] = resolve(at(variables, key));
  }
  queueUrl = process.env['VECFERRY_QUEUE_URL'] ?? '';
  // A cold start: the secret is read again, and the store opened.
  clearCaches();
  await services().close();
  aws.needs.length = 0;
  const { handler } = await import(`../../functions/${name}.ts`);
  const context: Partial<Context> = {
    functionName: name,
    awsRequestId: 'r',
    getRemainingTimeInMillis: () => remainingMs,
  };
  try {
    return await handler(event, context);
  } finally {
    used.get(name)?.push(...aws.needs);
  }
}

async function untilDone(name: 'measure-recall' | 'tune-search', of: string): Promise<void> {
  while (!(await call<{ done: boolean }>(name, { run: of })).done);
}

async function importAll(remainingMs?: number): Promise<void> {
  const bodies = aws.messages.get(queueUrl) ?? [];
  aws.messages.set(queueUrl, []);
  for (const body of bodies) {
    const record = { messageId: 'm', body, attributes: { ApproximateReceiveCount: '1' } };
    await call('import-shard', { Records: [record] }, remainingMs);
  }
}

beforeAll(async () => {
  Object.assign(process.env, {
    AWS_REGION: 'eu-west-1',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
    POWERTOOLS_METRICS_DISABLED: 'true',
    POWERTOOLS_TRACE_ENABLED: 'false',
  });
  database = await makeDatabase('permissions');
  const client = new pg.Client(database.url);
  await client.connect();
  await client.query('CREATE TABLE articles (id bigint PRIMARY KEY, title text, embedding vector(3))');
  await client.query(
    "INSERT INTO articles SELECT i, 'title ' || i, ARRAY[i, i % 7, 1]::vector FROM generate_series(1, 25_000) i",
  );
  await client.end();
  aws = recordAws(new Map([[secret, JSON.stringify({ url: database.url })]]));
});

afterAll(async () => {
  await services().close();
  aws.restore();
  await database.drop();
});

test('a whole run, with a shard handed back, one damaged and a second start, calls nothing that its roles do not allow', async () => {
  const side = (collection: string) => ({ store: 'pgvector', connection: { secret }, collection });
  const event = {
    source: side('public.articles'),
    target: side('public.copies'),
    parallel: { exporters: 1 },
    validate: { recall: { k: 3, queries: 20, atLeast: 0.5, tune: true } },
  };
  const since = new Date().toISOString();
  const json = (key: string) => JSON.parse(new TextDecoder().decode(aws.objects.get(key)));

  const planned = await call<{ rangesKey: string; shardListKey: string }>('plan', { execution: run, event });
  await call('prepare', { run });
  for (const range of json(planned.rangesKey)) await call('export-range', { run, range });
  await call('seal', { run });
  expect(await call('await-import', { run, since })).toMatchObject({ done: false });

  const shards: string[] = json(planned.shardListKey);
  const key = [...aws.objects.keys()].find((each) => each.endsWith('.parquet')) ?? '';
  const whole = aws.objects.get(key) ?? new Uint8Array();
  const waiting = [...(aws.messages.get(queueUrl) ?? [])];
  aws.objects.set(key, whole.slice(0, whole.length / 2));
  await importAll();
  aws.objects.set(key, whole);
  aws.messages.set(queueUrl, waiting);
  await importAll(handOverMs - 1);
  await importAll();
  expect(await call('await-import', { run, since })).toMatchObject({ done: true });

  await call('build-index', { run });
  while (!(await call<{ done: boolean }>('watch-index', { run, since })).done);
  await call('choose-queries', { run });
  for (const shard of shards) {
    await call('compare-shard', { run, shard });
    await call('find-neighbours', { run, shard });
  }
  await untilDone('measure-recall', run);
  await untilDone('tune-search', run);
  await call('find-causes', { run });
  expect(await call('write-report', { run })).toMatchObject({ passed: true });
  await call('cut-over', { run });
  await call('roll-back', { run });
  await call('report-failure', { execution: run, event, failure: { Error: 'States.Timeout', Cause: '' } });
  await call('plan', { execution: run, event });

  for (const [name, needs] of used) {
    const allowed = allowedTo(name);
    const refused = needs.filter((need) => !allowed.some((each) => covers(each, need)));
    expect([name, refused.slice(0, 3)]).toEqual([name, []]);
  }
});

test('no role allows what its function never calls', () => {
  const idle = [...used].flatMap(([name, needs]) =>
    allowedTo(name)
      .filter((each) => !needs.some((need) => covers(each, need)))
      .map(({ action, resource }) => `${name}: ${action} on ${resource}`),
  );
  expect(idle).toEqual([]);
});

test('a file of queries is read where cdk.json names its bucket, by the two functions that read it and with no more', async () => {
  const side = (collection: string) => ({ store: 'pgvector', connection: { secret }, collection });
  const file = 's3://team-queries/queries.jsonl';
  const set = { name: 'given', file, atLeast: null };
  const event = { source: side('public.articles'), target: side('public.copies'), parallel: { exporters: 1 } };
  aws.objects.set('queries.jsonl', new TextEncoder().encode('{"vector": [1, 2, 3]}\n'));
  for (const name of ['plan', 'choose-queries'] as const) {
    const before = used.get(name)?.length ?? 0;
    const input = { execution: run, event: { ...event, validate: { recall: { sets: [set] } } } };
    const output = await call(name, name === 'plan' ? input : { run });
    if (name === 'choose-queries') expect(output).toEqual({ queries: 1 });
    const needs =
      used
        .get(name)
        ?.slice(before)
        .filter(({ resource }) => resource.includes('team-queries')) ?? [];
    expect(new Set(needs.map(({ action }) => action))).toEqual(new Set(['s3:GetObject', 's3:ListBucket']));
    const allowed = allowedTo(name, withBucket);
    expect(needs.filter((need) => !allowed.some((each) => covers(each, need)))).toEqual([]);
    if (name === 'plan') continue; // Its stores may lie in the bucket, so it may write there too.
    const added = allowed.filter(({ resource }) => resource.includes('team-queries'));
    expect(added.filter((each) => !needs.some((need) => covers(each, need)))).toEqual([]);
  }
});
