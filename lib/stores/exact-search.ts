import { type Batch, column, selectRecords } from '../batch.ts';
import { Incompatible } from '../errors.ts';
import { meets } from '../filter.ts';
import { findNearest } from '../recall/nearest.ts';
import type { Distance } from '../schema.ts';
import type { Hit, KeptSearch, SearchRequest, SearchTuning } from './port.ts';
import { refuseSettings } from './search-settings.ts';

/** The search of stores without an index: every record is read, so every search is exact and no setting changes it. */

export const exactTuning: SearchTuning = { current: {}, heeds: {}, isQuantized: false };

export const exactKept: KeptSearch = {
  kept: false,
  how: 'every search reads all records and is exact, so there is nothing to keep',
};

/**
 * @param batches the collection, each record once; memory goes with the largest of them
 * @throws InvalidEvent for any setting. @throws Incompatible when the vector is not dense.
 */
export async function searchExactly(
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  { vector, query, k, filter = [], settings }: SearchRequest,
  { distance, title }: { readonly distance: Distance; readonly title: string },
): Promise<readonly Hit[]> {
  refuseSettings(settings, [], title);
  let best: readonly Hit[] = [];
  for await (const batch of batches) {
    const found = column(batch, vector);
    if (found.kind !== 'dense')
      throw new Incompatible(`vector '${vector}' is ${found.kind}, and ${title} is searched by dense vectors only`, {
        ids: [vector],
      });
    const kept = filter.length === 0 ? batch : selectRecords(batch, positionsOf(batch, filter));
    const values = column(kept, vector);
    if (kept.count === 0 || values.kind !== 'dense') continue;
    const [nearest] = findNearest(values, kept.count, [query], distance, k);
    const hits = Array.from(nearest?.positions ?? [], (at, i) => ({
      id: kept.ids[at] ?? '',
      score: nearest?.distances[i] ?? Number.POSITIVE_INFINITY,
    }));
    best = [...best, ...hits].sort((a, b) => a.score - b.score).slice(0, k);
  }
  return best;
}

function positionsOf(batch: Batch, filter: NonNullable<SearchRequest['filter']>): number[] {
  return batch.payloads.flatMap((payload, at) => (meets(filter, payload) ? [at] : []));
}
