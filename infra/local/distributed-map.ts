import { StateMachine } from 'aws-local-stepfunctions';
import { z } from 'zod';
import type { State } from './asl.ts';
import type { Json, MachineOptions, Outcome } from './execution.ts';
import { StateFailure } from './limits.ts';

/**
 * A Distributed Map as AWS runs it: items from an object of the run, each in a child execution of its own, failures
 * counted against what is tolerated. docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html
 */
export interface DistributedMap {
  readonly name: string;
  readonly map: State;
  readonly input: unknown;
  readonly context: Record<string, unknown>;
  readonly options: MachineOptions;
  readonly runChild: (options: MachineOptions) => Promise<Outcome>;
}

/** @returns the children's outputs in the items' order, or what AWS says in their place when a ResultWriter takes them. */
export async function runDistributedMap(work: DistributedMap): Promise<unknown> {
  const { map, options } = work;
  const items = await readItems(work);
  const stop = new AbortController();
  const signal = AbortSignal.any([options.signal, stop.signal]);
  const tolerated = toleratedFailures(map, items.length);
  const outputs: unknown[] = new Array(items.length).fill(null);
  const failures: string[] = [];
  let next = 0;

  const worker = async (): Promise<void> => {
    while (next < items.length && !signal.aborted) {
      const index = next++;
      const outcome = await runItem(work, items[index], index, signal);
      if (outcome.status === 'SUCCEEDED') outputs[index] = outcome.output;
      if (outcome.status !== 'FAILED') continue;
      failures.push(`item ${index}: ${outcome.error}: ${outcome.cause}`);
      if (failures.length > tolerated) stop.abort();
    }
  };
  const workers = Math.min(items.length, await concurrency(work));
  await Promise.all(Array.from({ length: workers }, worker));
  if (failures.length > tolerated) {
    // AWS says only this; why an item failed stands in the child's own execution.
    throw new StateFailure(
      'States.ExceedToleratedFailureThreshold',
      'The specified tolerated failure threshold was exceeded',
    );
  }
  return map.ResultWriter === undefined ? outputs : { MapRunArn: `${work.name}:local`, ResultWriterDetails: {} };
}

async function runItem(work: DistributedMap, item: unknown, index: number, signal: AbortSignal): Promise<Outcome> {
  const { map, options, runChild } = work;
  if (map.ItemProcessor === undefined) throw new StateFailure('States.Runtime', `'${work.name}' has no ItemProcessor`);
  const context = { ...work.context, Map: { Item: { Index: index, Value: item } } };
  const input = map.ItemSelector === undefined ? item : await evaluate(map.ItemSelector, work.input, context);
  return await runChild({ ...options, definition: map.ItemProcessor, input, signal });
}

async function readItems({ name, map, input, context, options }: DistributedMap): Promise<readonly unknown[]> {
  const failed = (cause: string): StateFailure => new StateFailure('States.ItemReaderFailed', `'${name}' ${cause}`);
  const reader = map.ItemReader;
  if (reader === undefined) {
    const items = await evaluate({ 'items.$': map.ItemsPath ?? '$' }, input, context);
    return z.object({ items: z.array(z.unknown()) }).parse(items).items;
  }
  const kind = reader.ReaderConfig?.InputType;
  if (!reader.Resource.endsWith(':s3:getObject') || kind !== 'JSON')
    throw failed(`reads ${reader.Resource} as ${kind}; here only S3 objects with JSON are read`);
  const { Key } = z
    .object({ Bucket: z.string(), Key: z.string() })
    .parse(await evaluate(reader.Parameters, input, context));
  const body = await options.objects.get(Key);
  if (body === undefined) throw failed(`found no object ${options.objects.locate(Key)}`);
  const items = z.array(z.unknown()).safeParse(JSON.parse(new TextDecoder().decode(body)));
  if (!items.success) throw failed(`read no array from ${options.objects.locate(Key)}`);
  return items.data.slice(0, reader.ReaderConfig?.MaxItems);
}

/** Failed children that the map bears: the smaller of both figures, as AWS fails when either is passed. */
function toleratedFailures({ ToleratedFailureCount, ToleratedFailurePercentage }: State, items: number): number {
  if (ToleratedFailureCount === undefined && ToleratedFailurePercentage === undefined) return 0;
  const share =
    ToleratedFailurePercentage === undefined ? items : Math.floor((ToleratedFailurePercentage / 100) * items);
  return Math.min(ToleratedFailureCount ?? items, share);
}

async function concurrency({ map, input, context, options }: DistributedMap): Promise<number> {
  const given =
    map.MaxConcurrencyPath === undefined
      ? map.MaxConcurrency
      : z.object({ n: z.int().nonnegative() }).parse(await evaluate({ 'n.$': map.MaxConcurrencyPath }, input, context))
          .n;
  return Math.min(given === undefined || given === 0 ? Number.POSITIVE_INFINITY : given, options.maxConcurrency);
}

/** A payload template filled in from `input` and the context object, by the same library, so paths mean the same everywhere. */
async function evaluate(template: unknown, input: unknown, context: Record<string, unknown>): Promise<unknown> {
  const pass = {
    StartAt: 'fill in',
    States: { 'fill in': { Type: 'Pass', Parameters: template as object, End: true } },
  } as const;
  const machine = new StateMachine(pass as never, { validationOptions: { noValidate: true } });
  return await machine.run(input as Json, { context }).result;
}
