import { join } from 'node:path';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { planSchema } from '../../lib/run-files.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';
import type { SideToRead } from './account.ts';
import { type ApplicationOptions, recordOf, seedTag } from './application.ts';
import type { ApplicationPlace, SideInput } from './application-parts.ts';
import { type EndpointInput, endpointIn, type RunInput, type Runs, type StoreName } from './world.ts';

/** Two collections, a live run from one to the other that moves readers in steps, and applications that use both. */
export interface LiveWorld {
  readonly run: string;
  readonly flag: string;
  readonly event: RunInput;
  /** Places, as the flag names them. */
  readonly source: string;
  readonly target: string;
  /** Both sides, to be read as they are. */
  readonly sides: { readonly source: SideToRead; readonly target: SideToRead };
  readonly records: number;
  /** Holds runs/, flags/ and metrics/. */
  readonly directory: string;
  application(options: Partial<ApplicationOptions> & Pick<ApplicationOptions, 'name'>): ApplicationPlace;
}

export interface LiveParts {
  readonly from: StoreName;
  readonly to: StoreName;
  readonly records?: number;
  /** Parts of the event's cutover.canary and of the event. */
  readonly canary?: Readonly<Record<string, unknown>>;
  readonly event?: Readonly<Record<string, unknown>>;
  /** In place of the target's connection, for a server that is made to fail. */
  readonly connection?: Readonly<Record<string, string>>;
}

const dimension = 8;
const vectorNames: Readonly<Record<StoreName, string>> = {
  pgvector: 'embedding',
  qdrant: '',
  chroma: 'embedding',
  lancedb: 'vector',
  files: 'embedding',
};

/** Percent, and seconds that each is watched. */
export const quickSteps = (...steps: readonly (readonly [number, number])[]) =>
  steps.map(([percent, seconds]) => ({ percent, minutes: seconds / 60 }));

/** The event with other steps: how readers are moved may be changed whenever a run is started again. */
export function withSteps(event: RunInput, ...steps: readonly (readonly [number, number])[]): RunInput {
  const { canary, ...cutover } = Object(event['cutover']);
  return { ...event, cutover: { ...cutover, canary: { ...canary, steps: quickSteps(...steps) } } };
}

export async function makeLiveWorld(runs: Runs, parts: LiveParts): Promise<LiveWorld> {
  const { from, to, records = 3000, canary = {}, event: more = {}, connection } = parts;
  const source = await endpointIn(runs, from, 'live_source');
  const made = await endpointIn(runs, to, 'live_target');
  const target = connection === undefined ? made : { ...made, connection };
  const vector = { name: vectorNames[from], dimension };
  const inSource = await seed(runs, source, vector, records);
  const [run, flag] = [runs.unique('live'), runs.unique('readers')];
  const event: RunInput = {
    run,
    source,
    target,
    live: { settleSeconds: 1.5 },
    // Some twenty shards.
    parallel: { shardMiB: 0.01 },
    validate: { recall: { queries: 50, k: 5, atLeast: 0.9, depths: [] } },
    ...more,
    cutover: {
      flag,
      canary: {
        steps: quickSteps([10, 2], [50, 2], [100, 2]),
        watchSeconds: 1,
        requests: 20,
        // The two processors are everybody's here: latency is another test's.
        maxP95Ms: 5000,
        minOverlap: 0.5,
        shadowPercent: 50,
        patienceMinutes: 1,
        ...canary,
      },
      ...Object(more['cutover']),
    },
  };
  const mapping = await mappingOf(runs, event);
  const inTarget = (vectors: Readonly<Record<string, string>>): string => vectors[vector.name] ?? '';
  const side = (endpoint: EndpointInput): SideInput => ({
    store: endpoint.store,
    connection: connectionOf(endpoint),
    collection: endpoint.collection,
  });
  const place = ({ store, collection }: EndpointInput): string => `${store}:${collection}`;
  const directory = join(runs.directory, 'objects');
  return {
    run,
    flag,
    event,
    source: place(source),
    target: place(target),
    sides: {
      source: { store: inSource, vector: vector.name },
      target: { store: await runs.open(made), vector: inTarget(mapping.vectors) },
    },
    records,
    directory,
    application: (options) => ({
      directory,
      flag,
      source: side(source),
      target: { ...side(target), mapping },
      options: {
        seed: 1,
        vector,
        records,
        writers: 1,
        writer: 0,
        shared: 30,
        writeEveryMs: 15,
        readEveryMs: 10,
        readers: 2,
        ...options,
      },
    }),
  };
}

async function seed(
  runs: Runs,
  endpoint: EndpointInput,
  vector: ApplicationOptions['vector'],
  records: number,
): Promise<Store> {
  const ids = Array.from({ length: records }, (_, at) => String(at + 1));
  const made = ids.map((id) => recordOf(id, seedTag, vector));
  const spec = { ...vector, kind: 'dense', distance: 'cosine', precision: 'float32' } as const;
  const batch = makeBatch({ ids, vectors: [spec], payloads: made.map(({ payload }) => JSON.stringify(payload)) });
  const values = Float32Array.from(made.flatMap(({ vectors }) => [...Object(vectors[vector.name])]));
  const vectors = new Map([[vector.name, { kind: 'dense', dimension, values } as const]]);
  return await runs.seed(endpoint, makeSchema({ vectors: [spec] }), { ...batch, vectors });
}

/** What the run will make of a record: an application takes it from a dry run's plan. */
async function mappingOf(runs: Runs, event: RunInput) {
  const { run, outcome } = await runs.run({ ...event, run: runs.unique('dry'), dryRun: true });
  const plan = await getJson(runs.engine.objects, runKeys(run).plan, planSchema);
  if (plan === undefined) throw new Error(`the dry run ended ${JSON.stringify(outcome)}`);
  return plan.mapping;
}

/** What a function would make of the event's connection. */
function connectionOf({ connection = {} }: EndpointInput): Readonly<Record<string, string>> {
  const { secret } = connection;
  if (secret === undefined) return connection;
  return JSON.parse(process.env[`VECFERRY_SECRET_${secret.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_')}`] ?? '{}');
}
