import { Duration } from 'aws-cdk-lib';
import { AlarmStatusWidget, Dashboard, GraphWidget, type IMetric, Stats } from 'aws-cdk-lib/aws-cloudwatch';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import type { Construct } from 'constructs';
import { type Alarms, badEnds, counted } from './alarms.ts';
import type { Functions } from './functions.ts';
import type { ImportQueue } from './import-queue.ts';

export interface DashboardProps {
  readonly machine: StateMachine;
  readonly queue: ImportQueue;
  readonly functions: Functions;
  readonly alarms: Alarms;
}

/** One page: is anything wrong, how far are the runs, and what holds them up. Rows in that order. */
export function runDashboard(scope: Construct, { machine, queue, functions, alarms }: DashboardProps): Dashboard {
  const graph = (title: string, left: IMetric[]): GraphWidget => new GraphWidget({ title, left, width: 8 });
  const period = Duration.minutes(5);
  const busiest = [functions['export-range'], functions['import-shard'], functions['compare-shard']];
  return new Dashboard(scope, 'Dashboard', {
    defaultInterval: Duration.hours(12),
    widgets: [
      [
        new AlarmStatusWidget({ title: 'Alarms', alarms: alarms.all, width: 8 }),
        graph('Runs', [
          machine.metricStarted({ period, statistic: Stats.SUM }),
          machine.metricSucceeded({ period, statistic: Stats.SUM }),
          badEnds(machine, period),
        ]),
        graph(
          'Function errors',
          Object.values(functions).map((fn) => fn.metricErrors({ period })),
        ),
      ],
      [
        graph('Records', [counted('RecordsExported'), counted('RecordsImported')]),
        graph('Shards', [counted('ShardsLoaded'), counted('ShardsFailed')]),
        graph('Import queue', [
          queue.queue.metricApproximateNumberOfMessagesVisible({ period }),
          queue.queue.metricApproximateNumberOfMessagesNotVisible({ period }),
          queue.deadLetters.metricApproximateNumberOfMessagesVisible({ period }),
        ]),
      ],
      [
        graph('Throttled by the store', [counted('Throttled')]),
        graph(
          'Duration, p90',
          busiest.map((fn) => fn.metricDuration({ period, statistic: Stats.p(90) })),
        ),
        graph(
          'At once',
          busiest.map((fn) => fn.metric('ConcurrentExecutions', { period, statistic: Stats.MAXIMUM })),
        ),
      ],
    ],
  });
}
