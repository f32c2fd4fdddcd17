import { NotFound, StoreUnavailable } from '../../errors.ts';
import type { CollectionSchema } from '../../schema.ts';
import { plural } from '../../words.ts';
import type { IndexProgress } from '../port.ts';
import type { Admin } from './admin.ts';
import { checkSameVectors } from './same-vectors.ts';
import {
  type CollectionInfo,
  createBody,
  failureOf,
  hiddenOf,
  loadedBody,
  type QdrantOptions,
  storedVectorBytes,
  vectorsOf,
  wantedPayloadIndexes,
} from './settings.ts';

/** @throws Incompatible when the collection is there with other vectors. */
export async function prepareCollection(admin: Admin, schema: CollectionSchema, options: QdrantOptions): Promise<void> {
  const there = await infoOrNone(admin);
  if (there !== undefined) {
    checkSameVectors(admin.collection, vectorsOf(there), schema.vectors);
    return;
  }
  try {
    await admin.create(createBody(schema, options));
  } catch (error) {
    // Another caller may have been first; a repeated request after a lost answer looks the same.
    const made = await infoOrNone(admin);
    if (made === undefined) throw error;
    checkSameVectors(admin.collection, vectorsOf(made), schema.vectors);
  }
}

/**
 * Makes the payload indexes first, because a graph built before them knows nothing of their values, then lets the
 * optimizer build the graphs. A collection that was never prepared for loading keeps its threshold.
 */
export async function startIndexes(admin: Admin, schema: CollectionSchema, options: QdrantOptions): Promise<void> {
  const info = await admin.info();
  for (const [field, index] of wantedPayloadIndexes(schema, options)) {
    if (info.payload_schema[field] === undefined) await admin.indexPayload(field, index);
  }
  if (isLoading(info)) await admin.update(loadedBody(schema, options));
  // An update of nothing wakes an optimizer that sleeps since the server's start.
  else if (info.status === 'grey') await admin.update({ optimizers_config: {} });
}

/** @throws StoreUnavailable when the optimizer has failed, with what it says. */
export async function readProgress(admin: Admin): Promise<IndexProgress> {
  const info = await admin.info();
  const points = info.points_count ?? 0;
  const indexed = info.indexed_vectors_count ?? 0;
  const failure = failureOf(info);
  if (failure !== undefined)
    throw new StoreUnavailable(`collection ${admin.collection} is red: ${failure}; see the server's log`);
  const fraction = points === 0 ? 1 : Math.min(1, indexed / points);
  const detail = `${info.status}, ${plural(indexed, 'vector')} indexed of ${plural(points, 'record')}`;
  if (info.config.optimizer_config.max_optimization_threads === 0) {
    const off = 'its optimizer is off (max_optimization_threads 0), so what has no graph yet is searched without one';
    return { done: true, fraction, detail: `${detail}; ${off}` };
  }
  if (info.status === 'grey') {
    // There is something to optimize, and the optimizer waits for an update since the server's start.
    return { done: false, fraction, detail, isStalled: true };
  }
  if (info.status === 'yellow') return { done: false, fraction, detail };
  if (isLoading(info)) return { done: false, fraction, detail: `${detail}; index building is off`, isStalled: true };
  // prevent_unoptimized is given with the index, and hides what was loaded: validated now, it would be missing.
  const hidden = hiddenOf(info);
  if (hidden > 0) return { done: false, fraction, detail: `${detail}; ${plural(hidden, 'record')} hidden until then` };
  const threshold = info.config.optimizer_config.indexing_threshold ?? 0;
  const kilobytesASegment = (points * storedVectorBytes(vectorsOf(info))) / 1024 / Math.max(1, info.segments_count);
  if (kilobytesASegment === 0) return { done: true, fraction: 1, detail };
  if (indexed === 0 && kilobytesASegment > threshold) return { done: false, fraction, detail };
  const small = `; segments below the indexing threshold of ${threshold} kB are searched without a graph`;
  return { done: true, fraction: 1, detail: indexed === 0 ? `${detail}${small}` : detail };
}

/** As `prepareCollection` leaves it. */
function isLoading({ config }: CollectionInfo): boolean {
  return config.optimizer_config.indexing_threshold === 0;
}

async function infoOrNone(admin: Admin): Promise<CollectionInfo | undefined> {
  try {
    return await admin.info();
  } catch (error) {
    if (error instanceof NotFound) return undefined;
    throw error;
  }
}
