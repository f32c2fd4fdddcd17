import { z } from 'zod';
import { type Machine, machineSchema } from './asl.ts';

/** What the engine takes out of the template that `cdk deploy` installs: nothing of it is written a second time. */
export interface Deployment {
  /** The state machine, functions by their names. */
  readonly definition: Machine;
  /** By function name, which is its file's name in functions/. */
  readonly functions: ReadonlyMap<string, FunctionSettings>;
  readonly queue: QueueSettings;
  readonly importer: ImporterSettings;
}
export interface FunctionSettings {
  readonly timeoutMs: number;
  readonly memoryMiB: number;
}
export interface QueueSettings {
  readonly visibilitySeconds: number;
  /** Failed deliveries after which a message goes to the dead letters. */
  readonly maxReceiveCount: number;
}
/** The event source mapping between import queue and import function, the only one that the engine runs. */
export interface ImporterSettings {
  readonly function: string;
  readonly batchSize: number;
  readonly windowSeconds: number;
  readonly maxConcurrency: number;
  readonly partialFailures: boolean;
}

const reference = z.union([
  z.strictObject({ 'Fn::GetAtt': z.tuple([z.string(), z.string()]) }),
  z.strictObject({ Ref: z.string() }),
]);
const text = z.union([
  z.string(),
  z.strictObject({ 'Fn::Join': z.tuple([z.literal(''), z.array(z.union([z.string(), reference]))]) }),
]);
const resourceSchema = z.object({
  Type: z.string(),
  Properties: z.record(z.string(), z.unknown()).default({}),
  Metadata: z.object({ 'aws:cdk:path': z.string().optional() }).optional(),
});
export const templateSchema = z.object({
  Resources: z.record(z.string(), resourceSchema),
  Outputs: z.record(z.string(), z.unknown()).default({}),
});
export type Template = z.infer<typeof templateSchema>;

const functionProperties = z.object({ Timeout: z.int().default(3), MemorySize: z.int().default(128) });
const queueProperties = z.object({
  VisibilityTimeout: z.int().default(30),
  RedrivePolicy: z.object({ deadLetterTargetArn: reference, maxReceiveCount: z.int() }).optional(),
});
const mappingProperties = z.object({
  EventSourceArn: reference,
  FunctionName: reference,
  BatchSize: z.int().default(10),
  MaximumBatchingWindowInSeconds: z.int().default(0),
  ScalingConfig: z.object({ MaximumConcurrency: z.int() }).optional(),
  FunctionResponseTypes: z.array(z.string()).default([]),
});

/**
 * @param functionNames the files of functions/: a function of the template is the one that its construct is named for.
 * @throws Error when the template lacks what the engine needs, or refers to what only AWS has.
 */
export function readTemplate(template: Template, functionNames: readonly string[]): Deployment {
  const names = new Map<string, string>();
  const functions = new Map<string, FunctionSettings>();
  for (const [id, resource] of ofType(template, 'AWS::Lambda::Function')) {
    const name = functionOf(resource.Metadata?.['aws:cdk:path'] ?? id, functionNames);
    // Functions that the CDK brings along (custom resources) have no file of ours and no part in a run.
    if (name === undefined) continue;
    const { Timeout, MemorySize } = functionProperties.parse(resource.Properties);
    names.set(id, name);
    functions.set(name, { timeoutMs: Timeout * 1000, memoryMiB: MemorySize });
  }
  const [, machine] = only(ofType(template, 'AWS::StepFunctions::StateMachine'), 'state machine');
  const { DefinitionString } = machine.Properties;
  const definition = machineSchema.parse(JSON.parse(resolve(text.parse(DefinitionString), names)));
  return { definition, functions, ...readQueue(template, names) };
}

/**
 * The import's part of the template. Of the other event source, the repair queue that feeds mend-records, the engine makes
 * nothing: an application on one machine mends by itself (docs/client.md), and a queue would have to outlive the engine.
 */
function readQueue(template: Template, names: ReadonlyMap<string, string>): Pick<Deployment, 'queue' | 'importer'> {
  const sources = ofType(template, 'AWS::Lambda::EventSourceMapping').map(([, { Properties }]) =>
    mappingProperties.parse(Properties),
  );
  const calls = (source: z.infer<typeof mappingProperties>): string | undefined => names.get(idOf(source.FunctionName));
  const unknown = sources.filter((source) => !fedByQueue.includes(calls(source) ?? ''));
  if (unknown.length > 0)
    throw new Error('an event source of the template feeds a function that the engine knows no queue of');
  const source = only(
    sources.filter((each) => calls(each) === importerName),
    `event source of ${importerName}`,
  );
  const queue = template.Resources[idOf(source.EventSourceArn)];
  if (queue?.Type !== 'AWS::SQS::Queue') throw new Error('the event source mapping of the template reads no queue');
  const { VisibilityTimeout, RedrivePolicy } = queueProperties.parse(queue.Properties);
  if (RedrivePolicy === undefined) throw new Error('the import queue of the template has no dead-letter queue');
  return {
    queue: { visibilitySeconds: VisibilityTimeout, maxReceiveCount: RedrivePolicy.maxReceiveCount },
    importer: {
      function: importerName,
      batchSize: source.BatchSize,
      windowSeconds: source.MaximumBatchingWindowInSeconds,
      maxConcurrency: source.ScalingConfig?.MaximumConcurrency ?? 1000,
      partialFailures: source.FunctionResponseTypes.includes('ReportBatchItemFailures'),
    },
  };
}

const importerName = 'import-shard';
const fedByQueue = [importerName, 'mend-records'];

type Resource = Template['Resources'][string];

function ofType({ Resources }: Template, type: string): readonly (readonly [string, Resource])[] {
  return Object.entries(Resources).filter(([, { Type }]) => Type === type);
}

function only<T>(found: readonly T[], what: string): T {
  const [first] = found;
  if (first === undefined || found.length > 1)
    throw new Error(`the template has ${found.length} resources that are a ${what}; the engine runs one`);
  return first;
}

function idOf(ref: z.infer<typeof reference>): string {
  return 'Ref' in ref ? ref.Ref : ref['Fn::GetAtt'][0];
}

/** The definition's text with function ARNs by our names, and everything else by its logical id. */
function resolve(joined: z.infer<typeof text>, names: ReadonlyMap<string, string>): string {
  if (typeof joined === 'string') return joined;
  const pseudo: Readonly<Record<string, string>> = {
    'AWS::Partition': 'aws',
    'AWS::Region': 'local',
    'AWS::AccountId': '000000000000',
  };
  return joined['Fn::Join'][1]
    .map((part) => {
      if (typeof part === 'string') return part;
      const id = idOf(part);
      const name = names.get(id);
      return name === undefined ? (pseudo[id] ?? id) : `arn:aws:lambda:local:000000000000:function:${name}`;
    })
    .join('');
}

/** `Vecferry/Functions/ExportRange/Resource` is `export-range`, if there is such a file. */
function functionOf(path: string, functionNames: readonly string[]): string | undefined {
  const parts = path.split('/').map((part) => part.replace(/([a-z0-9])([A-Z])/g, '$1-$2').toLowerCase());
  return parts
    .reverse()
    .flatMap((part) => functionNames.filter((name) => part === name || part === `${name}-function`))[0];
}
