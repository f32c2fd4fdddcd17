import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { functionSettings } from '../../infra/function-settings.ts';
import { maxDeliveries } from '../../lib/states.ts';
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

  test('holds no secret: what looks like one is a name', () => {
    expect(text).not.toMatch(/password|apiKey|api_key|SecretString|dynamic reference|\{\{resolve/i);
  });
});

describe('the import', () => {
  const queues = ofType(template, 'AWS::SQS::Queue');
  const [id, queue] = queues.find(([, { Properties }]) => Properties['RedrivePolicy'] !== undefined)!;
  const [mapping] = ofType(template, 'AWS::Lambda::EventSourceMapping');

  test('moves a message to the dead letters after the deliveries that the importer counts', () => {
    const redrive = queue.Properties['RedrivePolicy'];
    expect(at(redrive, 'maxReceiveCount')).toBe(maxDeliveries);
    const dead = queues.find(([other]) => other === at(redrive, 'deadLetterTargetArn', 'Fn::GetAtt', 0));
    expect(dead?.[0]).not.toBe(id);
    expect(dead?.[1].Properties['MessageRetentionPeriod']).toBe(14 * 86_400);
  });

  test('hides a message for six times the time that an importer may take, as Lambda asks', () => {
    expect(queue.Properties['VisibilityTimeout']).toBeGreaterThanOrEqual(
      6 * 60 * functionSettings['import-shard'].minutes,
    );
  });

  test('feeds import-shard, which may fail one message of several, with a cap on importers', () => {
    expect(ofType(template, 'AWS::Lambda::EventSourceMapping')).toHaveLength(1);
    const { EventSourceArn, FunctionName, FunctionResponseTypes, ScalingConfig } = mapping![1].Properties;
    expect(at(EventSourceArn, 'Fn::GetAtt', 0)).toBe(id);
    expect(functionNames(template).get(String(at(FunctionName, 'Ref')))).toBe('import-shard');
    expect(FunctionResponseTypes).toEqual(['ReportBatchItemFailures']);
    expect(ScalingConfig).toEqual({ MaximumConcurrency: 16 });
    const more = synthesize({ importers: 40 });
    const [other] = ofType(more, 'AWS::Lambda::EventSourceMapping');
    expect(other![1].Properties['ScalingConfig']).toEqual({ MaximumConcurrency: 40 });
  });
});

describe('functions', () => {
  const bucketReaders = Object.values(functionSettings).filter(({ may }) =>
    may.some((each) => each === 'open stores' || each === 'read query files'),
  ).length;
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
    expect(named.split('team-vectors/*')).toHaveLength(1 + bucketReaders);
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

  test('has an alarm for failed runs, dead letters and a stalled import, which reach a topic', () => {
    const [topic] = ofType(template, 'AWS::SNS::Topic');
    expect(alarms).toHaveLength(3);
    for (const [, { Properties }] of alarms) {
      expect(Properties['AlarmActions']).toEqual([{ Ref: topic![0] }]);
      expect(Properties['AlarmDescription']).toMatch(/See docs\/runbook\.md, (RunFailed|DeadLetters|ImportStalled)\./);
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
      expect.arrayContaining(['StateMachineArn', 'RunsBucket', 'RollBackFunction']),
    );
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
    expect(ofType(scheduled, 'AWS::CloudWatch::Alarm')).toHaveLength(4);
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
