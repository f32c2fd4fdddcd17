import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  type IMetric,
  MathExpression,
  Metric,
  Stats,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import type { ImportQueue } from './import-queue.ts';
import type { Schedules } from './schedules.ts';

export interface AlarmsProps {
  readonly machine: StateMachine;
  readonly queue: ImportQueue;
  readonly schedules: Schedules | undefined;
  readonly emails: readonly string[];
}

const fiveMinutes = Duration.minutes(5);

/** A metric that the functions count, in the namespace `vecferry`: functions/lambda.ts. */
export function counted(metricName: string, period = fiveMinutes): Metric {
  const dimensionsMap = { service: 'vecferry' };
  return new Metric({ namespace: 'vecferry', metricName, dimensionsMap, statistic: Stats.SUM, period });
}

/** Runs that ended badly: failed, over time, or stopped by hand. */
export function badEnds(machine: StateMachine, period = fiveMinutes): IMetric {
  return new MathExpression({
    label: 'runs failed',
    expression: 'failed + timedOut + aborted',
    usingMetrics: {
      failed: machine.metricFailed({ period, statistic: Stats.SUM }),
      timedOut: machine.metricTimedOut({ period, statistic: Stats.SUM }),
      aborted: machine.metricAborted({ period, statistic: Stats.SUM }),
    },
    period,
  });
}

/** What a person has to look at, each with an entry of docs/runbook.md under the alarm's construct name. */
export class Alarms extends Construct {
  readonly topic: Topic;
  readonly all: Alarm[] = [];

  constructor(scope: Construct, id: string, { machine, queue, schedules, emails }: AlarmsProps) {
    super(scope, id);
    this.topic = new Topic(this, 'Topic', { enforceSSL: true });
    for (const email of emails) this.topic.addSubscription(new EmailSubscription(email));

    this.add(
      'RunFailed',
      badEnds(machine),
      'A run failed, ran over its time or was stopped: the execution names the error.',
    );

    this.add(
      'DeadLetters',
      queue.deadLetters.metricApproximateNumberOfMessagesVisible({ period: fiveMinutes, statistic: Stats.MAXIMUM }),
      'A shard could not be imported and lies among the dead letters; its run fails and names it.',
    );

    // Not the age of the oldest message: shards wait for hours where export is faster than import, and one that a busy
    // store hands back is a new message. Six periods in a row with shards in the queue and none loaded is half an hour.
    this.add(
      'ImportStalled',
      new MathExpression({
        label: 'shards wait and none is loaded',
        expression: 'IF(waiting + taken > 0 AND FILL(loaded, 0) == 0, 1, 0)',
        usingMetrics: {
          waiting: queue.queue.metricApproximateNumberOfMessagesVisible({
            period: fiveMinutes,
            statistic: Stats.MAXIMUM,
          }),
          taken: queue.queue.metricApproximateNumberOfMessagesNotVisible({
            period: fiveMinutes,
            statistic: Stats.MAXIMUM,
          }),
          loaded: counted('ShardsLoaded'),
        },
        period: fiveMinutes,
      }),
      'Shards have waited for half an hour and none was loaded: the target is away, throttles, or refuses the functions.',
      6,
    );

    if (schedules !== undefined) {
      const dimensionsMap = { ScheduleGroup: schedules.group.scheduleGroupName };
      const metric = (metricName: string): Metric =>
        new Metric({
          namespace: 'AWS/Scheduler',
          metricName,
          dimensionsMap,
          statistic: Stats.SUM,
          period: fiveMinutes,
        });
      this.add(
        'ScheduleDidNotStart',
        metric('InvocationDroppedCount'),
        'A schedule could not start its run, and gave up.',
      );
    }
  }

  private add(id: string, metric: IMetric, alarmDescription: string, evaluationPeriods = 1): void {
    const alarm = new Alarm(this, id, {
      metric,
      alarmDescription: `${alarmDescription} See docs/runbook.md, ${id}.`,
      threshold: 1,
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      evaluationPeriods,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    });
    alarm.addAlarmAction(new SnsAction(this.topic));
    this.all.push(alarm);
  }
}
