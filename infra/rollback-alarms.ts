import { Duration } from 'aws-cdk-lib';
import { Rule, RuleTargetInput } from 'aws-cdk-lib/aws-events';
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import type { Settings } from './settings.ts';

/**
 * Alarms of the application, by whoever made them, that take readers back when they ring: each calls "roll-back" with the
 * flag that the settings name, since an alarm knows of no run.
 */
export class RollbackAlarms extends Construct {
  readonly rules: readonly Rule[];

  constructor(scope: Construct, id: string, alarms: Settings['rollbackAlarms'], rollBack: IFunction) {
    super(scope, id);
    this.rules = alarms.map(({ alarm, flag }, at) => {
      const rule = new Rule(this, `Rule${at}`, {
        description: `vecferry: takes the readers of the flag ${flag} back when the alarm ${alarm} rings`,
        // docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
        eventPattern: {
          source: ['aws.cloudwatch'],
          detailType: ['CloudWatch Alarm State Change'],
          detail: { alarmName: [alarm], state: { value: ['ALARM'] } },
        },
      });
      // Not the alarm's own reason: it is text of any kind, and CloudWatch keeps it in the alarm's history.
      const event = RuleTargetInput.fromObject({ flag, reason: `the alarm '${alarm}' rang` });
      // An alarm of hours ago says nothing of the readers as they are.
      rule.addTarget(new LambdaFunction(rollBack, { event, maxEventAge: Duration.hours(1) }));
      return rule;
    });
  }
}
