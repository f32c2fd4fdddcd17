import { setTimeout as sleep } from 'node:timers/promises';
import { column, denseVector } from '../../lib/batch.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { records, vector } from '../stores/qdrant-recipes.ts';

/** An application that searches a collection of qdrant-recipes.ts all the time, and now and then writes a record of its own. */
export interface CollectionApplication {
  readonly counts: { reads: number; writes: number };
  /** What failed, of either. */
  readonly failures: readonly string[];
  stop(): Promise<void>;
}

export function startWriting(store: Store, firstId: number): CollectionApplication {
  const counts = { reads: 0, writes: 0 };
  const failures: string[] = [];
  const queries = column(records(100), vector.name);
  if (queries.kind !== 'dense') throw new Error('the vectors are dense');
  let isStopped = false;
  const goOn = async (ask: (at: number) => Promise<void>, everyMs: number): Promise<void> => {
    for (let at = 0; !isStopped; at++) {
      await ask(at).catch((error: unknown) => failures.push(String(error)));
      await sleep(everyMs);
    }
  };
  const read = async (at: number): Promise<void> => {
    const hits = await store.search({ vector: vector.name, query: denseVector(queries, at % 100), k: 10 });
    if (hits.length !== 10) failures.push(`a search found ${hits.length}`);
    counts.reads++;
  };
  const write = async (at: number): Promise<void> => {
    const batch = makeBatch({ ids: [String(firstId + at)], vectors: [vector], seed: 100 + at });
    const position = { run: 'application', shard: '00000-000', offset: at };
    await store.write(batch, { position, mode: 'upsert' });
    counts.writes++;
  };
  const working = [goOn(read, 20), goOn(write, 100)];
  return {
    counts,
    failures,
    stop: async () => {
      isStopped = true;
      await Promise.all(working);
    },
  };
}
