import { InvalidEvent } from './errors.ts';
import type { Store, StoreKind } from './stores/port.ts';

/**
 * The store for a run that only validates: whatever would change the collection, or what readers find under a pointer, is
 * refused here, so that no step has to remember it.
 */
export function readOnly(store: Store, { title }: StoreKind, collection: string): Store {
  const where = `the ${title} collection '${collection}'`;
  const refuse = async (): Promise<never> => {
    throw new InvalidEvent(`mode "validate" changes nothing, and ${where} was about to be changed`, { ids: [where] });
  };
  const { schema, fetchParts, values } = store;
  return {
    describe: () => store.describe(),
    ...(schema && { schema }),
    ...(fetchParts && { fetchParts }),
    ...(values && { values }),
    count: () => store.count(),
    fetch: (ids) => store.fetch(ids),
    search: (request) => store.search(request),
    tuning: (vector) => store.tuning(vector),
    close: () => store.close(),
    ranges: (options) => store.ranges(options),
    read: (range, options) => store.read(range, options),
    indexProgress: (schema) => store.indexProgress(schema),
    prepare: refuse,
    write: refuse,
    delete: refuse,
    buildIndex: refuse,
    drop: refuse,
    // The store's own words for what an application has to do.
    keepSearch: (vector, settings) => store.keepSearch(vector, settings, { dryRun: true }),
  };
}
