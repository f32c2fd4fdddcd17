/** Over 400 lines: one run of each kind through every function, each call held against the roles of the stack. */
import { setTimeout as sleep } from 'node:timers/promises';
import { clearCaches } from '@aws-lambda-powertools/parameters';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import type { Context } from 'aws-lambda';
import pg from 'pg';
import { functionSettings } from '../../infra/function-settings.ts';
import { s3Ledger, sqsRepairs, ssmFlag } from '../../lib/client/aws.ts';
import { errorNames } from '../../lib/errors.ts';
import { handOverMs } from '../../lib/log.ts';
import { services } from '../../lib/services.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { makeDatabase } from '../servers/database.ts';
import { qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';
import { fill, records, weakGraph } from '../stores/qdrant-recipes.ts';
import { type Need, type RecordedAws, recordAws } from './recorded-aws.ts';
import { allowedBy, allowedTo, covers, isOfPoller, resolve } from './roles.ts';
import { at, functionNames, listAt, ofType, synthesize } from './template.ts';

/**
 * Least privilege, proved: two whole runs by the functions themselves, from one PostgreSQL table into another, in the
 * environment that the stack gives them: one that moves a view, and a live one with a canary. What each calls on AWS is held
 * against the policy of its own role.
 */

const template = synthesize();
const withBucket = synthesize({ buckets: ['team-queries'] });
const run = 'permissions';
const live = 'permissions-live';
const secret = 'vecferry/permissions';
/** Of an endpoint of one's own, or a server that speaks OpenAI's protocol. */
const modelSecret = 'vecferry/model';
const qdrantSecret = 'vecferry/permissions-qdrant';
const used = new Map<string, Need[]>(Object.keys(functionSettings).map((name) => [name, []]));

let aws: RecordedAws;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let queueUrl = '';

/** Calls functions/<name>.ts in the environment of the deployed function, and books what it needed to its name. */
async function call<T>(name: keyof typeof functionSettings, event: unknown, remainingMs = 900_000): Promise<T> {
  const [id = ''] = [...functionNames(template)].find(([, each]) => each === name) ?? [];
  const variables = at(template.Resources[id], 'Properties', 'Environment', 'Variables');
  for (const key of Object.keys(variables ?? {}).filter((each) => each.startsWith('VECFERRY_'))) {
    process.env[key] = resolve(template, at(variables, key));
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

async function untilDone(name: keyof typeof functionSettings, input: unknown): Promise<void> {
  // The state machine waits between two calls too; a server at work needs the processors.
  while (!(await call<{ done: boolean }>(name, input)).done) await sleep(20);
}

const json = (key: string) => JSON.parse(new TextDecoder().decode(aws.objects.get(key)));
const side = (collection: string) => ({ store: 'pgvector', connection: { secret }, collection });

async function query(text: string): Promise<readonly unknown[]> {
  const client = new pg.Client(database.url);
  await client.connect();
  const { rows } = await client.query(text);
  await client.end();
  return rows;
}

/** Validation, from the queries on to the report. */
async function validate(of: string, shards: readonly string[], { isLive = false, drifts = false } = {}): Promise<void> {
  await call('choose-queries', { run: of });
  for (const shard of shards) {
    await untilDone('compare-shard', { run: of, shard });
    await untilDone('find-neighbours', { run: of, shard });
  }
  if (isLive) await untilDone('sweep-writes', { run: of });
  await untilDone('measure-recall', { run: of });
  await untilDone('tune-search', { run: of });
  if (drifts) await untilDone('measure-drift', { run: of });
  await call('find-causes', { run: of });
  expect(await call('write-report', { run: of })).toMatchObject({ passed: true });
}

function refusedCalls(): readonly unknown[] {
  return [...used].flatMap(([name, needs]) => {
    const allowed = allowedTo(template, name);
    const refused = needs.filter((need) => !allowed.some((each) => covers(each, need)));
    return refused.slice(0, 3).map(({ action, resource }) => `${name}: ${action} on ${resource}`);
  });
}

async function importAll(remainingMs?: number): Promise<void> {
  const bodies = aws.messages.get(queueUrl) ?? [];
  aws.messages.set(queueUrl, []);
  for (const body of bodies) {
    const record = { messageId: 'm', body, attributes: { ApproximateReceiveCount: '1' } };
    await call('import-shard', { Records: [record] }, remainingMs);
  }
}

/** Timers are real, and the clock is not. */
const allButTheDate = [
  'hrtime',
  'nextTick',
  'performance',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
  'setTimeout',
  'clearTimeout',
] as const;

/** A hundred reads that went well. */
const seenByApplication = [
  ['Reads Sum', 100],
  ['ReadLatency p95', 20],
  ['ShadowOverlap SampleCount', 100],
  ['ShadowOverlap Sum', 99],
] as const;

beforeAll(async () => {
  Object.assign(process.env, {
    AWS_REGION: 'eu-west-1',
    POWERTOOLS_LOG_LEVEL: 'SILENT',
    POWERTOOLS_METRICS_DISABLED: 'true',
    POWERTOOLS_TRACE_ENABLED: 'false',
  });
  database = await makeDatabase('permissions');
  await query('CREATE TABLE articles (id bigint PRIMARY KEY, title text, embedding vector(3))');
  await query(
    "INSERT INTO articles SELECT i, 'title ' || i, ARRAY[i, i % 7, 1]::vector FROM generate_series(1, 25_000) i",
  );
  await query('CREATE TABLE drafts AS SELECT * FROM articles WHERE id <= 2000');
  await query('ALTER TABLE drafts ADD PRIMARY KEY (id)');
  const [machine = ''] = ofType(template, 'AWS::StepFunctions::StateMachine').map(([id]) => id);
  const secrets = new Map([
    [secret, JSON.stringify({ url: database.url })],
    [qdrantSecret, JSON.stringify({ url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() })],
    [modelSecret, JSON.stringify({ url: 'https://models.example' })],
  ]);
  aws = recordAws(secrets, resolve(template, { Ref: machine }));
});

afterAll(async () => {
  await services().close();
  aws.restore();
  await database.drop();
});

test('a whole run, with a shard handed back, one damaged and a second start, calls nothing that its roles do not allow', async () => {
  const event = {
    source: side('public.articles'),
    target: side('public.copies'),
    parallel: { exporters: 1 },
    validate: { recall: { k: 3, queries: 20, atLeast: 0.5, tune: true } },
    cutover: { pointer: 'public.current_articles' },
  };
  const since = new Date().toISOString();

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
  await untilDone('watch-index', { run, since });
  await validate(run, shards);
  await call('cut-over', { run, since });
  await call('roll-back', { run });
  await call('report-failure', { execution: run, event, failure: { Error: 'States.Timeout', Cause: '' } });
  await call('plan', { execution: run, event });

  expect(refusedCalls()).toEqual([]);
});

test('a live run with approval and canary, a breach, an alarm, repairs and its end calls nothing that its roles do not allow', async () => {
  const event = {
    source: side('public.drafts'),
    target: side('public.live_drafts'),
    live: { settleSeconds: 0 },
    parallel: { exporters: 1 },
    validate: { recall: { k: 3, queries: 20, atLeast: 0.5 } },
    cutover: { flag: 'drafts', approval: 'person', canary: { steps: [{ percent: 100, minutes: 0 }] } },
  };
  // CloudWatch gives metrics by ten seconds, and the canary judges what came after its step.
  jest.useFakeTimers({ now: Date.now(), doNotFake: [...allButTheDate] });
  const later = (seconds: number) => jest.setSystemTime(Date.now() + seconds * 1000);
  try {
    const since = new Date().toISOString();
    const planned = await call<{ rangesKey: string; shardListKey: string }>('plan', { execution: live, event });
    await call('prepare', { run: live });
    await untilDone('begin-live', { run: live, since });
    for (const range of json(planned.rangesKey)) await call('export-range', { run: live, range });
    await call('seal', { run: live });

    const [policy] = ofType(template, 'AWS::IAM::ManagedPolicy').flatMap(([id, { Properties }]) =>
      id.startsWith('ClientPolicy') ? [Properties] : [],
    );
    const ofClient = allowedBy(template, listAt(policy, 'PolicyDocument', 'Statement'));
    aws.needs.length = 0;
    expect((await ssmFlag({ name: 'drafts' }).read())?.writes).toEqual([
      'pgvector:public.drafts',
      'pgvector:public.live_drafts',
    ]);
    const bucket = String(process.env['VECFERRY_RUNS']).slice('s3://'.length);
    await s3Ledger({ bucket }).addTombstones(live, ['7']);
    await query('DELETE FROM drafts WHERE id = 7');
    await query("UPDATE drafts SET title = 'changed' WHERE id = 3");
    const repairsUrl = String(process.env['VECFERRY_REPAIR_QUEUE_URL']);
    await sqsRepairs({ queueUrl: repairsUrl }).send(live, ['3']);
    expect(aws.needs.filter((need) => !ofClient.some((each) => covers(each, need)))).toEqual([]);
    expect(ofClient.filter((each) => !aws.needs.some((need) => covers(each, need)))).toEqual([]);

    await importAll();
    expect(await call('await-import', { run: live, since })).toMatchObject({ done: true });
    await untilDone('apply-tombstones', { run: live });
    await call('build-index', { run: live });
    await untilDone('watch-index', { run: live, since });
    const body = aws.messages.get(repairsUrl)?.[0] ?? '';
    const attributes = { ApproximateReceiveCount: '3' };
    const Records = [body, body.replace(live, 'another')].map((each, i) => {
      return { messageId: `m${i}`, receiptHandle: `r${i}`, body: each, attributes };
    });
    expect(await call('mend-records', { Records })).toEqual({ batchItemFailures: [{ itemIdentifier: 'm1' }] });
    expect([...aws.heldBack]).toEqual([['r1', 120]]);
    expect(await query('SELECT title FROM live_drafts WHERE id IN (3, 7)')).toEqual([{ title: 'changed' }]);
    // What comparing mends, and what the sweep does, as of an application that died between its two writes.
    await query("UPDATE live_drafts SET title = 'old' WHERE id = 5");
    await query("INSERT INTO drafts VALUES (3001, 'added', '[1, 2, 3]')");
    await validate(live, json(planned.shardListKey), { isLive: true });

    await call('ask-approval', { run: live, token: 'first' });
    await call('answer-approval', { run: live, answer: 'approved', by: 'a person' });
    await call('ask-approval', { run: live, token: 'second' });
    for (const token of ['first', 'second']) expect(aws.answers.get(token)).toMatchObject({ approved: true });

    for (const [name, value] of seenByApplication) aws.metrics.set(name, value);
    aws.metrics.set('ReadErrors Sum', 50);
    await call('step-canary', { run: live, since });
    later(60);
    await expect(call('step-canary', { run: live, since })).rejects.toMatchObject({ name: errorNames.takenBack });
    aws.metrics.set('ReadErrors Sum', 0);
    later(60);
    const again = { run: live, since: new Date().toISOString() };
    while (!(await call<{ done: boolean }>('step-canary', again)).done) later(60);
    await call('cut-over', again);
    await call('tell-readers-stay', { run: live, by: 'a person', reason: 'not today' });
    // The repair is made, but its message is still there: nothing has taken it off this queue.
    await expect(call('finish', { run: live })).rejects.toThrow(/1 message on the repair queue may name records/);
    expect(await call('roll-back', { flag: 'drafts', reason: 'an alarm rang' })).toMatchObject({ action: 'rollback' });
    await call('finish', { run: live });
    expect(aws.notices).toHaveLength(5);
  } finally {
    jest.useRealTimers();
  }
  expect(refusedCalls()).toEqual([]);
});

const recall = { k: 3, queries: 20, atLeast: 0.5 };
/** Queries that are texts have the models called too. */
const asked = { name: 'asked', queries: [{ text: 'title 7' }, { text: 'title 70' }], atLeast: null };

test('a run that embeds by Titan, and one in place by an inference profile of Cohere, call nothing that their roles do not allow', async () => {
  const connection = { secret: modelSecret };
  const titan = { provider: 'bedrock', name: 'amazon.titan-embed-text-v2:0', dimensions: 256, connection };
  const cohere = { provider: 'bedrock', name: 'eu.cohere.embed-v4:0', dimensions: 256 };
  await query('CREATE TABLE notes AS SELECT * FROM articles WHERE id <= 300');
  await query('ALTER TABLE notes ADD PRIMARY KEY (id)');
  const sets = [{ name: 'sampled' }, asked];
  const events = {
    titan: {
      source: side('public.notes'),
      target: side('public.embedded'),
      embed: { text: 'title', model: titan },
      parallel: { exporters: 1 },
      validate: { recall: { ...recall, sets } },
      cutover: { pointer: 'public.current_notes' },
    },
    place: {
      source: side('public.notes'),
      target: { ...side('public.notes'), into: 'place' },
      embed: { text: 'title', model: cohere },
      parallel: { exporters: 1 },
      validate: { recall: { ...recall, sets } },
    },
  };
  for (const [of, event] of Object.entries(events)) {
    const since = new Date().toISOString();
    const planned = await call<{ rangesKey: string; shardListKey: string }>('plan', { execution: of, event });
    await call('prepare', { run: of });
    for (const range of json(planned.rangesKey)) await call('export-range', { run: of, range });
    await call('seal', { run: of });
    await untilDone('embed-texts', { run: of });
    await importAll();
    expect(await call('await-import', { run: of, since })).toMatchObject({ done: true });
    if (of === 'place') {
      await query("UPDATE notes SET title = 'written meanwhile' WHERE id = 5");
      await untilDone('catch-up', { run: of });
    }
    await call('build-index', { run: of });
    await untilDone('watch-index', { run: of, since });
    await validate(of, json(planned.shardListKey), { drifts: true });
    if (of === 'place') await query("UPDATE notes SET title = 'written late' WHERE id = 6");
    await call('cut-over', { run: of, since });
  }
  expect(await call('retire', { run: 'titan' })).toMatchObject({ dropped: false, name: 'public.notes' });
  const { name } = await call<{ name: string }>('retire', { run: 'place' });
  expect(await call('retire', { run: 'place', confirm: name })).toMatchObject({ dropped: true });
  expect(refusedCalls()).toEqual([]);
});

test('a run that changes an index in Qdrant, and asks the old one before, calls nothing that its roles do not allow', async () => {
  const collection = 'permissions_index';
  const source = { store: 'qdrant', connection: { secret: qdrantSecret }, collection };
  const { url, grpcUrl } = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
  const seeded = await qdrant.open({ connection: { url, grpcUrl }, collection, options: weakGraph });
  await fill(seeded, records());
  await seeded.close();
  const of = 'permissions-index';
  const since = new Date().toISOString();
  const event = {
    source,
    target: { into: 'place' },
    index: { to: { kind: 'hnsw', m: 32, efConstruction: 200 } },
    parallel: { exporters: 1 },
    validate: { recall },
  };
  const planned = await call<{ rangesKey: string; shardListKey: string }>('plan', { execution: of, event });
  await call('prepare', { run: of });
  for (const range of json(planned.rangesKey)) await call('export-range', { run: of, range });
  await call('seal', { run: of });
  await call('choose-queries', { run: of });
  await untilDone('search-before', { run: of });
  await call('build-index', { run: of });
  await untilDone('watch-index', { run: of, since });
  await validate(of, json(planned.shardListKey));
  await call('cut-over', { run: of, since });
  await call('roll-back', { run: of });
  expect(refusedCalls()).toEqual([]);
});

test('no role allows what its function never calls', () => {
  // Which of the models a function calls is the event's to say: all together call each, and each of them one.
  const ofModels = (need: Need): boolean => need.action === 'bedrock:InvokeModel';
  const modelCalls = [...used.values()].flat().filter(ofModels);
  const idle = [...used].flatMap(([name, needs]) => {
    const calls = needs.some(ofModels) ? [...needs, ...modelCalls] : needs;
    return allowedTo(template, name)
      .filter((each) => !isOfPoller(template, name, each) && !calls.some((need) => covers(each, need)))
      .map(({ action, resource }) => `${name}: ${action} on ${resource}`);
  });
  expect(idle).toEqual([]);
});

test('a file of queries is read where cdk.json names its bucket, by the two functions that read it and with no more', async () => {
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
    const allowed = allowedTo(withBucket, name);
    expect(needs.filter((need) => !allowed.some((each) => covers(each, need)))).toEqual([]);
    if (name === 'plan') continue; // Its stores may lie in the bucket, so it may write there too.
    const added = allowed.filter(({ resource }) => resource.includes('team-queries'));
    expect(added.filter((each) => !needs.some((need) => covers(each, need)))).toEqual([]);
  }
});
