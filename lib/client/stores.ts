import type { MappingPlan } from '../mapping/mapping-files.ts';
import type { SearchSettings } from '../schema.ts';
import type { ResolvedConnection } from '../stores/port.ts';
import { storeKind } from '../stores/registry.ts';
import { type StoreSide, storeSide } from './store-side.ts';

/** Sides for applications that have no database client of their own: `vecferry/client/stores`. */

export interface OpenSideOptions {
  /** As the event names it: `pgvector`, `qdrant`, `chroma`, `lancedb`. */
  readonly store: string;
  /** What the run's secret or `url` holds: `{ url, apiKey }`; for embedded stores `{ path }`. */
  readonly connection: ResolvedConnection;
  readonly collection: string;
  /** The store's own options of the event. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** The vector that queries search which name none, as the source names it. */
  readonly vector?: string;
  /** For the target of a run: `mapping` of its plan.json. */
  readonly mapping?: MappingPlan;
  /** Settings of searches, `{ efSearch: 120 }`. */
  readonly search?: SearchSettings;
}

export interface OpenSide extends StoreSide {
  /** What the routing flag calls it: `store:collection`. */
  readonly place: string;
  close(): Promise<void>;
}

/** Opens one of vecferry's stores as a side. @throws InvalidEvent when there is no such store, or a connection or option is wrong */
export async function openSide(options: OpenSideOptions): Promise<OpenSide> {
  const { connection, collection, vector, mapping, search } = options;
  const kind = await storeKind(options.store);
  const store = await kind.open({ connection, collection, options: options.options ?? {} });
  const side = storeSide({
    store,
    kind,
    ...(vector !== undefined && { vector }),
    ...(mapping !== undefined && { mapping }),
    ...(search !== undefined && { search }),
  });
  return { ...side, place: `${options.store}:${collection}`, close: () => store.close() };
}
