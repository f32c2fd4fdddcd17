import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pace } from '../../infra/local/bridge.ts';
import { type Engine, startEngine } from '../../infra/local/engine.ts';
import type { Outcome, StateEvent } from '../../infra/local/execution.ts';
import { loadDeployment } from '../../infra/local/synthesize.ts';
import type { Batch } from '../../lib/batch.ts';
import { endpointSchema } from '../../lib/event.ts';
import { runKeys } from '../../lib/keys.ts';
import { getJson } from '../../lib/objects.ts';
import { type Report, reportSchema } from '../../lib/report/report-schema.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import { services } from '../../lib/services.ts';
import type { Store } from '../../lib/stores/port.ts';
import { canonicalJson } from '../make.ts';
import { chromaUrl, postgresUrl, qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';

/** Whole runs: the synthesized state machine, its functions, a queue, and real stores. */
export interface Runs {
  readonly engine: Engine;
  /** For stores and files of this test alone. */
  readonly directory: string;
  /** A name that no other test uses. */
  unique(name: string): string;
  /** @param pace For a run that is to give up sooner than a user's would. */
  run(event: RunInput, onState?: (event: StateEvent) => void, pace?: Pace): Promise<Result>;
  /** A handle on the endpoint, closed with the engine. */
  open(endpoint: EndpointInput): Promise<Store>;
  /** Makes the collection and fills it. */
  seed(endpoint: EndpointInput, schema: CollectionSchema, batch: Batch): Promise<Store>;
  close(): Promise<void>;
}

export interface EndpointInput {
  readonly store: string;
  readonly connection?: Readonly<Record<string, string>>;
  readonly collection: string;
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface RunInput {
  readonly run?: string;
  readonly source: EndpointInput;
  readonly target: EndpointInput & { readonly into?: string };
  readonly [key: string]: unknown;
}

export interface Result {
  readonly run: string;
  readonly outcome: Outcome;
  readonly report: Report | undefined;
}

/** Jest runs many files in one process, each with its own count, and all on one server. */
const ours = Math.random().toString(36).slice(2, 8);
let made = 0;

export async function startRuns(): Promise<Runs> {
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-runs-'));
  const engine = await startEngine({
    directory: join(directory, 'objects'),
    deployment: await loadDeployment('.vecferry'),
  });
  const unique = (name: string): string => `${name}_${ours}_${++made}`;
  const open = async (endpoint: EndpointInput): Promise<Store> =>
    (await services().open(endpointSchema.parse(endpoint))).store;
  return {
    engine,
    directory,
    unique,
    open,
    run: async (event, onState, pace) => {
      const run = event.run ?? unique('run');
      const { signal } = new AbortController();
      const outcome = await engine.run({
        run,
        event: { ...event, run },
        signal,
        ...(onState && { onState }),
        ...(pace && { pace }),
      });
      return { run, outcome, report: await getJson(engine.objects, runKeys(run).report, reportSchema) };
    },
    seed: async (endpoint, schema, batch) => {
      const store = await open(endpoint);
      await store.prepare({ ...schema, store: endpoint.store });
      if (batch.count > 0)
        await store.write(batch, { position: { run: 'seed', shard: '00000-000', offset: 0 }, mode: 'upsert' });
      await store.buildIndex({ ...schema, store: endpoint.store });
      return store;
    },
    close: async () => await engine.close(),
  };
}

/**
 * `validate` of a run that is not about recall: it is measured all the same, on both sides. The default's 200 queries at four
 * depths take most of a small run's time.
 */
export const fewQueries = { recall: { queries: 20, depths: [], atLeast: 0.5 } } as const;

/** Fails with the run's own words when it did not end well. */
export function expectValidated({ outcome, report }: Result): Report {
  if (outcome.status !== 'SUCCEEDED' || report?.verdict !== 'validated') {
    throw new Error(
      `the run ended ${JSON.stringify(outcome).slice(0, 2000)}; report: ${report?.summary ?? 'none'}; ${JSON.stringify(report?.findings ?? []).slice(0, 2000)}`,
    );
  }
  return report;
}

/** Every record of a collection as JSON of one form, by id: what two collections are compared by, apart from vectors. */
export async function payloadsOf(store: Store): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 1000, maxBytes: 1 << 24 })) {
    for (const [at, id] of batch.ids.entries()) found.set(id, canonicalJson(batch.payloads[at] ?? '{}'));
  }
  return found;
}

/** The stores that hold collections side by side, each on its real server or engine. */
export const stores = ['pgvector', 'qdrant', 'chroma', 'lancedb', 'files'] as const;
export type StoreName = (typeof stores)[number];

/** A collection of its own in a store. */
export async function endpointIn(runs: Runs, store: StoreName, name: string): Promise<EndpointInput> {
  const connections = {
    pgvector: async () => ({ url: await postgresUrl() }),
    qdrant: async () => {
      // gRPC listens where no event says, so both addresses come as a secret does.
      const secret = { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() };
      Object.assign(process.env, { VECFERRY_SECRET_TEST_QDRANT: JSON.stringify(secret) });
      return { secret: 'test/qdrant' };
    },
    chroma: async () => ({ url: await chromaUrl() }),
    lancedb: async () => ({ path: join(runs.directory, 'lancedb') }),
    files: async () => ({ path: join(runs.directory, 'files') }),
  };
  return { store, connection: await connections[store](), collection: runs.unique(name) };
}
