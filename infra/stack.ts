import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { DefinitionBody, LogLevel, StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { STEPFUNCTIONS_USE_DISTRIBUTED_MAP_RESULT_WRITER_V2 } from 'aws-cdk-lib/cx-api';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import { runDashboard } from './dashboard.ts';
import { AllFunctions } from './functions.ts';
import { ImportQueue } from './import-queue.ts';
import { Network } from './network.ts';
import { longestRun } from './retries.ts';
import { logRetention, runsBucket } from './runs-bucket.ts';
import { Schedules } from './schedules.ts';
import { readSettings } from './settings.ts';
import { runWorkflow } from './workflow.ts';

/** Everything that vecferry has in an account: one stack, no state outside of it but the runs' bucket, which stays. */
export class VecferryStack extends Stack {
  readonly machine: StateMachine;

  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);
    // Set here as well as in cdk.json, since the embedded engine synthesizes without the CDK's command line.
    this.node.setContext(STEPFUNCTIONS_USE_DISTRIBUTED_MAP_RESULT_WRITER_V2, true);
    const settings = readSettings(this.node);
    const runs = runsBucket(this);
    const queue = new ImportQueue(this, 'Import');
    const functions = new AllFunctions(this, 'Functions', {
      runs,
      queue,
      secrets: settings.secrets,
      buckets: settings.buckets,
      network: settings.vpc === null ? undefined : new Network(this, 'Network', settings.vpc),
    }).byName;
    queue.feed(functions['import-shard'], settings.importers);
    this.machine = new StateMachine(this, 'Run', {
      definitionBody: DefinitionBody.fromChainable(runWorkflow(this, { functions, runs })),
      timeout: longestRun,
      tracingEnabled: true,
      logs: { destination: new LogGroup(this, 'RunLogs', { retention: logRetention }), level: LogLevel.ALL },
    });
    const schedules =
      settings.schedules.length === 0 ? undefined : new Schedules(this, 'Schedules', settings.schedules, this.machine);
    const alarms = new Alarms(this, 'Alarms', {
      machine: this.machine,
      queue,
      schedules,
      emails: settings.alarmEmails,
    });
    runDashboard(this, { machine: this.machine, queue, functions, alarms });
    new CfnOutput(this, 'StateMachineArn', { value: this.machine.stateMachineArn });
    new CfnOutput(this, 'RollBackFunction', { value: functions['roll-back'].functionName });
    new CfnOutput(this, 'RunsBucket', { value: runs.bucketName });
  }
}
