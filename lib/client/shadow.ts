import { StoreUnavailable } from '../errors.ts';
import type { Metrics } from './metrics.ts';
import type { Identified } from './side.ts';
import { withTimeout } from './timeout.ts';

/** Reads that are sent to the other side too, once the caller has its answer, to hold both answers against each other. */
export interface Shadows {
  send(shadow: Shadow): void;
  readonly underWay: number;
  /** Waits for those under way. */
  flush(): Promise<void>;
}

export interface Shadow {
  /** The place that the comparison is counted with: the target, whichever side is asked here. */
  readonly target: string;
  /** The place that is asked here. */
  readonly other: string;
  readonly ask: () => Promise<readonly Identified[]>;
  readonly answer: readonly Identified[];
  readonly answerMs: number;
  /** True where the caller's answer came from the flag's active place. */
  readonly isActive: boolean;
}

export interface ShadowsOptions {
  readonly metrics: Metrics;
  readonly maxShadows: number;
  readonly timeoutMs: number;
  readonly onError: (error: Error) => void;
}

/**
 * At most `maxShadows` at once: what comes on top of them is dropped and counted, so a slow other side costs memory for a few
 * answers and no more. One that does not answer within `timeoutMs` counts as failed.
 */
export function makeShadows({ metrics, maxShadows, timeoutMs, onError }: ShadowsOptions): Shadows {
  const underWay = new Set<Promise<void>>();
  const compare = async ({ target, other, ask, answer, answerMs, isActive }: Shadow): Promise<void> => {
    // After the caller has gone on with its answer.
    await new Promise((resolve) => setImmediate(resolve));
    const startedAt = performance.now();
    try {
      const found = await withTimeout(ask(), timeoutMs, `the shadow read of ${other}`, 'background');
      const ms = performance.now() - startedAt;
      const [activeMs, otherMs] = isActive ? [answerMs, ms] : [ms, answerMs];
      metrics.shadow(target, { ...overlapOf(answer, found), activeMs, otherMs });
    } catch (cause) {
      metrics.count('ShadowErrors', target);
      const reason = cause instanceof Error ? cause.message : String(cause);
      onError(new StoreUnavailable(`a shadow read of ${other} failed; no caller waited for it: ${reason}`, { cause }));
    }
  };
  return {
    send: (shadow) => {
      if (underWay.size >= maxShadows) {
        metrics.count('ShadowsDropped', shadow.target);
        return;
      }
      const work = compare(shadow).finally(() => underWay.delete(work));
      underWay.add(work);
    },
    get underWay() {
      return underWay.size;
    },
    flush: async () => {
      await Promise.all(underWay);
    },
  };
}

/** overlap@k: ids in both answers by k, the length of the longer one, so that an answer that is short counts against it. */
export function overlapOf(
  one: readonly Identified[],
  other: readonly Identified[],
): { readonly k: number; readonly overlap: number } {
  const [ids, others] = [new Set(one.map(({ id }) => id)), new Set(other.map(({ id }) => id))];
  const k = Math.max(ids.size, others.size);
  if (k === 0) return { k, overlap: 1 };
  let both = 0;
  for (const id of ids) if (others.has(id)) both += 1;
  return { k, overlap: both / k };
}
