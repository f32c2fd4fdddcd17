import { runKeys } from '../../keys.ts';
import { getJson, type ObjectStore } from '../../objects.ts';
import { type Embedding, embeddingSchema } from './embed-files.ts';

/** What embedding took between two looks at embedding.json. */
export interface Spent {
  /** Texts whose answer was paid for. */
  readonly texts: number;
  readonly tokens: number;
  /** Records whose text was refused. */
  readonly failed: number;
  /** Requests that the provider put off. */
  readonly throttled: number;
}

const nothing: Spent = { texts: 0, tokens: 0, failed: 0, throttled: 0 };

/**
 * Does the work, and tells what it took, also where it failed: what was asked for is paid for all the same. A process that
 * is killed tells nothing.
 */
export async function tellSpent<T>(
  { objects, run, tell }: { objects: ObjectStore; run: string; tell: (spent: Spent) => void },
  work: () => Promise<T>,
): Promise<T> {
  const look = async (): Promise<Spent> => spentOf(await getJson(objects, runKeys(run).embedding, embeddingSchema));
  const before = await look();
  try {
    return await work();
  } finally {
    const after = await look();
    const since = (name: keyof Spent): number => Math.max(0, after[name] - before[name]);
    tell({
      texts: since('texts'),
      tokens: since('tokens'),
      failed: since('failed'),
      throttled: since('throttled'),
    });
  }
}

function spentOf(embedding: Embedding | undefined): Spent {
  if (embedding === undefined) return nothing;
  const { texts, tokens, failed, throttled } = embedding;
  return { texts, tokens, failed, throttled };
}
