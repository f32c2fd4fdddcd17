import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { Incompatible, NotFound } from '../../errors.ts';
import { plural } from '../../words.ts';
import type { IndexedNow, IndexForm, IndexSide, IndexTarget } from '../index-port.ts';
import { indexStands } from '../place-stands.ts';
import type { IndexProgress, Pointer, Store } from '../port.ts';
import type { Admin } from './admin.ts';
import { readProgress } from './index.ts';
import { type CollectionInfo, denseOf, vectorParametersOf, vectorsOf } from './settings.ts';

/**
 * Another HNSW graph or quantization of one vector, in its own collection: PATCH /collections/{name} changes the settings, and the
 * optimizer rebuilds each segment whose graph or codes do not fit them, while the old segment is searched
 * (qdrant.tech/documentation/concepts/collections, "Update vector parameters"; "config mismatch" optimizer in Qdrant's source, which goes by m,
 * ef_construct, on_disk and the quantization, and leaves segments without a graph alone). Readers use the new index segment by segment, as it is built; the way
 * back is another PATCH and another rebuild.
 */
export function indexSideOfQdrant(
  admin: Admin,
  { side, run, vector: named, to, from }: IndexSide,
  looks: Looks = {},
): Pick<Store, 'prepare' | 'buildIndex' | 'indexProgress' | 'pointer' | 'drop'> & { readonly indexes: IndexTarget } {
  const vectorOf = (info: CollectionInfo): string => named ?? onlyVector(admin.collection, info);
  const wanted = side === 'source' ? from : to;
  const change = async (form: IndexForm): Promise<void> => {
    const info = await admin.info();
    const body = changeBody(info, vectorOf(info), form, admin.collection);
    // An update of nothing wakes an optimizer that sleeps since the server's start.
    if (body !== undefined) await admin.update(body);
    else if (info.status === 'grey') await admin.update({ optimizers_config: {} });
  };
  return {
    prepare: async () => {},
    buildIndex: async () => await change(requireForm(wanted)),
    indexProgress: async () => await readChange(admin, vectorOf, requireForm(wanted), looks),
    pointer: pointerOf(admin, { run, to, from }, vectorOf, change),
    // The old graph went as the new one was built.
    drop: async () => ({
      name: indexStands.old,
      what: `the old index of collection '${admin.collection}'`,
      isThere: false,
    }),
    indexes: {
      now: async () => {
        const info = await admin.info();
        return nowOf(info, vectorOf(info), await admin.count(), admin.collection);
      },
      check: async (form) => {
        const info = await admin.info();
        // The old one is gone as the new one is built.
        return { notes: checkChange(info, vectorOf(info), form, admin.collection), oldAsked: 'before' };
      },
      // Qdrant tells no size of a graph.
      sizes: async () => ({}),
      used: async () => {
        const info = await admin.info();
        return usedOf(info, vectorOf(info), { to, from });
      },
    },
  };
}

export interface Looks {
  /** Times that a collection must be found at rest before its rebuild is said to be over, and milliseconds between them. */
  readonly times?: number;
  readonly everyMs?: number;
}

function requireForm(form: IndexForm | undefined): IndexForm {
  if (form === undefined) throw new Error('an index is changed before it was planned');
  return form;
}

/** @throws Incompatible where there are several, NotFound where there is none */
function onlyVector(collection: string, info: CollectionInfo): string {
  const [only, ...others] = vectorsOf(info).filter(({ kind }) => kind === 'dense');
  if (only === undefined)
    throw new NotFound(`collection '${collection}' has no dense vector, so no index to change`, { ids: [collection] });
  if (others.length === 0) return only.name;
  const names = [only, ...others].map(({ name }) => `'${name}'`).join(', ');
  throw new Incompatible(`collection '${collection}' has the vectors ${names}; say in index.vector which`, {
    ids: ['index.vector'],
  });
}

function nowOf(info: CollectionInfo, vector: string, records: number, collection: string): IndexedNow {
  const spec = vectorsOf(info).find(({ name, kind }) => name === vector && kind === 'dense');
  if (spec === undefined)
    throw new NotFound(`collection '${collection}' has no dense vector '${vector}'`, { ids: [vector] });
  if (spec.index === undefined || spec.index.kind === 'none') {
    const text = `vector '${vector}' of collection '${collection}' has no graph (its m is 0), so there is no index to change`;
    throw new Incompatible(`${text}; give it one where the collection is made`, { ids: [vector] });
  }
  const { dimension = 0, distance = 'cosine', index } = spec;
  return { vector, records, dimension, distance, index, quantization: formIn(info, vector).quantization };
}

/** What the search of a vector goes by, whether it stands at the vector or at the collection. */
function formIn(info: CollectionInfo, vector: string): { m: unknown; ef: unknown; quantization: Quantization | null } {
  const { hnsw, quantization } = vectorParametersOf(info, vector);
  return { m: hnsw.m, ef: hnsw.ef_construct, quantization: bare(quantization ?? null) };
}

type Quantization = Readonly<Record<string, unknown>>;

/** Without members that are null, which Qdrant may or may not answer: `{scalar: {type, quantile: null}}`. */
function bare(quantization: Quantization | null): Quantization | null {
  if (quantization === null) return null;
  const strip = (_key: string, value: unknown): unknown => (value === null ? undefined : value);
  const made: Quantization = JSON.parse(JSON.stringify(quantization), strip);
  return made;
}

const edgesOf = ({ index }: IndexForm) => ({
  ...(index.kind === 'none' && { m: 0 }),
  ...(index.kind === 'hnsw' && index.m !== undefined && { m: index.m }),
  ...(index.kind === 'hnsw' && index.efConstruction !== undefined && { ef_construct: index.efConstruction }),
});

/** @param how holds: of quantization it is enough that what is wanted is there, since a server may answer its defaults besides */
function isAs(info: CollectionInfo, vector: string, form: IndexForm, how: 'is' | 'holds'): boolean {
  const there = formIn(info, vector);
  const { m, ef_construct: ef } = edgesOf(form);
  if ((m !== undefined && m !== there.m) || (ef !== undefined && ef !== there.ef)) return false;
  if (form.quantization === undefined) return true;
  const wanted = bare(form.quantization);
  return isDeepStrictEqual(wanted, there.quantization) || (how === 'holds' && holds(there.quantization, wanted));
}

function holds(there: unknown, wanted: unknown): boolean {
  if (!isRecord(there) || !isRecord(wanted)) return isDeepStrictEqual(there, wanted);
  return Object.entries(wanted).every(([name, value]) => holds(there[name], value));
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * What PATCH is given, so that this vector has the form and no other vector changes; undefined: it has it. A collection with one vector is
 * changed where its settings stand, one with several at the vector, whose own settings win over the collection's.
 * @see https://api.qdrant.tech/api-reference/collections/update-collection: the unnamed vector is ''; "Disabled" takes quantization off
 */
export function changeBody(
  info: CollectionInfo,
  vector: string,
  form: IndexForm,
  collection: string,
): Record<string, unknown> | undefined {
  if (isAs(info, vector, form, 'is')) return undefined;
  const hnsw = hnswChange(info, vector, form);
  const quantization = quantizationChange(info, vector, form, collection);
  const atVector = { ...hnsw.atVector, ...quantization.atVector };
  const vectors = Object.keys(atVector).length === 0 ? {} : { vectors: { [vector]: atVector } };
  return { ...hnsw.atCollection, ...quantization.atCollection, ...vectors };
}

/** Where settings are put. */
interface Change {
  readonly atVector?: Readonly<Record<string, unknown>>;
  readonly atCollection?: Readonly<Record<string, unknown>>;
}

const isAlone = (info: CollectionInfo): boolean => Object.keys(denseOf(info.config.params.vectors)).length === 1;

function hnswChange(info: CollectionInfo, vector: string, form: IndexForm): Change {
  const edges = edgesOf(form);
  if (isAs(info, vector, { index: form.index }, 'is')) return {};
  const { m, ef_construct: ef } = denseOf(info.config.params.vectors)[vector]?.hnsw_config ?? {};
  const isOwn = !isAlone(info) || typeof m === 'number' || typeof ef === 'number';
  return isOwn ? { atVector: { hnsw_config: edges } } : { atCollection: { hnsw_config: edges } };
}

/** @throws Incompatible where other vectors would lose theirs */
function quantizationChange(info: CollectionInfo, vector: string, form: IndexForm, collection: string): Change {
  if (form.quantization === undefined) return {};
  const wanted = bare(form.quantization);
  const own = bare(denseOf(info.config.params.vectors)[vector]?.quantization_config ?? null);
  const shared = bare(info.config.quantization_config ?? null);
  if (isDeepStrictEqual(wanted, own ?? shared)) return {};
  const word = wanted ?? 'Disabled';
  if (isAlone(info)) {
    if (own === null) return { atCollection: { quantization_config: word } };
    // Taken off the vector alone it would be the collection's again.
    const both = wanted === null && shared !== null;
    return {
      atVector: { quantization_config: word },
      ...(both && { atCollection: { quantization_config: word } }),
    };
  }
  if (isDeepStrictEqual(wanted, shared)) return { atVector: { quantization_config: 'Disabled' } };
  if (wanted === null) throw sharedQuantization(vector, collection);
  return { atVector: { quantization_config: wanted } };
}

function sharedQuantization(vector: string, collection: string): Incompatible {
  const text = `index.quantization null: the quantization of vector '${vector}' is that of collection '${collection}', which its other vectors share, and Qdrant cannot take it off one of them`;
  return new Incompatible(
    `${text}; give the vector a quantization of its own, or move into a collection with other settings`,
    {
      ids: ['index.quantization'],
    },
  );
}

/** @see https://qdrant.tech/documentation/guides/quantization: the kinds, and what product's compression may be */
const quantizations: Readonly<Record<string, (settings: Readonly<Record<string, unknown>>) => string | undefined>> = {
  scalar: ({ type }) => (type === 'int8' ? undefined : `scalar.type is ${JSON.stringify(type)} and must be "int8"`),
  product: ({ compression }) =>
    ['x4', 'x8', 'x16', 'x32', 'x64'].includes(String(compression))
      ? undefined
      : `product.compression is ${JSON.stringify(compression)} and must be x4, x8, x16, x32 or x64`,
  binary: () => undefined,
  turbo: () => undefined,
};

function quantizationProblem(given: Quantization | null | undefined): string | undefined {
  if (given === null || given === undefined) return undefined;
  const [[kind = '', settings] = [], ...others] = Object.entries(given);
  const check = Object.hasOwn(quantizations, kind) ? quantizations[kind] : undefined;
  if (check === undefined || others.length > 0 || !isRecord(settings))
    return `index.quantization is ${JSON.stringify(given)}; it is one of {"scalar": …}, {"product": …}, {"binary": …}, {"turbo": …}, or null for none`;
  const wrong = check(settings);
  return wrong === undefined ? undefined : `index.quantization: ${wrong}`;
}

/** @throws Incompatible with every reason against it */
function checkChange(info: CollectionInfo, vector: string, form: IndexForm, collection: string): readonly string[] {
  const { max_optimization_threads: threads, indexing_threshold: threshold } = info.config.optimizer_config;
  const problem = quantizationProblem(form.quantization);
  const reasons = [
    ...(form.index.kind === 'hnsw' ? [] : [`index.to: Qdrant has no ${form.index.kind} index`]),
    ...(problem === undefined ? [] : [problem]),
    ...(threads === 0
      ? [
          `the optimizer of collection '${collection}' is off (max_optimization_threads 0), so nothing would be rebuilt; switch it on first`,
        ]
      : []),
    ...(threshold === 0
      ? [
          `collection '${collection}' builds no index (indexing_threshold 0), as while it is loaded; let it build one first`,
        ]
      : []),
  ];
  if (reasons.length > 0) throw new Incompatible(reasons.join('; '), { ids: ['index'] });
  // Says what cannot be asked for.
  changeBody(info, vector, form, collection);
  const indexed = info.indexed_vectors_count ?? 0;
  return [
    'Qdrant has one index a vector: the new one replaces the old one segment by segment as it is built, and readers use it from then on, before it is validated. A segment is searched by its old index while it is rebuilt, and is on disk twice meanwhile. A run that does not pass takes the change back, unless the new index finds no less.',
    'What the old index finds is asked before; the way back is to rebuild it with its old settings, which takes as long as the change.',
    ...(indexed === 0
      ? [
          `No segment of collection '${collection}' is large enough to have a graph (indexing_threshold ${threshold ?? 0} kB): its records are searched one by one, and neither graph nor quantization changes what is found.`,
        ]
      : []),
  ];
}

function usedOf(
  info: CollectionInfo,
  vector: string,
  { to, from }: Pick<IndexSide, 'to' | 'from'>,
): 'old' | 'new' | undefined {
  for (const how of ['is', 'holds'] as const) {
    if (to !== undefined && isAs(info, vector, to, how)) return 'new';
    if (from !== undefined && isAs(info, vector, from, how)) return 'old';
  }
  return undefined;
}

/** Whether the settings are there, and every segment is as they say: green means that no optimizer has anything left to do. */
async function readChange(
  admin: Admin,
  vectorOf: (info: CollectionInfo) => string,
  form: IndexForm,
  { times = 4, everyMs = 750 }: Looks,
): Promise<IndexProgress> {
  for (let look = 1; ; look++) {
    const info = await admin.info();
    if (!isAs(info, vectorOf(info), form, 'holds'))
      return { done: false, fraction: 0, detail: 'the settings are not there yet', isStalled: true };
    const progress = await readProgress(admin);
    const rebuild = await admin.optimizations();
    if (!progress.done || (rebuild !== undefined && rebuild.left > 0)) return rebuilding(progress, rebuild, info);
    // Right after the change a collection may be found at rest before its optimizer has looked: a cluster answers PATCH at once, and makes its
    // optimizers anew in the background (github.com/qdrant/qdrant/pull/9121).
    if (look >= times) return progress;
    await sleep(everyMs);
  }
}

function rebuilding(
  { detail, isStalled }: IndexProgress,
  rebuild: Awaited<ReturnType<Admin['optimizations']>>,
  info: CollectionInfo,
): IndexProgress {
  const stalled = isStalled === undefined ? {} : { isStalled };
  // A segment counts as indexed while it is rebuilt.
  if (rebuild === undefined) return { done: false, fraction: 0, detail: `rebuilding; ${detail ?? ''}`, ...stalled };
  const points = Math.max(1, info.points_count ?? 0);
  const fraction = Math.max(0, Math.min(1, 1 - rebuild.left / points));
  const left = `about ${plural(Math.round(rebuild.left), 'record')} left to rebuild`;
  return { done: false, fraction, detail: `${left}; ${detail ?? ''}`, ...stalled };
}

/** What readers use follows the settings: to move it is to change them. */
function pointerOf(
  admin: Admin,
  { run, to, from }: Pick<IndexSide, 'run' | 'to' | 'from'>,
  vectorOf: (info: CollectionInfo) => string,
  change: (form: IndexForm) => Promise<void>,
): Pointer {
  return {
    read: async () => {
      const info = await admin.info();
      const used = usedOf(info, vectorOf(info), { to, from });
      return used === 'new' ? indexStands.made(run) : indexStands.old;
    },
    move: async (_name, place) => await change(requireForm(place === indexStands.made(run) ? to : from)),
  };
}
