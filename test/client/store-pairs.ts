import { randomUUID } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClientRecord } from '../../lib/client/side.ts';
import { type StoreSide, storeSide } from '../../lib/client/store-side.ts';
import { recordDifference, type Treatments, treatmentsOf } from '../../lib/compare/record-equal.ts';
import { parseEvent } from '../../lib/event.ts';
import { fitCollection } from '../../lib/fit.ts';
import { mapBatch } from '../../lib/mapping/mapping.ts';
import type { MappingPlan } from '../../lib/mapping/mapping-files.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import type { Store, StoreKind } from '../../lib/stores/port.ts';
import { storeKind } from '../../lib/stores/registry.ts';
import { chromaUrl, postgresUrl, qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';

/** Two collections of real stores as the sides of a run: the target made as the plan would make it. */
export interface Pair {
  readonly source: StoreSide;
  readonly target: StoreSide;
  readonly stores: { readonly source: Store; readonly target: Store };
  readonly mapping: MappingPlan;
  /** Why the two sides do not hold the same records, one line a record; empty when they do. */
  differences(): Promise<readonly string[]>;
  close(): Promise<void>;
}

export type PairStore = 'pgvector' | 'qdrant' | 'chroma' | 'lancedb' | 'memory';

const connections: Readonly<Record<PairStore, () => Promise<Record<string, string>>>> = {
  pgvector: async () => ({ url: await postgresUrl() }),
  qdrant: async () => ({ url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() }),
  chroma: async () => ({ url: await chromaUrl() }),
  lancedb: async () => ({ path: mkdtempSync(join(tmpdir(), 'vecferry-pair-')) }),
  memory: async () => ({ path: randomUUID() }),
};

export async function openStore(name: PairStore): Promise<{ store: Store; kind: StoreKind }> {
  const kind = await storeKind(name);
  const collection = `pair_${randomUUID().replaceAll('-', '').slice(0, 12)}`;
  return { kind, store: await kind.open({ connection: await connections[name](), collection, options: {} }) };
}

export interface PairOptions {
  readonly mapping?: Record<string, unknown>;
  /** Records of the source from before: a Chroma collection has no dimension without. */
  readonly first?: readonly ClientRecord[];
}

export async function openPair(
  from: PairStore,
  to: PairStore,
  schema: CollectionSchema,
  { mapping = {}, first = [] }: PairOptions = {},
): Promise<Pair> {
  const [source, target] = await Promise.all([openStore(from), openStore(to)]);
  await source.store.prepare({ ...schema, store: from });
  await storeSide(source).upsert(first);
  const event = parseEvent({
    source: { store: from, collection: 'a' },
    target: { store: to, collection: 'b' },
    mapping,
  });
  const description = await source.store.describe();
  const fit = fitCollection({ source: description, target: target.kind, event });
  await target.store.prepare(fit.target);
  const treatments = treatmentsOf(fit.target, target.kind.capabilities);
  const stores = { source: source.store, target: target.store };
  return {
    source: storeSide(source),
    target: storeSide({ ...target, mapping: fit.mapping }),
    stores,
    mapping: fit.mapping,
    differences: async () => await differencesOf(stores, fit.mapping, target.kind, treatments),
    close: async () => {
      await Promise.all([source.store.close(), target.store.close()]);
    },
  };
}

async function differencesOf(
  { source, target }: Pair['stores'],
  mapping: MappingPlan,
  kind: StoreKind,
  treatments: Treatments,
): Promise<readonly string[]> {
  const found: string[] = [];
  let expected = 0;
  for await (const { batch } of source.read({ from: null, to: null }, { maxRecords: 500, maxBytes: 1 << 24 })) {
    const mapped = mapBatch(batch, mapping, kind.capabilities.ids).batch;
    expected += mapped.count;
    const there = await target.fetch(mapped.ids);
    const positions = new Map(there.ids.map((id, at) => [id, at]));
    for (const [at, id] of mapped.ids.entries()) {
      const foundAt = positions.get(id);
      const difference =
        foundAt === undefined ? 'is missing' : recordDifference(mapped, at, there, foundAt, treatments);
      if (difference !== undefined) found.push(`${id}: ${difference}`);
    }
  }
  const count = await target.count();
  return count === expected ? found : [...found, `the target holds ${count} records, not ${expected}`];
}
