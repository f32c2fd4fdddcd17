import { Duration } from 'aws-cdk-lib';
import {
  AlarmStatusWidget,
  Dashboard,
  GraphWidget,
  type IMetric,
  MathExpression,
  Stats,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { StateMachine } from 'aws-cdk-lib/aws-stepfunctions';
import type { Construct } from 'constructs';
import { type Alarms, badEnds, counted } from './alarms.ts';
import type { Functions } from './functions.ts';
import type { ImportQueue } from './import-queue.ts';
import type { RepairQueue } from './repair-queue.ts';

export interface DashboardProps {
  readonly machine: StateMachine;
  readonly queue: ImportQueue;
  readonly repairs: RepairQueue;
  readonly functions: Functions;
  readonly alarms: Alarms;
}

/**
 * What applications see of their reads and writes, one line a flag and place. Searched for, since the stack does not know
 * which there are: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-search-expressions.html
 */
function ofClients(metricName: string, statistic: string): IMetric {
  const expression = `SEARCH('{vecferry/client,flag,place} MetricName="${metricName}"', '${statistic}', 60)`;
  return new MathExpression({ expression, label: '', usingMetrics: {}, period: Duration.minutes(1) });
}

/**
 * One page: is anything wrong, how far are the runs, what holds them up, and how readers and writers fare. Rows in that
 * order.
 */
export function runDashboard(scope: Construct, props: DashboardProps): Dashboard {
  const { machine, queue, repairs, functions, alarms } = props;
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
        graph('Texts embedded', [counted('TextsEmbedded'), counted('RecordsNotEmbedded')]),
        graph('Tokens embedded', [counted('TokensEmbedded')]),
        graph('Embedding, duration', [functions['embed-texts'].metricDuration({ period, statistic: Stats.MAXIMUM })]),
      ],
      [
        graph('Throttled by store or model', [counted('Throttled')]),
        graph(
          'Duration, p90',
          busiest.map((fn) => fn.metricDuration({ period, statistic: Stats.p(90) })),
        ),
        graph(
          'At once',
          busiest.map((fn) => fn.metric('ConcurrentExecutions', { period, statistic: Stats.MAXIMUM })),
        ),
      ],
      [
        graph('Reads a minute, in applications', [ofClients('Reads', Stats.SUM), ofClients('ReadErrors', Stats.SUM)]),
        graph('Read latency p95, in applications (ms)', [ofClients('ReadLatency', Stats.p(95))]),
        graph('Overlap of shadow reads, mean', [ofClients('ShadowOverlap', Stats.AVERAGE)]),
      ],
      [
        graph('Writes a minute, in applications', [
          ofClients('Writes', Stats.SUM),
          ofClients('WriteErrors', Stats.SUM),
        ]),
        graph('Writes that the target lacked', [
          ofClients('SecondWriteErrors', Stats.SUM),
          ofClients('RepairsWaiting', Stats.MAXIMUM),
        ]),
        graph('Repair queue', [
          repairs.queue.metricApproximateNumberOfMessagesVisible({ period }),
          repairs.queue.metricApproximateNumberOfMessagesNotVisible({ period }),
          repairs.deadLetters.metricApproximateNumberOfMessagesVisible({ period }),
        ]),
      ],
    ],
  });
}
