import { ManagedPolicy, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { runKeys } from '../lib/keys.ts';
import { flagArn } from './flags.ts';

/** What an application needs that reads and writes through `vecferry/client`, to attach to its role: docs/client.md. */
export function clientPolicy(scope: Construct, runs: IBucket, repairs: IQueue): ManagedPolicy {
  return new ManagedPolicy(scope, 'ClientPolicy', {
    description: 'vecferry/client: reads routing flags, notes repairs, and deletes of a live run',
    statements: [
      new PolicyStatement({ actions: ['ssm:GetParameter'], resources: [flagArn(scope)] }),
      new PolicyStatement({ actions: ['sqs:SendMessage'], resources: [repairs.queueArn] }),
      new PolicyStatement({
        actions: ['s3:PutObject'],
        resources: [runs.arnForObjects(`${runKeys('*').tombstones}*`)],
      }),
    ],
  });
}
