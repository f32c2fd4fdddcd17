import { Logger } from '@aws-lambda-powertools/logger';
import { injectLambdaContext } from '@aws-lambda-powertools/logger/middleware';
import { Metrics } from '@aws-lambda-powertools/metrics';
import middy from '@middy/core';
import type { Context } from 'aws-lambda';
import type { z } from 'zod';
import { isTraced } from '../lib/environment.ts';
import { InvalidEvent } from '../lib/errors.ts';
import { parseAs } from '../lib/event.ts';
import type { Deadline, Log } from '../lib/log.ts';
import { type Services, services } from '../lib/services.ts';

/**
 * The edge that every function shares, and no Lambda of its own: parse the input, call one domain function, parse what it
 * returns. An error passes through with its literal name, which Step Functions matches.
 */

export interface Around {
  readonly services: Services;
  readonly deadline: Deadline;
  readonly log: Log;
  /** Adds to a metric of the namespace `vecferry`. */
  count(
    metric:
      | 'RecordsExported'
      | 'RecordsImported'
      | 'ShardsLoaded'
      | 'ShardsFailed'
      | 'Throttled'
      | 'TextsEmbedded'
      | 'TokensEmbedded'
      | 'RecordsNotEmbedded',
    value: number,
  ): void;
}

interface Definition<Input, Output> {
  readonly input: z.ZodType<Input>;
  readonly output: z.ZodType<Output>;
  readonly run: (input: Input, around: Around) => Promise<Output>;
}

const logger = new Logger({ serviceName: 'vecferry' });
const metrics = new Metrics({ namespace: 'vecferry', serviceName: 'vecferry', logger });

/**
 * X-Ray's library hooks into every promise of the process that loads it: where nothing is traced it stays out. Loaded by the
 * first call, since a module that waits for another one as it loads is not ready for all who import it at once in Jest.
 */
async function openTracing() {
  const [{ Tracer }, { captureLambdaHandler }] = await Promise.all([
    import('@aws-lambda-powertools/tracer'),
    import('@aws-lambda-powertools/tracer/middleware'),
  ]);
  return captureLambdaHandler(new Tracer({ serviceName: 'vecferry' }), { captureResponse: false });
}

/** @throws InvalidEvent when the input is not of its schema: nothing was done. */
export function makeHandler<Input, Output>({ input, output, run }: Definition<Input, Output>) {
  const handle = async (event: unknown, context: Context): Promise<Output> => {
    const parsed = parseAs(input, event, 'the input of this function', InvalidEvent);
    const around: Around = {
      services: services(),
      deadline: { remainingMs: () => context.getRemainingTimeInMillis() },
      log: {
        info: (message, fields) => logger.info(message, { ...fields }),
        warn: (message, fields) => logger.warn(message, { ...fields }),
      },
      count: (metric, value) => metrics.addMetric(metric, 'Count', value),
    };
    try {
      return parseAs(output, await run(parsed, around), 'the output of this function', InvalidEvent);
    } finally {
      // Most functions count nothing, and Powertools warns of an empty publication.
      if (metrics.hasStoredMetrics()) metrics.publishStoredMetrics();
    }
  };
  const edge = middy<unknown, Output>().use(injectLambdaContext(logger)).handler(handle);
  let traced: Promise<typeof edge> | undefined;
  return async (event: unknown, context: Context): Promise<Output> => {
    if (!isTraced()) return await edge(event, context);
    traced ??= openTracing().then((tracing) => edge.use(tracing));
    return await (await traced)(event, context);
  };
}
