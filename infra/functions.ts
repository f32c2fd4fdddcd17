import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { ManagedPolicy, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Function as LambdaFunction, Runtime, Tracing } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { bundledCode } from './bundles.ts';
import { flagArn, flagPrefix } from './flags.ts';
import { type FunctionName, functionSettings } from './function-settings.ts';
import type { ImportQueue } from './import-queue.ts';
import type { Network } from './network.ts';
import type { RepairQueue } from './repair-queue.ts';
import { logRetention } from './runs-bucket.ts';

export type { FunctionName } from './function-settings.ts';
export type Functions = Readonly<Record<FunctionName, LambdaFunction>>;

export interface FunctionsProps {
  readonly runs: IBucket;
  readonly queue: ImportQueue;
  readonly repairs: RepairQueue;
  /** Takes the notices to people. */
  readonly topic: ITopic;
  /** Names of secrets, `*` at the end for all that begin so. */
  readonly secrets: readonly string[];
  /** Buckets of the `files` store and of query files, by name. */
  readonly buckets: readonly string[];
  readonly network: Network | undefined;
}

/** Every file of functions/ as a Lambda, with a role of its own that allows what function-settings.ts names and no more. */
export class AllFunctions extends Construct {
  readonly byName: Functions;

  constructor(scope: Construct, id: string, props: FunctionsProps) {
    super(scope, id);
    const make = (name: FunctionName): LambdaFunction => this.make(name, props);
    this.byName = {
      plan: make('plan'),
      prepare: make('prepare'),
      'export-range': make('export-range'),
      seal: make('seal'),
      'import-shard': make('import-shard'),
      'embed-texts': make('embed-texts'),
      'await-import': make('await-import'),
      'catch-up': make('catch-up'),
      'build-index': make('build-index'),
      'watch-index': make('watch-index'),
      'choose-queries': make('choose-queries'),
      'compare-shard': make('compare-shard'),
      'find-neighbours': make('find-neighbours'),
      'measure-recall': make('measure-recall'),
      'tune-search': make('tune-search'),
      'search-before': make('search-before'),
      'measure-drift': make('measure-drift'),
      'find-causes': make('find-causes'),
      'write-report': make('write-report'),
      'begin-live': make('begin-live'),
      'apply-tombstones': make('apply-tombstones'),
      'sweep-writes': make('sweep-writes'),
      'ask-approval': make('ask-approval'),
      'answer-approval': make('answer-approval'),
      'tell-readers-stay': make('tell-readers-stay'),
      'step-canary': make('step-canary'),
      finish: make('finish'),
      'mend-records': make('mend-records'),
      'cut-over': make('cut-over'),
      'roll-back': make('roll-back'),
      retire: make('retire'),
      'report-failure': make('report-failure'),
    };
  }

  private make(name: FunctionName, props: FunctionsProps): LambdaFunction {
    const { memoryMiB, minutes } = functionSettings[name];
    const { runs, queue, repairs, topic, network } = props;
    const { vpc, vpcSubnets, securityGroups } = network ?? {};
    const id = name.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const logGroup = new LogGroup(this, `${id}Logs`, {
      retention: logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const made = new LambdaFunction(this, id, {
      code: bundledCode(name),
      handler: 'index.handler',
      description: `vecferry: functions/${name}.ts`,
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      memorySize: memoryMiB,
      timeout: Duration.minutes(minutes),
      tracing: Tracing.ACTIVE,
      role: this.role(name, id, logGroup, props),
      logGroup,
      environment: {
        NODE_OPTIONS: '--enable-source-maps',
        VECFERRY_RUNS: `s3://${runs.bucketName}`,
        VECFERRY_FLAGS: `ssm:${flagPrefix}`,
        VECFERRY_SECRETS: 'manager',
        VECFERRY_QUEUE_URL: queue.queue.queueUrl,
        VECFERRY_DEAD_LETTER_URL: queue.deadLetters.queueUrl,
        VECFERRY_REPAIR_QUEUE_URL: repairs.queue.queueUrl,
        VECFERRY_NOTICES: `sns:${topic.topicArn}`,
        VECFERRY_STACK: Stack.of(this).stackName,
        VECFERRY_METRICS: 'cloudwatch',
        VECFERRY_TASKS: 'stepfunctions',
      },
      ...(vpc && { vpc }),
      ...(vpcSubnets && { vpcSubnets }),
      ...(securityGroups && { securityGroups }),
    });
    return made;
  }

  private role(name: FunctionName, id: string, logGroup: LogGroup, props: FunctionsProps): Role {
    const { runs, queue, repairs, topic, secrets, buckets, network } = props;
    const { may } = functionSettings[name];
    const role = new Role(this, `${id}Role`, { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    const stack = Stack.of(this);
    const flags = flagArn(this);
    const bucketArns = buckets.map((bucket) =>
      stack.formatArn({ service: 's3', region: '', account: '', resource: bucket }),
    );
    const allow = (actions: string[], resources: string[]): void => {
      role.addToPolicy(new PolicyStatement({ actions, resources }));
    };
    const readSecrets = (): void =>
      allow(
        ['secretsmanager:GetSecretValue'],
        secrets.map((secret) =>
          stack.formatArn({
            service: 'secretsmanager',
            resource: `secret:${secret.endsWith('*') ? secret : `${secret}-??????`}`,
          }),
        ),
      );
    logGroup.grantWrite(role);
    if (network !== undefined) {
      role.addManagedPolicy(ManagedPolicy.fromAwsManagedPolicyName('service-role/AWSLambdaVPCAccessExecutionRole'));
    }
    for (const each of may) {
      switch (each) {
        case 'read the run':
          allow(['s3:GetObject'], [runs.arnForObjects('runs/*')]);
          // Without it S3 answers 403 where there is no object, and a marker not yet written would look like a refusal.
          // It has no condition on the prefix, which a GetObject does not carry.
          allow(['s3:ListBucket'], [runs.bucketArn]);
          break;
        case 'write the run':
          allow(['s3:PutObject'], [runs.arnForObjects('runs/*')]);
          break;
        case 'delete of the run':
          allow(['s3:DeleteObject'], [runs.arnForObjects('runs/*')]);
          break;
        case 'open stores':
          readSecrets();
          for (const arn of bucketArns) {
            allow(['s3:ListBucket'], [arn]);
            allow(['s3:GetObject', 's3:PutObject'], [`${arn}/*`]);
          }
          break;
        case 'drop collections':
          // Of the `files` store; others are dropped with the credentials in their secret.
          if (bucketArns.length > 0) {
            allow(
              ['s3:DeleteObject'],
              bucketArns.map((arn) => `${arn}/*`),
            );
          }
          break;
        case 'read query files':
          for (const arn of bucketArns) {
            allow(['s3:ListBucket'], [arn]);
            allow(['s3:GetObject'], [`${arn}/*`]);
          }
          break;
        case 'queue shards':
          allow(['sqs:SendMessage'], [queue.queue.queueArn]);
          break;
        case 'bury shards':
          allow(['sqs:SendMessage'], [queue.deadLetters.queueArn]);
          break;
        case 'look at dead letters':
          allow(['sqs:ReceiveMessage'], [queue.deadLetters.queueArn]);
          break;
        case 'count repairs':
          allow(['sqs:GetQueueAttributes'], [repairs.queue.queueArn]);
          break;
        case 'read flags':
          allow(['ssm:GetParameter'], [flags]);
          break;
        case 'write flags':
          allow(['ssm:PutParameter'], [flags]);
          break;
        case 'send notices':
          allow(['sns:Publish'], [topic.topicArn]);
          break;
        case 'read metrics':
          // It knows no resources: docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
          allow(['cloudwatch:GetMetricData'], ['*']);
          break;
        case 'embed texts':
          allow(['bedrock:InvokeModel'], embeddingModels(stack));
          // The key of a server that speaks OpenAI's protocol.
          readSecrets();
          break;
        case 'answer states':
          // The machine calls these functions, so its ARN cannot stand in what they wait for: stack.ts adds it.
          break;
      }
    }
    return role;
  }
}

/**
 * Bedrock's embedding models in every region, which an event may name; and the inference profiles of Cohere's in this account,
 * by which Embed v4 alone is called: a call by profile needs the model in each region that the profile may choose too.
 * docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
 */
function embeddingModels(stack: Stack): string[] {
  const bedrock = { service: 'bedrock', region: '*' };
  const models = ['amazon.titan-embed-*', 'cohere.embed-*'].map((resourceName) =>
    stack.formatArn({ ...bedrock, account: '', resource: 'foundation-model', resourceName }),
  );
  return [...models, stack.formatArn({ ...bedrock, resource: 'inference-profile', resourceName: '*.cohere.embed-*' })];
}
