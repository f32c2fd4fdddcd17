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
import type { Rule } from 'aws-cdk-lib/aws-events';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import type { ImportQueue } from './import-queue.ts';
import type { RepairQueue } from './repair-queue.ts';
import type { Schedules } from './schedules.ts';

export interface AlarmsProps {
  readonly machine: StateMachine;
  readonly queue: ImportQueue;
  readonly repairs: RepairQueue;
  readonly schedules: Schedules | undefined;
  /** What takes readers back, and the rules by which alarms call it. */
  readonly rollBack: { readonly function: IFunction; readonly rules: readonly Rule[] };
  readonly topic: ITopic;
}

const oneMinute = Duration.minutes(1);
const fiveMinutes = Duration.minutes(5);

/** Alarms that rang and did not reach the function: docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html */
function failedDeliveries({ ruleName }: Rule): Metric {
  const dimensionsMap = { RuleName: ruleName };
  const metricName = 'FailedInvocations';
  return new Metric({ namespace: 'AWS/Events', metricName, dimensionsMap, statistic: Stats.SUM, period: oneMinute });
}

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
  private readonly topic: ITopic;
  readonly all: Alarm[] = [];

  constructor(scope: Construct, id: string, props: AlarmsProps) {
    super(scope, id);
    const { machine, queue, repairs, schedules, rollBack, topic } = props;
    this.topic = topic;

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

    // Not the age of the oldest message: SQS leaves out of it what was received three times and not deleted, which is what
    // waits here (docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html).
    // The least of each five minutes: a queue that was empty once in half an hour is worked off.
    this.add(
      'RepairsWaiting',
      new MathExpression({
        label: 'repairs that wait at every moment',
        expression: 'waiting + taken',
        usingMetrics: {
          waiting: repairs.queue.metricApproximateNumberOfMessagesVisible({
            period: fiveMinutes,
            statistic: Stats.MINIMUM,
          }),
          taken: repairs.queue.metricApproximateNumberOfMessagesNotVisible({
            period: fiveMinutes,
            statistic: Stats.MINIMUM,
          }),
        },
        period: fiveMinutes,
      }),
      'Records have waited for half an hour to be made the same on both sides: the target is away, or refuses them.',
      6,
    );

    this.add(
      'RepairDeadLetters',
      repairs.deadLetters.metricApproximateNumberOfMessagesVisible({ period: fiveMinutes, statistic: Stats.MAXIMUM }),
      'Records could not be made the same on both sides in three days: the target still lacks writes.',
    );

    const undelivered = rollBack.rules.map((rule, i) => [`undelivered${i}`, failedDeliveries(rule)] as const);
    this.add(
      'RollBackFailed',
      new MathExpression({
        label: 'rollbacks that failed',
        expression: ['errors', ...undelivered.map(([name]) => `FILL(${name}, 0)`)].join(' + '),
        usingMetrics: {
          errors: rollBack.function.metricErrors({ period: oneMinute, statistic: Stats.SUM }),
          ...Object.fromEntries(undelivered),
        },
        period: oneMinute,
      }),
      'Readers should have been taken back, and were not: somebody has to look now.',
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
