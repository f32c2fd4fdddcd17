import { join } from 'node:path';
import { createClient } from '../../lib/client/client.ts';
import { fileFlag } from '../../lib/client/file-flag.ts';
import { fileLedger } from '../../lib/client/file-ledger.ts';
import { fileMetrics } from '../../lib/client/file-metrics.ts';
import type { ClientOptions } from '../../lib/client/options.ts';
import type { ClientRecord, Identified } from '../../lib/client/side.ts';
import { openSide } from '../../lib/client/stores.ts';
import type { MappingPlan } from '../../lib/mapping/mapping-files.ts';
import type { ResolvedConnection } from '../../lib/stores/port.ts';
import { until } from '../until.ts';
import {
  type Application,
  type ApplicationOptions,
  type ApplicationQuery,
  noting,
  type Side,
  startApplication,
} from './application.ts';

/** An application on one machine: its client as docs/client.md has it, on files and on the stores themselves. JSON, so that another process can be told. */
export interface ApplicationPlace {
  /** Holds runs/, flags/ and metrics/. */
  readonly directory: string;
  readonly flag: string;
  readonly source: SideInput;
  readonly target: SideInput;
  readonly options: ApplicationOptions;
}

export interface SideInput {
  readonly store: string;
  readonly connection: ResolvedConnection;
  readonly collection: string;
  readonly mapping?: MappingPlan;
}

export type AnyClientOptions = ClientOptions<ClientRecord, ApplicationQuery, Identified>;
export interface Opened {
  readonly application: Application;
  readonly client: ReturnType<typeof createClient<ClientRecord, ApplicationQuery, Identified>>;
  readonly vector: ApplicationOptions['vector'];
  /** What failed in the background, in the client's words. */
  readonly background: readonly Error[];
  /** Waits until it has made so many more reads and writes: work of its own for a test to look at. */
  works(count?: number): Promise<void>;
  /** Lets repairs be made, as an application that goes on does, until none waits. @throws Error when some still do after many rounds */
  settle(): Promise<void>;
  /** Closes client and stores; the application was stopped before. */
  close(): Promise<void>;
}

/** @param change replaces parts of the client: another flag reader, sides that fail */
export async function openApplication(
  { directory, flag, source, target, options }: ApplicationPlace,
  change: (options: AnyClientOptions) => AnyClientOptions = (same) => same,
): Promise<Opened> {
  const asked = new Map<number, string[]>();
  const opened = await Promise.all(
    [source, target].map(({ store, connection, collection, mapping }) =>
      openSide({ store, connection, collection, vector: options.vector.name, ...(mapping && { mapping }) }),
    ),
  );
  const sides = Object.fromEntries(
    opened.map((side) => {
      const searching: Side = { ...side, search: ({ vector, k }) => side.search({ values: vector, k }) };
      return [side.place, noting(searching, side.place, asked)];
    }),
  );
  const background: Error[] = [];
  const client = createClient(
    change({
      flag: fileFlag(join(directory, 'flags'), flag),
      sides,
      source: `${source.store}:${source.collection}`,
      ledger: fileLedger(directory),
      metrics: fileMetrics(join(directory, 'metrics')),
      refreshMs: 100,
      leaseMs: 1000,
      // The two processors are everybody's here.
      timeoutMs: 5000,
      onError: (error) => background.push(error),
    }),
  );
  const application = startApplication(
    options,
    {
      search: (key, query) => client.search(query, { key }),
      fetch: (key, ids) => client.fetch(ids, { key }),
      upsert: client.upsert,
      delete: client.delete,
      flagAgeMs: () => client.status().flagAgeMs,
    },
    asked,
  );
  return {
    application,
    client,
    vector: options.vector,
    background,
    works: async (count = 20) => {
      const [reads, written] = [application.reads.length + count, application.written() + count];
      const what = `${count} more reads and writes of ${options.name}`;
      await until(() => application.reads.length >= reads && application.written() >= written, what);
    },
    settle: async () => {
      const left = (): string => `repairs are left (${background.slice(-20).map(String).join('; ')})`;
      await until(async () => (await client.flush()).repairsWaiting === 0, left);
    },
    close: async () => {
      await client.close();
      for (const side of opened) await side.close();
    },
  };
}
