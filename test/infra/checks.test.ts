import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { AwsSolutionsChecks } from 'cdk-nag';
import { at, listAt, makeStack, synthesize } from './template.ts';

/** Every setting in use, so that everything the stack can have is checked. */
const allSettings = {
  vpc: { vpcId: 'vpc-0123456789abcdef0', subnetIds: ['subnet-0123456789abcdef0'], availabilityZones: ['eu-west-1a'] },
  schedules: [
    {
      name: 'daily',
      expression: 'rate(1 day)',
      event: { source: { store: 'memory', collection: 'a' }, target: { store: 'memory', collection: 'b' } },
    },
  ],
  secrets: ['vecferry/*', 'team/qdrant'],
  buckets: ['team-vectors'],
  alarmEmails: ['a@example.com'],
  rollbackAlarms: [{ alarm: 'checkout errors', flag: 'articles' }],
};

interface Acknowledged {
  readonly rule: RegExp;
  readonly at: RegExp;
  readonly reason: string;
}

const acknowledged: readonly Acknowledged[] = [
  {
    rule: /^AwsSolutions-S1$/,
    at: /^Vecferry\/Runs\//,
    reason:
      'Who read a run is in CloudTrail where an account records data events; a log bucket would be one more to guard.',
  },
  {
    rule: /^AwsSolutions-IAM4\[.*AWSLambdaVPCAccessExecutionRole\]$/,
    at: /^Vecferry\/Functions\/\w+Role\//,
    reason: "Lambda's own policy for functions in a VPC; the interfaces that it makes have no ARN to name.",
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::<Runs\w+\.Arn>\/runs\/\*\]$/,
    at: /^Vecferry\/Functions\/\w+Role\//,
    reason: 'A function works on any run, and its keys begin with runs/.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::arn:<AWS::Partition>:secretsmanager:.*:secret:(vecferry\/\*|team\/qdrant-\?{6})\]$/,
    at: /^Vecferry\/Functions\/\w+Role\//,
    reason: 'The settings name them; Secrets Manager adds six characters of its own to each ARN.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::arn:<AWS::Partition>:s3:::team-vectors\/\*\]$/,
    at: /^Vecferry\/Functions\/\w+Role\//,
    reason: 'The setting names the bucket for the `files` store; an event names the folder within it.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::arn:<AWS::Partition>:ssm:.*:parameter\/vecferry\/flags\/\*\]$/,
    at: /^Vecferry\/(Functions\/\w+Role|ClientPolicy)\//,
    reason: 'An event names its flag; all lie under this path.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::<Runs\w+\.Arn>\/runs\/\*\/tombstones\/\*\]$/,
    at: /^Vecferry\/ClientPolicy\//,
    reason: 'An application notes its deletes for whichever live run is under way, an object a delete.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::\*\]$/,
    at: /^Vecferry\/(Functions\/\w+Role|Run\/Role)\//,
    reason:
      "X-Ray, reading metrics and the delivery of a state machine's log have no resources that a policy could name.",
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::arn:<AWS::Partition>:bedrock:\*:(:foundation-model\/(amazon\.titan|cohere\.)|.*:inference-profile\/\*\.cohere\.).*\]$/,
    at: /^Vecferry\/Functions\/\w+Role\//,
    reason: 'An event names the embedding model and its region; no other kind of model can be called.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::<Functions\w+\.Arn>:\*\]$/,
    at: /^Vecferry\/Run\/Role\//,
    reason: 'The state machine may call a function in each of its versions; there is one.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::arn:<AWS::Partition>:s3:::<Runs\w+>\/\*\]$/,
    at: /^Vecferry\/Run\/Role\//,
    reason: 'Distributed Maps read and write under the prefix of any run, in a bucket that holds nothing else.',
  },
  {
    rule: /^AwsSolutions-IAM5\[Resource::arn:<AWS::Partition>:states:.*\]$/,
    at: /^Vecferry\/Run\/DistributedMapPolicy\//,
    reason: 'A map starts and stops its own children, which have names that Step Functions gives them.',
  },
];

test('cdk-nag finds nothing in the stack that is not explained, and nothing explained is gone', () => {
  const { app, stack } = makeStack(allSettings);
  const { violations } = new AwsSolutionsChecks(app).validateScope(stack);
  const findings = violations.flatMap((violation) =>
    listAt(violation, 'violatingResources').map((found) => ({
      rule: violation.ruleName,
      at: String(at(found, 'constructPath')),
    })),
  );
  expect(findings.length).toBeGreaterThan(10);
  const explains = (each: Acknowledged) =>
    findings.filter((found) => each.rule.test(found.rule) && each.at.test(found.at));
  const explained = new Set(acknowledged.flatMap(explains));
  expect(findings.filter((found) => !explained.has(found))).toEqual([]);
  expect(acknowledged.filter((each) => explains(each).length === 0)).toEqual([]);
});

test('cfn-lint finds nothing wrong in the template, as it comes and with every setting in use', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'vecferry-lint-'));
  writeFileSync(join(folder, 'plain.json'), JSON.stringify(synthesize()));
  writeFileSync(join(folder, 'all.json'), JSON.stringify(synthesize(allSettings)));
  const linter = new URL('../../.venv/bin/cfn-lint', import.meta.url).pathname;
  // W3005: the CDK names a function's role as a dependency although its ARN is one already.
  const options = ['--ignore-checks', 'W3005', '--regions', 'eu-west-1', '--template', join(folder, '*.json')];
  const { stdout } = await promisify(execFile)(linter, options).catch((failed: { stdout: string }) => failed);
  expect(stdout).toBe('');
});
