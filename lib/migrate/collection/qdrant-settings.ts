import { isDeepStrictEqual } from 'node:util';
import type { CollectionInfo } from '../../stores/qdrant/settings.ts';
import { denseOf, distanceWords, withoutNulls } from '../../stores/qdrant/settings.ts';
import type { Change, HnswWords, VectorWords } from './words.ts';

/** A collection file's words as Qdrant's requests have them, and what of them a collection has not yet. */

type Body = Readonly<Record<string, unknown>>;

/**
 * What a setting is in effect where Qdrant shows null for it, as the descriptions of its OpenAPI say; asked for this, it is as before.
 * api.qdrant.tech/api-reference/collections/update-collection
 */
const whenUnset: Body = {
  on_disk: false,
  on_disk_payload: false,
  max_indexing_threads: 0,
  // "To disable memmap storage, set this to `0`", and it is disabled by default
  memmap_threshold: 0,
  max_optimization_threads: 'auto',
  modifier: 'none',
};

const hnswBody = (given: HnswWords = {}): Body =>
  withoutNulls({
    m: given.m,
    ef_construct: given.efConstruction,
    full_scan_threshold: given.fullScanThreshold,
    max_indexing_threads: given.maxIndexingThreads,
    on_disk: given.onDisk,
    payload_m: given.payloadM,
  });

const optimizersBody = (given: Change['optimizers'] = {}): Body =>
  withoutNulls({
    deleted_threshold: given.deletedThreshold,
    vacuum_min_vector_number: given.vacuumMinVectorNumber,
    default_segment_number: given.defaultSegmentNumber,
    max_segment_size: given.maxSegmentSize,
    memmap_threshold: given.memmapThreshold,
    indexing_threshold: given.indexingThreshold,
    flush_interval_sec: given.flushIntervalSec,
    max_optimization_threads: given.maxOptimizationThreads,
  });

/** What PATCH takes of a collection's params; how many shards there are is said once, when it is made. */
const paramsBody = (change: Change): Body =>
  withoutNulls({
    replication_factor: change.replicationFactor,
    write_consistency_factor: change.writeConsistencyFactor,
    on_disk_payload: change.onDiskPayload,
  });

const sparseBody = ({ modifier, onDisk, fullScanThreshold }: NonNullable<Change['sparse']>[string]): Body => {
  const index = withoutNulls({ on_disk: onDisk, full_scan_threshold: fullScanThreshold });
  return withoutNulls({ modifier, index: Object.keys(index).length === 0 ? undefined : index });
};

function vectorBody(words: VectorWords): Body {
  const hnsw = hnswBody(words.hnsw);
  return withoutNulls({
    size: words.size,
    distance: distanceWords[words.distance ?? 'cosine'],
    datatype: words.precision === 'float32' ? undefined : words.precision,
    multivector_config: words.multi === true ? { comparator: 'max_sim' } : undefined,
    hnsw_config: Object.keys(hnsw).length === 0 ? undefined : hnsw,
    quantization_config: words.quantization,
    on_disk: words.onDisk,
  });
}

/** The body of PUT /collections/NAME. */
export function bodyToCreate(change: Change): Record<string, unknown> {
  const vectors = Object.entries(change.vectors ?? {}).map(([name, words]) => [name, vectorBody(words)] as const);
  const [only] = vectors;
  const sparse = Object.entries(change.sparse ?? {}).map(([name, words]) => [name, sparseBody(words)]);
  const filled = (body: Body): Body | undefined => (Object.keys(body).length === 0 ? undefined : body);
  return withoutNulls({
    vectors: vectors.length === 1 && only?.[0] === '' ? only[1] : Object.fromEntries(vectors),
    sparse_vectors: filled(Object.fromEntries(sparse)),
    hnsw_config: filled(hnswBody(change.hnsw)),
    optimizers_config: filled(optimizersBody(change.optimizers)),
    quantization_config: change.quantization,
    shard_number: change.shardNumber,
    ...paramsBody(change),
  });
}

export interface SettingsChange {
  /**
   * The body of PATCH, and what comes of it; undefined: all is as wanted. One request: a change of the optimizer "will only proceed once all
   * current optimizations are complete" (UpdateCollection of Qdrant's OpenAPI), so a second one would wait for what the first began.
   */
  readonly up: { readonly body: Record<string, unknown>; readonly why: string } | undefined;
  /** Bodies that bring the old values back, in order. */
  readonly down: readonly Record<string, unknown>[];
  /** Settings that have no old value to go back to. */
  readonly notes: readonly string[];
}

interface Parts {
  readonly up: readonly { readonly body: Record<string, unknown>; readonly why: string }[];
  readonly down: readonly Record<string, unknown>[];
  readonly notes: readonly string[];
}

const rebuilt = 'the graph is built anew in the background';
const quantized = 'vectors are quantized anew in the background';
const restored = 'segments are rewritten in the background';

/** What of `change` the collection has not yet, and can be given in place. */
export function settingsChange(change: Change, { config }: CollectionInfo): SettingsChange {
  const up: { body: Record<string, unknown>; why: string }[] = [];
  const down: Record<string, unknown>[] = [];
  const notes: string[] = [];
  const part = (name: string, wanted: Body, there: Body, why: string): void => {
    const { set, back, lost } = difference(wanted, there);
    if (Object.keys(set).length === 0) return;
    up.push({ body: { [name]: set }, why });
    if (Object.keys(back).length > 0) down.push({ [name]: back });
    for (const key of lost)
      notes.push(`${name}.${key} was not set, and Qdrant cannot unset it: it stays at ${set[key]}`);
  };
  const hnsw = withoutNulls(config.hnsw_config);
  part('hnsw_config', hnswBody(change.hnsw), hnsw, rebuilt);
  part('optimizers_config', optimizersBody(change.optimizers), withoutNulls(config.optimizer_config), restored);
  part('params', paramsBody(change), withoutNulls(config.params), 'in force at once');
  const [wanted, found] = [change.quantization, config.quantization_config ?? null];
  if (wanted !== undefined && !isSame(wanted, found)) {
    up.push({ body: { quantization_config: wanted ?? 'Disabled' }, why: quantized });
    down.push({ quantization_config: found === null ? 'Disabled' : withoutNulls(found) });
  }
  const inForce = { ...hnsw, ...hnswBody(change.hnsw) };
  for (const [name, words] of Object.entries(change.vectors ?? {})) {
    const there = denseOf(config.params.vectors)[name];
    if (there === undefined) continue;
    const one = vectorChange(words, there, inForce);
    for (const { body, why } of one.up) up.push({ body: { vectors: { [name]: body } }, why });
    for (const body of one.down) down.push({ vectors: { [name]: body } });
  }
  const sparse = sparseChanges(change, config.params.sparse_vectors ?? {});
  up.push(...sparse.up);
  down.push(...sparse.down);
  notes.push(...sparse.notes);
  const [unset, set] = [true, false].map((wanted) => down.filter((body) => unsets(body) === wanted));
  const back = [merged(unset ?? []), merged(set ?? [])].filter((body) => Object.keys(body).length > 0);
  const why = [...new Set(up.map((each) => each.why))].join('; ');
  return { up: up.length === 0 ? undefined : { body: merged(up.map(({ body }) => body)), why }, down: back, notes };
}

/** True of what takes a vector's own settings away, which comes before those that it is given. */
const unsets = ({ vectors }: Body): boolean =>
  Object.values(bodyOf(vectors)).some(
    (vector) => Object.keys(bodyOf(bodyOf(vector)['hnsw_config'] ?? { set: true })).length === 0,
  );

/** Bodies of different settings as one. */
function merged(bodies: readonly Body[]): Record<string, unknown> {
  const into: Record<string, unknown> = {};
  for (const body of bodies) {
    for (const [key, value] of Object.entries(body)) {
      const there = into[key];
      const isBoth = typeof there === 'object' && typeof value === 'object' && there !== null && value !== null;
      into[key] = isBoth ? merged([bodyOf(there), bodyOf(value)]) : value;
    }
  }
  return into;
}

function sparseChanges(change: Change, there: Body): Parts {
  const up: { body: Record<string, unknown>; why: string }[] = [];
  const down: Record<string, unknown>[] = [];
  const notes: string[] = [];
  const both = (body: Body, index: Body): Body => (Object.keys(index).length === 0 ? body : { ...body, index });
  for (const [name, words] of Object.entries(change.sparse ?? {})) {
    if (there[name] === undefined) continue;
    const { index: wantedIndex, ...wanted } = sparseBody(words);
    const { index: indexThere, ...found } = bodyOf(there[name]);
    const own = difference(wanted, found);
    const index = difference(bodyOf(wantedIndex), bodyOf(indexThere));
    const set = both(own.set, index.set);
    if (Object.keys(set).length === 0) continue;
    up.push({ body: { sparse_vectors: { [name]: set } }, why: restored });
    const back = both(own.back, index.back);
    if (Object.keys(back).length > 0) down.push({ sparse_vectors: { [name]: back } });
    for (const key of index.lost)
      notes.push(`sparse_vectors.${name}.index.${key} was not set, and Qdrant cannot unset it`);
  }
  return { up, down, notes };
}

/** A vector's own settings: what it has none of, it has from the collection. */
function vectorChange(words: VectorWords, there: Body, collectionHnsw: Body): Omit<Parts, 'notes'> {
  const up: { body: Record<string, unknown>; why: string }[] = [];
  const down: Record<string, unknown>[] = [];
  const own = withoutNulls(bodyOf(there['hnsw_config']));
  const { set } = difference(hnswBody(words.hnsw), { ...collectionHnsw, ...own });
  if (Object.keys(set).length > 0) {
    up.push({ body: { hnsw_config: set }, why: rebuilt });
    // "If empty object - it will be unset": then what was there before is set again. A PATCH alone would leave what was added.
    if (Object.keys(own).length > 0) down.push({ hnsw_config: own });
    if (Object.keys(set).some((key) => own[key] === undefined)) down.push({ hnsw_config: {} });
  }
  const quantization = there['quantization_config'] ?? null;
  if (words.quantization !== undefined && !isSame(words.quantization, quantization)) {
    up.push({ body: { quantization_config: words.quantization ?? 'Disabled' }, why: quantized });
    down.push({ quantization_config: quantization === null ? 'Disabled' : withoutNulls(bodyOf(quantization)) });
  }
  const onDisk = there['on_disk'] ?? false;
  if (words.onDisk !== undefined && words.onDisk !== onDisk) {
    up.push({ body: { on_disk: words.onDisk }, why: restored });
    down.push({ on_disk: onDisk });
  }
  return { up, down };
}

/** What of `wanted` is not there, the values it takes the place of, and the names that had none to go back to. */
function difference(wanted: Body, there: Body): { set: Record<string, unknown>; back: Body; lost: readonly string[] } {
  const before = (key: string, m: unknown): unknown => there[key] ?? (key === 'payload_m' ? m : whenUnset[key]);
  const old = (key: string): unknown => before(key, there['m']);
  // What follows another setting where it is not set follows the new one.
  const keys = Object.keys(wanted).filter(
    (key) => !isDeepStrictEqual(wanted[key], before(key, wanted['m'] ?? there['m'])),
  );
  const back = keys.filter((key) => old(key) !== undefined);
  return {
    set: Object.fromEntries(keys.map((key) => [key, wanted[key]])),
    back: Object.fromEntries(back.map((key) => [key, old(key)])),
    lost: keys.filter((key) => old(key) === undefined),
  };
}

/** One `{scalar: {…}}` as Qdrant shows it and as the file has it: members that are null are not there. */
function isSame(one: unknown, other: unknown): boolean {
  const plain = (value: unknown): unknown =>
    value === null
      ? null
      : Object.fromEntries(Object.entries(bodyOf(value)).map(([kind, inner]) => [kind, withoutNulls(bodyOf(inner))]));
  return isDeepStrictEqual(plain(one), plain(other));
}

function bodyOf(value: unknown): Body {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** What a change means to searches, a member `index` of an event each: of the collection, then of its vectors. */
export function indexesIn({ vectors, ...own }: Body): readonly Body[] {
  const each = Object.entries(bodyOf(vectors ?? {})).map(([vector, body]) => [{ vector }, bodyOf(body)] as const);
  return [[{}, own] as const, ...each].flatMap(([named, { hnsw_config: hnsw, quantization_config: quantization }]) => {
    const { m, ef_construct: efConstruction } = bodyOf(hnsw ?? {});
    const isSame = m === undefined && efConstruction === undefined;
    if (isSame && quantization === undefined) return [];
    const to = isSame ? {} : { to: withoutNulls({ kind: 'hnsw', m, efConstruction }) };
    const wanted = quantization === 'Disabled' ? null : quantization;
    return [{ ...named, ...to, ...(wanted !== undefined && { quantization: wanted }) }];
  });
}
