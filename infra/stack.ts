import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import { type IRole, Policy, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { DefinitionBody, LogLevel, StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { STEPFUNCTIONS_USE_DISTRIBUTED_MAP_RESULT_WRITER_V2 } from 'aws-cdk-lib/cx-api';
import type { Construct } from 'constructs';
import { Alarms } from './alarms.ts';
import { clientPolicy } from './client-policy.ts';
import { runDashboard } from './dashboard.ts';
import { functionsThatMay } from './function-settings.ts';
import { AllFunctions, type Functions } from './functions.ts';
import { ImportQueue } from './import-queue.ts';
import { Network } from './network.ts';
import { RepairQueue } from './repair-queue.ts';
import { longestRun } from './retries.ts';
import { RollbackAlarms } from './rollback-alarms.ts';
import { logRetention, runsBucket } from './runs-bucket.ts';
import { Schedules } from './schedules.ts';
import { readSettings } from './settings.ts';
import { peopleTopic } from './topic.ts';
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
    const repairs = new RepairQueue(this, 'Repairs');
    const topic = peopleTopic(this, settings.alarmEmails);
    const functions = new AllFunctions(this, 'Functions', {
      runs,
      queue,
      repairs,
      topic,
      secrets: settings.secrets,
      buckets: settings.buckets,
      network: settings.vpc === null ? undefined : new Network(this, 'Network', settings.vpc),
    }).byName;
    queue.feed(functions['import-shard'], settings.importers);
    repairs.feed(functions['mend-records']);
    this.machine = new StateMachine(this, 'Run', {
      definitionBody: DefinitionBody.fromChainable(runWorkflow(this, { functions, runs })),
      timeout: longestRun,
      tracingEnabled: true,
      logs: { destination: new LogGroup(this, 'RunLogs', { retention: logRetention }), level: LogLevel.ALL },
    });
    this.letAnswer(functions);
    const schedules =
      settings.schedules.length === 0 ? undefined : new Schedules(this, 'Schedules', settings.schedules, this.machine);
    const { rules } = new RollbackAlarms(this, 'RollbackAlarms', settings.rollbackAlarms, functions['roll-back']);
    const rollBack = { function: functions['roll-back'], rules };
    const alarms = new Alarms(this, 'Alarms', { machine: this.machine, queue, repairs, schedules, rollBack, topic });
    runDashboard(this, { machine: this.machine, queue, repairs, functions, alarms });
    const outputs = {
      StateMachineArn: this.machine.stateMachineArn,
      RunsBucket: runs.bucketName,
      RepairQueueUrl: repairs.queue.queueUrl,
      ClientPolicyArn: clientPolicy(this, runs, repairs.queue).managedPolicyArn,
      CutOverFunction: functions['cut-over'].functionName,
      RollBackFunction: functions['roll-back'].functionName,
      AnswerApprovalFunction: functions['answer-approval'].functionName,
      FinishFunction: functions.finish.functionName,
      RetireFunction: functions.retire.functionName,
    };
    for (const [name, value] of Object.entries(outputs)) new CfnOutput(this, name, { value });
  }

  /**
   * Lets functions answer a state that waits. In a policy beside those of the roles, since a function waits for all of its
   * role, and the machine, whose ARN stands here, for its functions.
   */
  private letAnswer(functions: Functions): void {
    const roles = functionsThatMay('answer states').flatMap((name) => roleOf(functions[name]));
    const statement = new PolicyStatement({
      actions: ['states:SendTaskSuccess'],
      resources: [this.machine.stateMachineArn],
    });
    new Policy(this, 'AnswerStates', { roles, statements: [statement] });
  }
}

function roleOf({ role }: LambdaFunction): readonly IRole[] {
  return role === undefined ? [] : [role];
}
