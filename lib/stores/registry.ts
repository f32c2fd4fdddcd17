import { InvalidEvent } from '../errors.ts';
import type { StoreKind } from './port.ts';

/** Loads a store's file only when a run needs it: some bring native code that takes long to load. */
const loaders: Readonly<Record<string, () => Promise<StoreKind>>> = {
  chroma: async () => (await import('./chroma.ts')).chroma,
  lancedb: async () => (await import('./lancedb.ts')).lancedb,
  pgvector: async () => (await import('./pgvector.ts')).pgvector,
  qdrant: async () => (await import('./qdrant.ts')).qdrant,
  files: async () => (await import('./files.ts')).files,
  memory: async () => (await import('./memory.ts')).memory,
};

export const storeNames: readonly string[] = Object.keys(loaders);

/** The store called `name`. @throws InvalidEvent when there is none, naming those there are. */
export async function storeKind(name: string): Promise<StoreKind> {
  const load = loaders[name];
  if (load === undefined)
    throw new InvalidEvent(`there is no store '${name}'; there are ${storeNames.join(', ')}`, { ids: [name] });
  return await load();
}
