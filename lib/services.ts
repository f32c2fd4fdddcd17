import { fileURLToPath } from 'node:url';
import { CloudWatchClient } from '@aws-sdk/client-cloudwatch';
import { S3Client } from '@aws-sdk/client-s3';
import { SFNClient } from '@aws-sdk/client-sfn';
import { SNSClient } from '@aws-sdk/client-sns';
import { SQSClient } from '@aws-sdk/client-sqs';
import { SSMClient } from '@aws-sdk/client-ssm';
import { type FlagStore, fileFlags } from './cutover/flag.ts';
import { ssmFlags } from './cutover/flag-ssm.ts';
import { type Notices, objectNotices, snsNotices } from './cutover/notices.ts';
import type { ReadMetrics } from './cutover/read-metrics.ts';
import { cloudWatchReads } from './cutover/read-metrics-cloudwatch.ts';
import { fileReads } from './cutover/read-metrics-files.ts';
import { fileTasks, stepFunctionsTasks, type TaskTokens } from './cutover/task-tokens.ts';
import type { Embedder } from './embed/port.ts';
import { openEmbedder } from './embed/registry.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { InvalidEvent } from './errors.ts';
import type { Endpoint, RunEvent } from './event.ts';
import type { Embed, Model } from './event-embed.ts';
import type { Names } from './event-names.ts';
import { indexSideOf } from './index-change/index-change.ts';
import { type RepairDeliveries, sqsRepairDeliveries } from './live/repair-deliveries.ts';
import { unreadFields } from './mapping/names.ts';
import { parseTemplate } from './mapping/template.ts';
import type { ObjectStore } from './objects.ts';
import { openFileObjects } from './objects-files.ts';
import { openS3Objects } from './objects-s3.ts';
import { inPlaceOf } from './place.ts';
import { type ShardQueue, sqsQueue } from './queue.ts';
import { readOnly } from './read-only.ts';
import { openQueryFiles, type QueryFiles } from './recall/query-file.ts';
import type { Plan } from './run-files.ts';
import { firstThere, sourceOfRun, sourceToPlan } from './schema/named-source.ts';
import { collectionsOf, namesOf } from './schema/names.ts';
import { resolveConnection, secretsOf } from './secrets.ts';
import type { IndexSide } from './stores/index-port.ts';
import type { InPlace } from './stores/place-port.ts';
import type { Store, StoreKind } from './stores/port.ts';
import { storeKind } from './stores/registry.ts';

/** What a function needs from around it: made from the environment, once a process. */
export interface Services {
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly notices: Notices;
  /** Answers a state that waits. */
  readonly tasks: TaskTokens;
  /** What applications saw of the reads that they were routed. */
  readonly reads: ReadMetrics;
  /** The stack's name; undefined on one machine. */
  readonly stack: string | undefined;
  /** Files of query sets. */
  readonly queryFiles: QueryFiles;
  /** @throws InvalidEvent when the environment names no queue. */
  queue(): ShardQueue;
  /** The stack's repair queue; undefined on one machine, where applications mend by themselves. */
  readonly repairs: RepairDeliveries | undefined;
  /** The endpoint's store, opened once a process: a warm function keeps its connections. */
  open(endpoint: Endpoint, more?: OpenMore): Promise<OpenStore>;
  /** The source of a run that is not planned yet, under its stable names. */
  openPlanned(event: RunEvent, sides?: Pick<OpenMore, 'place' | 'index'>): Promise<OpenStore>;
  /** Both sides of a run, the source under its stable names and with the run's schema unless it is wanted as stored; fields that its mapping leaves out are not read from the source. A run that only validates cannot write to either. */
  openSource(plan: Plan, options?: { readonly asStored?: boolean }): Promise<OpenStore>;
  openTarget(plan: Plan): Promise<OpenStore>;
  /** An embedding model, made ready once a process. */
  openModel(model: Model, limits?: Embed['limits']): Promise<Embedder>;
  /** Closes every store and model that was opened. */
  close(): Promise<void>;
}

export interface OpenMore {
  /** Fields that are not read. */
  readonly omitFields?: readonly string[];
  readonly names?: Names | undefined;
  /** Of a run in place. */
  readonly place?: InPlace | undefined;
  /** Of a run that changes an index. */
  readonly index?: IndexSide | undefined;
}

export interface OpenStore {
  readonly kind: StoreKind;
  readonly store: Store;
}

const made = new Map<string, Services>();

/** The services of this process's environment, as it is now. */
export function services(): Services {
  const environment = readEnvironment();
  const key = JSON.stringify(environment);
  const there = made.get(key) ?? makeServices(environment);
  made.set(key, there);
  return there;
}

function makeServices(environment: Environment): Services {
  const stores = new Map<string, Promise<OpenStore>>();
  const models = new Map<string, Promise<Embedder>>();
  const open: Services['open'] = async (endpoint, more = {}) => {
    const key = JSON.stringify([endpoint, more]);
    const there = stores.get(key) ?? openStore(endpoint, more, environment);
    stores.set(key, there);
    // A store that did not open is tried again by the next call.
    there.catch(() => stores.delete(key));
    return await there;
  };
  /** A folder of files holds what was written under every name; of another store's collection one name is there. */
  const openNamed = async (
    { source, names }: RunEvent,
    omitted: readonly string[],
    { place, index }: Pick<OpenMore, 'place' | 'index'> = {},
  ): Promise<OpenStore> => {
    const omitFields = omitted.flatMap((name) => namesOf(names, 'fields', name));
    if (source.store === 'files' || names === undefined) return await open(source, { omitFields, names, place, index });
    const collections = collectionsOf(source.collection, names);
    const [first, ...others] = await Promise.all(
      collections.map(async (collection) => await open({ ...source, collection }, { omitFields })),
    );
    if (first === undefined) throw new InvalidEvent('the source has no collection', { ids: ['source'] });
    if (others.length === 0) return first;
    return { ...first, store: firstThere([first.store, ...others.map(({ store }) => store)], collections) };
  };
  return {
    objects: openObjects(environment.VECFERRY_RUNS),
    flags: openFlags(environment.VECFERRY_FLAGS),
    notices: openNotices(environment),
    tasks: openTasks(environment.VECFERRY_TASKS),
    reads: openReads(environment.VECFERRY_METRICS),
    stack: environment.VECFERRY_STACK,
    queryFiles: openQueryFiles({ isLocal: environment.VECFERRY_RUNS.startsWith('file://') }),
    queue: () => openQueue(environment),
    repairs: openRepairs(environment),
    open,
    openPlanned: async (event, sides) => {
      const { kind, store } = await openNamed(event, [], sides);
      return { kind, store: sourceToPlan(store, event) };
    },
    openSource: async (plan, { asStored = false } = {}) => {
      const opened = await openNamed(plan.event, unreadOf(plan), sidesOf(plan, 'source'));
      const store = asStored ? opened.store : sourceOfRun(opened.store, plan);
      return guarded({ ...opened, store }, plan.event.source, plan);
    },
    openTarget: async (plan) =>
      guarded(await open(plan.event.target, sidesOf(plan, 'target')), plan.event.target, plan),
    openModel: async (model, limits = {}) => {
      const key = JSON.stringify([model, limits]);
      const there = models.get(key) ?? openModel(model, limits, environment);
      models.set(key, there);
      there.catch(() => models.delete(key));
      return await there;
    },
    close: async () => {
      const all = await Promise.allSettled([...stores.values()].map(async (each) => (await each).store));
      const asked = await Promise.allSettled(models.values());
      stores.clear();
      models.clear();
      for (const each of [...all, ...asked]) if (each.status === 'fulfilled') await each.value.close();
    },
  };
}

/** How the two sides of a run that works on one collection are opened. */
export function sidesOf(
  plan: Pick<Plan, 'run' | 'event'> & Partial<Pick<Plan, 'embed' | 'target' | 'index'>>,
  side: InPlace['side'],
): Pick<OpenMore, 'place' | 'index'> {
  return { place: inPlaceOf(plan, side), index: indexSideOf(plan, side) };
}

/** What is embedded is read, though the target may not have it. */
function unreadOf({ mapping, embed }: Plan): readonly string[] {
  return unreadFields(mapping, embed === undefined ? [] : parseTemplate(embed.text, 'embed.text').fields);
}

function guarded({ kind, store }: OpenStore, { collection }: Endpoint, { event }: Plan): OpenStore {
  if (event.mode === 'migrate') return { kind, store };
  return { kind, store: readOnly(store, kind, collection) };
}

async function openStore(
  endpoint: Endpoint,
  { omitFields = [], names, place, index }: OpenMore,
  environment: Environment,
): Promise<OpenStore> {
  const isLocal = environment.VECFERRY_RUNS.startsWith('file://');
  const kind = await storeKind(endpoint.store);
  if (
    !isLocal &&
    (kind.capabilities.localOnly || (endpoint.connection !== undefined && 'path' in endpoint.connection))
  ) {
    const text = `${endpoint.store} collection '${endpoint.collection}' lies on one machine's disk, which a function on AWS does not have`;
    throw new InvalidEvent(`${text}; name a server's url or secret, or run it with \`npx vecferry run\``, {
      ids: [endpoint.collection],
    });
  }
  const connection = await resolveConnection(endpoint.connection, secretsOf[environment.VECFERRY_SECRETS]);
  return {
    kind,
    store: await kind.open({
      connection,
      collection: endpoint.collection,
      options: endpoint.options,
      omitFields,
      ...(names && { names }),
      ...(place && { place }),
      ...(index && { index }),
    }),
  };
}

async function openModel(model: Model, limits: Embed['limits'], environment: Environment): Promise<Embedder> {
  const isLocal = environment.VECFERRY_RUNS.startsWith('file://');
  const connection = await resolveConnection(model.connection, secretsOf[environment.VECFERRY_SECRETS]);
  return await openEmbedder({ model, limits, connection, isLocal });
}

function openObjects(runs: string): ObjectStore {
  if (runs.startsWith('file://')) return openFileObjects(fileURLToPath(runs));
  return openS3Objects(runs.slice('s3://'.length), new S3Client({}));
}

function openFlags(flags: string): FlagStore {
  if (flags.startsWith('file://')) return fileFlags(fileURLToPath(flags));
  return ssmFlags(new SSMClient({}), flags.slice('ssm:'.length));
}

function openNotices({ VECFERRY_NOTICES: notices, VECFERRY_RUNS: runs }: Environment): Notices {
  if (notices === 'objects') return objectNotices(openObjects(runs));
  return snsNotices(new SNSClient({}), notices.slice('sns:'.length));
}

function openTasks(tasks: string): TaskTokens {
  return tasks === 'stepfunctions' ? stepFunctionsTasks(new SFNClient({})) : fileTasks(fileURLToPath(tasks));
}

function openReads(metrics: string): ReadMetrics {
  return metrics === 'cloudwatch' ? cloudWatchReads(new CloudWatchClient({})) : fileReads(fileURLToPath(metrics));
}

function openQueue({
  VECFERRY_QUEUE_URL: queue,
  VECFERRY_DEAD_LETTER_URL: deadLetters,
  VECFERRY_SQS_ENDPOINT: endpoint,
}: Environment): ShardQueue {
  if (queue === undefined || deadLetters === undefined) {
    throw new InvalidEvent(
      'the environment names no import queue; set VECFERRY_QUEUE_URL and VECFERRY_DEAD_LETTER_URL',
    );
  }
  // The embedded queue takes any credentials, and a machine without an account has none.
  const embedded =
    endpoint === undefined
      ? {}
      : { endpoint, region: 'local', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } };
  return sqsQueue(new SQSClient(embedded), { queue, deadLetters });
}

function openRepairs({ VECFERRY_REPAIR_QUEUE_URL: queue }: Environment): RepairDeliveries | undefined {
  return queue === undefined ? undefined : sqsRepairDeliveries(new SQSClient({}), queue);
}
