import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { functionSettings, type Permission } from '../../infra/function-settings.ts';
import { repairPauseSeconds } from '../../lib/live/repair-deliveries.ts';
import { maxDeliveries, maxRepairDeliveries, rollBackInput } from '../../lib/states.ts';
import { at, functionNames, listAt, ofType, synthesize, type Template } from './template.ts';

const event = { source: { store: 'memory', collection: 'a' }, target: { store: 'memory', collection: 'b' } };
const vpcId = 'vpc-0123456789abcdef0';
const subnetIds = ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'];
const availabilityZones = ['eu-west-1a', 'eu-west-1b'];
const securityGroupIds = ['sg-0123456789abcdef0'];
const template = synthesize();
const text = JSON.stringify(template);

/** Statements of the resource policies that name this resource. */
function refusesPlainHttp(type: string, id: string): boolean {
  return ofType(template, type).some(([, { Properties }]) => {
    const statements = listAt(Properties, 'PolicyDocument', 'Statement');
    const isDenied = statements.some(
      (statement) =>
        at(statement, 'Effect') === 'Deny' &&
        at(statement, 'Condition', 'Bool', 'aws:SecureTransport') === 'false' &&
        at(statement, 'Principal', 'AWS') === '*',
    );
    return isDenied && JSON.stringify(Properties).includes(id);
  });
}

/** The queue that feeds a function, and the mapping between the two. */
function fedTo(name: string, made = template): readonly [string, Record<string, unknown>, Record<string, unknown>] {
  const names = functionNames(made);
  const [, { Properties }] = ofType(made, 'AWS::Lambda::EventSourceMapping').find(
    ([, { Properties: each }]) => names.get(String(at(each, 'FunctionName', 'Ref'))) === name,
  )!;
  const id = String(at(Properties, 'EventSourceArn', 'Fn::GetAtt', 0));
  return [id, { ...made.Resources[id]?.Properties }, { ...Properties }];
}

describe('data', () => {
  const [bucketId, bucket] = ofType(template, 'AWS::S3::Bucket')[0]!;

  test('lies encrypted in one bucket that nobody outside sees', () => {
    expect(ofType(template, 'AWS::S3::Bucket')).toHaveLength(1);

    expect(at(bucket.Properties, 'BucketEncryption', 'ServerSideEncryptionConfiguration')).toHaveLength(1);
    expect(bucket.Properties['PublicAccessBlockConfiguration']).toEqual({
      BlockPublicAcls: true,
      BlockPublicPolicy: true,
      IgnorePublicAcls: true,
      RestrictPublicBuckets: true,
    });
    expect(refusesPlainHttp('AWS::S3::BucketPolicy', bucketId)).toBe(true);
  });

  test('outlives the stack, because a rollback needs it, and is tidied up after half a year', () => {
    expect(bucket.DeletionPolicy).toBe('Retain');
    const rules = listAt(bucket.Properties, 'LifecycleConfiguration', 'Rules');
    expect(rules.find((rule) => at(rule, 'AbortIncompleteMultipartUpload') !== undefined)).toBeDefined();
    expect(
      at(
        rules.find((rule) => at(rule, 'Prefix') === 'runs/'),
        'ExpirationInDays',
      ),
    ).toBe(180);
  });

  test('travels encrypted through queues and topics', () => {
    for (const [id, { Properties }] of ofType(template, 'AWS::SQS::Queue')) {
      expect(Properties['SqsManagedSseEnabled']).toBe(true);
      expect(refusesPlainHttp('AWS::SQS::QueuePolicy', id)).toBe(true);
    }
    const [topic] = ofType(template, 'AWS::SNS::Topic');
    const [policy] = ofType(template, 'AWS::SNS::TopicPolicy');
    expect(JSON.stringify(policy)).toContain('aws:SecureTransport');
    expect(JSON.stringify(policy)).toContain(topic![0]);
  });

  test('reaches the topic: a policy of its own replaces the one by which alarms may publish', () => {
    const statements = ofType(template, 'AWS::SNS::TopicPolicy').flatMap(([, { Properties }]) =>
      listAt(Properties, 'PolicyDocument', 'Statement'),
    );
    const ofAlarms = statements.filter((each) => at(each, 'Principal', 'Service') === 'cloudwatch.amazonaws.com');
    expect(ofAlarms).toEqual([
      expect.objectContaining({
        Effect: 'Allow',
        Action: 'sns:Publish',
        Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
      }),
    ]);
  });

  test('holds no secret: what looks like one is a name', () => {
    expect(text).not.toMatch(/password|apiKey|api_key|SecretString|dynamic reference|\{\{resolve/i);
  });
});

describe('the import', () => {
  const [id, queue, mapping] = fedTo('import-shard');

  test('moves a message to the dead letters after the deliveries that the importer counts', () => {
    const redrive = queue['RedrivePolicy'];
    expect(at(redrive, 'maxReceiveCount')).toBe(maxDeliveries);
    const dead = String(at(redrive, 'deadLetterTargetArn', 'Fn::GetAtt', 0));
    expect(dead).not.toBe(id);
    expect(template.Resources[dead]?.Properties['MessageRetentionPeriod']).toBe(14 * 86_400);
  });

  test('hides a message for six times the time that an importer may take, as Lambda asks', () => {
    expect(queue['VisibilityTimeout']).toBeGreaterThanOrEqual(6 * 60 * functionSettings['import-shard'].minutes);
  });

  test('feeds import-shard, which may fail one message of several, with a cap on importers', () => {
    expect(ofType(template, 'AWS::Lambda::EventSourceMapping')).toHaveLength(2);
    const { FunctionResponseTypes, ScalingConfig } = mapping;
    expect(FunctionResponseTypes).toEqual(['ReportBatchItemFailures']);
    expect(ScalingConfig).toEqual({ MaximumConcurrency: 16 });
    const [, , other] = fedTo('import-shard', synthesize({ importers: 40 }));
    expect(other['ScalingConfig']).toEqual({ MaximumConcurrency: 40 });
  });
});

describe('repairs', () => {
  const [id, queue, mapping] = fedTo('mend-records');

  test('are tried for days, since a target may be away for a weekend, and then kept as dead letters', () => {
    const redrive = queue['RedrivePolicy'];
    expect(at(redrive, 'maxReceiveCount')).toBe(maxRepairDeliveries);
    // SQS takes at most 1,000, and keeps nothing for longer than 14 days.
    expect(maxRepairDeliveries).toBeLessThanOrEqual(1000);
    const dead = String(at(redrive, 'deadLetterTargetArn', 'Fn::GetAtt', 0));
    expect(dead).not.toBe(id);
    for (const each of [id, dead]) {
      expect(template.Resources[each]?.Properties['MessageRetentionPeriod']).toBe(14 * 86_400);
    }
    const pauses = Array.from({ length: maxRepairDeliveries - 1 }, (_, at) => repairPauseSeconds(at + 1));
    expect(pauses.slice(0, 7)).toEqual([30, 60, 120, 240, 480, 900, 900]);
    expect(Math.floor(pauses.reduce((sum, each) => sum + each, 0) / 3600)).toBe(73);
  });

  test('come back by themselves when a call is lost, long after the function has ended', () => {
    expect(queue['VisibilityTimeout']).toBe(6 * 60 * functionSettings['mend-records'].minutes);
    // Else a pause would end while another call still holds the message.
    expect(repairPauseSeconds(1000)).toBeLessThan(Number(queue['VisibilityTimeout']));
  });

  test('reach few menders at once, which may fail one message of several', () => {
    expect(mapping['FunctionResponseTypes']).toEqual(['ReportBatchItemFailures']);
    expect(mapping['ScalingConfig']).toEqual({ MaximumConcurrency: 4 });
  });
});

describe('what an application needs', () => {
  test('is one policy and the outputs that name its queue and its bucket: it reads flags, queues repairs, puts tombstones, and nothing else', () => {
    const policies = ofType(template, 'AWS::IAM::ManagedPolicy').filter(([id]) => id.startsWith('ClientPolicy'));
    expect(policies).toHaveLength(1);
    const [id, { Properties }] = policies[0]!;
    const [bucket] = ofType(template, 'AWS::S3::Bucket')[0]!;
    const [queue] = fedTo('mend-records');
    const join = (...parts: unknown[]) => ({ 'Fn::Join': ['', parts] });
    const account = [{ Ref: 'AWS::Partition' }, ':ssm:', { Ref: 'AWS::Region' }, ':', { Ref: 'AWS::AccountId' }];
    expect(at(Properties, 'PolicyDocument', 'Statement')).toEqual([
      {
        Effect: 'Allow',
        Action: 'ssm:GetParameter',
        Resource: join('arn:', ...account, ':parameter/vecferry/flags/*'),
      },
      { Effect: 'Allow', Action: 'sqs:SendMessage', Resource: { 'Fn::GetAtt': [queue, 'Arn'] } },
      {
        Effect: 'Allow',
        Action: 's3:PutObject',
        Resource: join({ 'Fn::GetAtt': [bucket, 'Arn'] }, '/runs/*/tombstones/*'),
      },
    ]);
    expect(template.Outputs['ClientPolicyArn']?.Value).toEqual({ Ref: id });
    expect(template.Outputs['RepairQueueUrl']?.Value).toEqual({ Ref: queue });
    expect(template.Outputs['RunsBucket']?.Value).toEqual({ Ref: bucket });
  });
});

describe('functions', () => {
  /** Statements that name a bucket of files: reading, or reading and writing; and deleting. */
  const onBuckets: readonly Permission[] = ['open stores', 'read query files', 'drop collections'];
  const permissions = Object.values(functionSettings).flatMap<Permission>(({ may }) => may);
  const bucketStatements = permissions.filter((each) => onBuckets.includes(each)).length;
  const functions = ofType(template, 'AWS::Lambda::Function');

  test('are all of ours, on Node 24 and arm64, traced, with a log that ends', () => {
    expect([...functionNames(template).values()].sort()).toEqual(Object.keys(functionSettings).sort());
    for (const [, { Properties }] of functions) {
      expect(Properties['Runtime']).toBe('nodejs24.x');
      expect(Properties['Architectures']).toEqual(['arm64']);
      expect(Properties['TracingConfig']).toEqual({ Mode: 'Active' });
      expect(template.Resources[String(at(Properties, 'LoggingConfig', 'LogGroup', 'Ref'))]?.Type).toBe(
        'AWS::Logs::LogGroup',
      );
    }
    for (const [, { Properties }] of ofType(template, 'AWS::Logs::LogGroup'))
      expect(Properties['RetentionInDays']).toBe(60);
  });

  test('have a role each, so none may do what another may', () => {
    const roles = functions.map(([, { Properties }]) => at(Properties, 'Role', 'Fn::GetAtt', 0));
    expect(new Set(roles).size).toBe(functions.length);
  });

  test('reach no bucket but that of the runs, and those that cdk.json names for files and queries', () => {
    const statements = (made: Template): string =>
      JSON.stringify(ofType(made, 'AWS::IAM::Policy').map(([, { Properties }]) => Properties['PolicyDocument']));
    expect(statements(template)).not.toContain(':s3:::team-vectors');
    const named = statements(synthesize({ buckets: ['team-vectors'] }));
    expect(named.split('team-vectors/*')).toHaveLength(1 + bucketStatements);
  });

  test('run in the VPC that cdk.json names, synthesized without an account', () => {
    const inVpc = synthesize({ vpc: { vpcId, subnetIds, availabilityZones } });
    for (const [, { Properties }] of ofType(inVpc, 'AWS::Lambda::Function')) {
      expect(at(Properties, 'VpcConfig', 'SubnetIds')).toEqual(subnetIds);
      expect(at(Properties, 'VpcConfig', 'SecurityGroupIds')).toHaveLength(1);
    }
    expect(ofType(inVpc, 'AWS::EC2::SecurityGroup')[0]![1].Properties['SecurityGroupIngress']).toBeUndefined();
    const own = synthesize({ vpc: { vpcId, subnetIds, availabilityZones, securityGroupIds } });
    const [first] = ofType(own, 'AWS::Lambda::Function');
    expect(at(first![1].Properties, 'VpcConfig', 'SecurityGroupIds')).toEqual(securityGroupIds);
    expect(functions[0]![1].Properties['VpcConfig']).toBeUndefined();
  });
});

describe('what is watched', () => {
  const alarms = ofType(template, 'AWS::CloudWatch::Alarm');

  test('has an alarm for failed runs, for the import and for what takes place after it, which reach a topic', () => {
    const [topic] = ofType(template, 'AWS::SNS::Topic');
    expect(ofType(template, 'AWS::SNS::Topic')).toHaveLength(1);
    expect(alarms).toHaveLength(6);
    for (const [, { Properties }] of alarms) {
      expect(Properties['AlarmActions']).toEqual([{ Ref: topic![0] }]);
      expect(Properties['AlarmDescription']).toMatch(/See docs\/runbook\.md, \w+\.$/);
      expect(Properties['TreatMissingData']).toBe('notBreaching');
    }
    expect(ofType(synthesize({ alarmEmails: ['a@example.com'] }), 'AWS::SNS::Subscription')).toHaveLength(1);
  });

  test('has a dashboard, and a log of every state', () => {
    expect(ofType(template, 'AWS::CloudWatch::Dashboard')).toHaveLength(1);
    const [machine] = ofType(template, 'AWS::StepFunctions::StateMachine');
    expect(at(machine![1].Properties, 'LoggingConfiguration', 'Level')).toBe('ALL');
    expect(machine![1].Properties['TracingConfiguration']).toEqual({ Enabled: true });
  });

  test('is named in the outputs that the command line reads', () => {
    expect(Object.keys(template.Outputs)).toEqual(
      expect.arrayContaining([
        'StateMachineArn',
        'RunsBucket',
        'CutOverFunction',
        'RollBackFunction',
        'AnswerApprovalFunction',
        'FinishFunction',
        'RetireFunction',
      ]),
    );
  });

  test('is told to people by the same topic, in commands that name this stack', () => {
    const [topic] = ofType(template, 'AWS::SNS::Topic');
    for (const [, { Properties }] of ofType(template, 'AWS::Lambda::Function')) {
      const variables = at(Properties, 'Environment', 'Variables');
      expect(at(variables, 'VECFERRY_NOTICES')).toEqual({ 'Fn::Join': ['', ['sns:', { Ref: topic![0] }]] });
      expect(at(variables, 'VECFERRY_STACK')).toBe('Vecferry');
      expect(at(variables, 'VECFERRY_METRICS')).toBe('cloudwatch');
      expect(at(variables, 'VECFERRY_TASKS')).toBe('stepfunctions');
    }
  });

  test('shows what applications see by searching for it, since their flags are not known here', () => {
    const [, dashboard] = ofType(template, 'AWS::CloudWatch::Dashboard')[0]!;
    const body = JSON.stringify(dashboard.Properties['DashboardBody']);
    for (const metric of ['Reads', 'ReadErrors', 'ReadLatency', 'ShadowOverlap', 'SecondWriteErrors', 'RepairsWaiting'])
      expect(body).toContain(`SEARCH('{vecferry/client,flag,place} MetricName=\\\\\\"${metric}\\\\\\"'`);
  });
});

describe('alarms of an application', () => {
  const rollbackAlarms = [
    { alarm: 'checkout errors', flag: 'articles' },
    { alarm: 'slow', flag: 'articles' },
  ];

  test('take readers back when they ring, and at no other time', () => {
    const made = synthesize({ rollbackAlarms });
    const rules = ofType(made, 'AWS::Events::Rule');
    expect(rules).toHaveLength(2);
    const [id, { Properties }] = rules[0]!;
    expect(Properties['EventPattern']).toEqual({
      source: ['aws.cloudwatch'],
      'detail-type': ['CloudWatch Alarm State Change'],
      detail: { alarmName: ['checkout errors'], state: { value: ['ALARM'] } },
    });
    const [target] = listAt(Properties, 'Targets');
    expect(rollBackInput.parse(JSON.parse(String(at(target, 'Input'))))).toEqual({
      flag: 'articles',
      reason: "the alarm 'checkout errors' rang",
    });
    expect(at(target, 'RetryPolicy', 'MaximumEventAgeInSeconds')).toBe(3600);
    const called = String(at(target, 'Arn', 'Fn::GetAtt', 0));
    expect(functionNames(made).get(called)).toBe('roll-back');
    const leave = ofType(made, 'AWS::Lambda::Permission').filter(
      ([, each]) => at(each.Properties, 'SourceArn', 'Fn::GetAtt', 0) === id,
    );
    expect(
      leave.map(([, each]) => [at(each.Properties, 'FunctionName', 'Fn::GetAtt', 0), at(each.Properties, 'Principal')]),
    ).toEqual([[called, 'events.amazonaws.com']]);
    expect(ofType(template, 'AWS::Events::Rule')).toHaveLength(0);
  });

  test('are watched themselves: one that cannot take readers back rings another', () => {
    const failed = (made: Template) =>
      ofType(made, 'AWS::CloudWatch::Alarm').find(([, each]) =>
        /RollBackFailed/.test(String(each.Properties['AlarmDescription'])),
      );
    expect(at(failed(template)?.[1].Properties, 'Metrics', 0, 'Expression')).toBe('errors');
    const metrics = listAt(failed(synthesize({ rollbackAlarms }))?.[1].Properties, 'Metrics');
    expect(at(metrics[0], 'Expression')).toBe('errors + FILL(undelivered0, 0) + FILL(undelivered1, 0)');
    expect(metrics.map((each) => at(each, 'MetricStat', 'Metric', 'MetricName'))).toEqual([
      undefined,
      'Errors',
      'FailedInvocations',
      'FailedInvocations',
    ]);
  });

  test('are refused where they name no flag that could be one', () => {
    expect(() => synthesize({ rollbackAlarms: [{ alarm: 'slow', flag: 'a/b' }] })).toThrow(/rollbackAlarms\.0\.flag/);
  });
});

describe('schedules', () => {
  const daily = { name: 'daily', expression: 'cron(0 3 * * ? *)', timezone: 'Europe/Berlin', event };

  test('start the state machine with their event, and an alarm tells when they cannot', () => {
    const scheduled = synthesize({ schedules: [daily] });
    const [schedule] = ofType(scheduled, 'AWS::Scheduler::Schedule');
    const { ScheduleExpression, ScheduleExpressionTimezone, Target, State } = schedule![1].Properties;
    expect([ScheduleExpression, ScheduleExpressionTimezone, State]).toEqual([
      'cron(0 3 * * ? *)',
      'Europe/Berlin',
      'ENABLED',
    ]);
    expect(JSON.parse(String(at(Target, 'Input')))).toEqual(event);
    expect(scheduled.Resources[String(at(Target, 'Arn', 'Ref'))]?.Type).toBe('AWS::StepFunctions::StateMachine');
    expect(ofType(scheduled, 'AWS::CloudWatch::Alarm')).toHaveLength(7);
  });

  test('and every alarm sends to an entry of the runbook, and every entry is an alarm', () => {
    const all = ofType(synthesize({ schedules: [daily] }), 'AWS::CloudWatch::Alarm').map(
      ([, { Properties }]) => /runbook\.md, (\w+)\./.exec(String(Properties['AlarmDescription']))?.[1],
    );
    const page = readFileSync(new URL('../../docs/runbook.md', import.meta.url), 'utf8');
    const entries = [...page.matchAll(/^## ([A-Z][a-z]+[A-Z]\w+)$/gm)].map(([, name]) => name);
    expect(entries.sort()).toEqual(all.sort());
  });

  test.each([
    ['an event that no run would take', { ...daily, event: { source: event.source } }, /target is missing/],
    [
      'an event with a password',
      { ...daily, event: { ...event, source: { ...event.source, connection: { url: 'postgres://u:p@h/d' } } } },
      /password/,
    ],
    [
      'an event with a run id, which every start would resume',
      { ...daily, event: { ...event, run: 'r' } },
      /leave `run` out/,
    ],
    ['an expression that is none', { ...daily, expression: 'every day' }, /rate\(…\)/],
  ])('are refused when the stack is synthesized: %s', (_, schedule, message) => {
    expect(() => synthesize({ schedules: [schedule] })).toThrow(message);
  });

  test('and settings with a wrong name or value are refused with the name', () => {
    expect(() => synthesize({ importers: 1 })).toThrow(/importers/);
    expect(() => synthesize({ vpc: { vpcId, subnetIds } })).toThrow(/availabilityZones/);
  });
});
