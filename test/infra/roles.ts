import type { Need } from './recorded-aws.ts';
import { at, functionNames, listAt, ofType, type Template } from './template.ts';

/** What the roles of a synthesized template allow, in IAM's words. */

const region = 'eu-west-1';
const account = '123456789012';

/** A value of the template as it would be in an account: ARNs and URLs by logical id. */
export function resolve(template: Template, value: unknown): string {
  if (typeof value === 'string') return value;
  const pseudo: Readonly<Record<string, string>> = {
    'AWS::Partition': 'aws',
    'AWS::Region': region,
    'AWS::AccountId': account,
  };
  const ref = at(value, 'Ref');
  if (typeof ref === 'string') return pseudo[ref] ?? named(template, ref);
  const id = at(value, 'Fn::GetAtt', 0);
  if (typeof id === 'string') {
    const type = template.Resources[id]?.Type;
    if (type === 'AWS::S3::Bucket') return `arn:aws:s3:::${id}`;
    return `arn:aws:${type === 'AWS::SQS::Queue' ? 'sqs' : 'other'}:${region}:${account}:${id}`;
  }
  return listAt(value, 'Fn::Join', 1)
    .map((part) => resolve(template, part))
    .join(String(at(value, 'Fn::Join', 0)));
}

/** What a resource's Ref stands for. */
function named({ Resources }: Template, id: string): string {
  switch (Resources[id]?.Type) {
    case 'AWS::SQS::Queue':
      return `https://sqs/${account}/${id}`;
    case 'AWS::SNS::Topic':
      return `arn:aws:sns:${region}:${account}:${id}`;
    case 'AWS::StepFunctions::StateMachine':
      return `arn:aws:states:${region}:${account}:stateMachine:${id}`;
    default:
      return id;
  }
}

/** What Lambda itself needs: its log, and its traces. */
const ofRuntime = /^(logs|xray):/;

/** What the statements allow, one action on one resource at a time. */
export function allowedBy(template: Template, statements: readonly unknown[]): readonly Need[] {
  return statements.flatMap((statement) => {
    const actions = [at(statement, 'Action')].flat().map(String);
    const resources = [at(statement, 'Resource')].flat().map((each) => resolve(template, each));
    return actions.flatMap((action) => resources.map((resource) => ({ action, resource })));
  });
}

/** What a function's role allows, besides what the runtime needs. */
export function allowedTo(template: Template, name: string): readonly Need[] {
  const [id] = [...functionNames(template)].find(([, each]) => each === name) ?? [];
  const role = at(template.Resources[id ?? ''], 'Properties', 'Role', 'Fn::GetAtt', 0);
  const policies = ofType(template, 'AWS::IAM::Policy').filter(([, { Properties }]) =>
    listAt(Properties, 'Roles').some((each) => at(each, 'Ref') === role),
  );
  const statements = policies.flatMap(([, { Properties }]) => listAt(Properties, 'PolicyDocument', 'Statement'));
  return allowedBy(template, statements).filter(({ action }) => !ofRuntime.test(action));
}

const ofPoller = /^sqs:(ReceiveMessage|DeleteMessage|ChangeMessageVisibility|GetQueueUrl|GetQueueAttributes)$/;

/** What Lambda needs to feed a function from its queue, in the function's name. */
export function isOfPoller(template: Template, name: string, { action, resource }: Need): boolean {
  const names = functionNames(template);
  return ofType(template, 'AWS::Lambda::EventSourceMapping').some(
    ([, { Properties }]) =>
      names.get(String(at(Properties, 'FunctionName', 'Ref'))) === name &&
      resolve(template, at(Properties, 'EventSourceArn')) === resource &&
      ofPoller.test(action),
  );
}

export function covers(allowed: Need, needed: Need): boolean {
  const pattern = allowed.resource
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return allowed.action === needed.action && new RegExp(`^${pattern}$`).test(needed.resource);
}
