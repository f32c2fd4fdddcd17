import { Incompatible } from '../../errors.ts';
import type { VectorSpec } from '../../schema.ts';
import type { MigratedStore } from '../port.ts';
import type { Change, VectorWords } from './words.ts';

/** What of a change needs another collection, and the event of the run that makes it. */

type Words = Record<string, unknown>;

/** Why the collection has to be copied, a sentence part each; none where it is changed in place. */
export function reasonsToCopy(change: Change, vectors: readonly VectorSpec[], shards?: unknown): readonly string[] {
  const there = new Map(vectors.map((spec) => [spec.name, spec]));
  const reasons = Object.entries(change.vectors ?? {}).flatMap(([name, words]): string[] => {
    const spec = there.get(name);
    const called = name === '' ? 'the vector' : `vector '${name}'`;
    if (spec === undefined) return [`${called} is not there`];
    return [
      ...changed(called, 'size', spec.dimension, words.size),
      ...changed(called, 'distance', spec.distance, words.distance),
      ...changed(called, 'precision', spec.precision, words.precision),
      ...changed(called, 'multi', spec.kind === 'multi', words.multi),
    ];
  });
  const missing = Object.keys(change.sparse ?? {}).filter((name) => there.get(name)?.kind !== 'sparse');
  return [
    ...reasons,
    ...missing.map((name) => `sparse vector '${name}' is not there`),
    ...changed('the collection', 'shardNumber', shards, change.shardNumber),
  ];
}

function changed(what: string, field: string, there: unknown, wanted: unknown): string[] {
  return wanted === undefined || wanted === there ? [] : [`${what} has ${field} ${there} instead of ${wanted}`];
}

export interface CopyInput {
  readonly store: MigratedStore;
  readonly change: Change;
  /** As they are. */
  readonly vectors: readonly VectorSpec[];
  /** The target's options, in the store's words; left out: Qdrant's. */
  readonly options?: Words;
  readonly from: string;
  readonly to: string;
  readonly pointer: string;
}

/** @throws Incompatible where a vector cannot be had from what is there */
export function copyEvent(input: CopyInput): Words {
  const { store, change, from, to, pointer, options = optionsOf(change) } = input;
  const { embed, mapping, model, validate, parallel } = change.copy ?? {};
  const endpoint = { store: store.store, connection: store.connection };
  const vectors: Words = {};
  const there = new Map(input.vectors.map((spec) => [spec.name, spec]));
  for (const [name, words] of Object.entries(change.vectors ?? {})) {
    const spec = there.get(name);
    const isEmbedded =
      embed !== undefined && (embed.vector === name || (embed.vector === undefined && there.size === 1));
    const rule = ruleOf(name, words, spec, isEmbedded);
    if (Object.keys(rule).length > 0) vectors[name] = { ...rule, ...mapping?.vectors[name] };
  }
  for (const name of Object.keys(change.sparse ?? {}))
    if (!there.has(name))
      throw new Incompatible(
        `sparse vector '${name}' cannot be made from what the records have; make the collection anew and load it with its sparse vectors`,
        { ids: [name] },
      );
  const isCut = Object.values(change.vectors ?? {}).some(({ matryoshka }) => matryoshka === true);
  const made = isCut ? { name: `that of ${from}`, ...model, isMatryoshka: true } : model;
  return {
    source: { ...endpoint, collection: from, options: transportOf(store.options), ...(made && { model: made }) },
    target: { ...endpoint, collection: to, options: { ...transportOf(store.options), ...options } },
    mapping: { ...mapping, vectors: { ...mapping?.vectors, ...vectors } },
    ...(embed && { embed }),
    ...(validate === undefined ? {} : { validate: { ...validate } }),
    ...(parallel && { parallel }),
    cutover: { pointer },
  };
}

/** The rule of the event's mapping that makes the wanted vector of the one there is. */
function ruleOf(name: string, words: VectorWords, spec: VectorSpec | undefined, isEmbedded: boolean): Words {
  const called = name === '' ? 'the vector' : `vector '${name}'`;
  const embedding = 'say under copy.embed how it is made of a text ("text" and "model", as an event\'s embed)';
  if (spec === undefined) {
    if (isEmbedded) return {};
    throw new Incompatible(`${called} is not there, and records cannot get it from nothing; ${embedding}`, {
      ids: [name],
    });
  }
  if (words.multi !== undefined && words.multi !== (spec.kind === 'multi'))
    throw new Incompatible(
      `${called} is ${spec.kind}, and what its records have cannot become ${words.multi ? 'several vectors' : 'one'}; make the collection anew and load it`,
      { ids: [name] },
    );
  const { size, distance, precision } = words;
  const isSmaller = size !== undefined && spec.dimension !== undefined && size < spec.dimension;
  if (size !== undefined && size !== spec.dimension && !isEmbedded && !(isSmaller && words.matryoshka === true)) {
    const first = `${called} has ${spec.dimension} floats, and ${size} are wanted`;
    const cut = isSmaller ? `; where its model was trained for it, "matryoshka: true" keeps the first ${size}` : '';
    throw new Incompatible(`${first}: ${embedding}${cut}`, { ids: [name] });
  }
  return {
    ...(isSmaller && !isEmbedded ? { dimensions: size } : {}),
    ...(distance !== undefined && distance !== spec.distance ? { distance } : {}),
    ...(precision !== undefined && precision !== spec.precision ? { precision } : {}),
  };
}

/** How the records travel is the store's; what the collection is like is said by the file. */
const transportOf = (options: MigratedStore['options']): Words => {
  const transport = options['transport'];
  return transport === undefined ? {} : { transport };
};

/** What the target of the run is made with at once; `leftOf` has the rest. */
function optionsOf(change: Change): Words {
  const { hnsw, optimizers, vectors = {} } = change;
  const own = Object.entries(vectors).flatMap(([name, { hnsw: words }]) => {
    const { m, efConstruction } = words ?? {};
    return m === undefined && efConstruction === undefined ? [] : [[name, defined({ m, efConstruction })] as const];
  });
  const { m, efConstruction, fullScanThreshold, onDisk, payloadM } = hnsw ?? {};
  const { indexingThreshold, memmapThreshold, maxSegmentSize, defaultSegmentNumber } = optimizers ?? {};
  return defined({
    hnsw: {
      ...defined({ m, efConstruction, fullScanThreshold, onDisk, payloadM }),
      ...(own.length === 0 ? {} : { vectors: Object.fromEntries(own) }),
    },
    optimizers: defined({
      // 0, no graph at all, is no option of a load: it is set once the copy is there.
      indexingThreshold: indexingThreshold === 0 ? undefined : indexingThreshold,
      memmapThreshold,
      maxSegmentSize,
      defaultSegmentNumber,
    }),
    quantization: change.quantization,
    onDiskPayload: change.onDiskPayload,
    shardNumber: change.shardNumber,
    replicationFactor: change.replicationFactor,
    writeConsistencyFactor: change.writeConsistencyFactor,
    payloadIndexes: {
      ...change.payloadIndexes,
      ...Object.fromEntries((change.drop?.payloadIndexes ?? []).map((field) => [field, null])),
    },
  });
}

/** What of the change the options of a store have no word for: it is set once the copy is there. */
export function leftOf(change: Change): Change {
  const vectors = Object.entries(change.vectors ?? {}).map(([name, { hnsw, quantization, onDisk }]) => {
    const { m: _m, efConstruction: _ef, ...others } = hnsw ?? {};
    return [name, defined({ hnsw: others, quantization, onDisk })] as const;
  });
  const { maxIndexingThreads } = change.hnsw ?? {};
  const {
    indexingThreshold,
    memmapThreshold: _m,
    maxSegmentSize: _s,
    defaultSegmentNumber: _n,
    ...optimizers
  } = change.optimizers ?? {};
  return {
    vectors: Object.fromEntries(vectors),
    ...(change.sparse && { sparse: change.sparse }),
    hnsw: defined({ maxIndexingThreads }),
    optimizers: { ...optimizers, ...(indexingThreshold === 0 ? { indexingThreshold } : {}) },
  };
}

function defined<T extends Words>(words: T): T {
  const kept: T = { ...words };
  for (const [key, value] of Object.entries(words)) if (value === undefined) delete kept[key];
  return kept;
}
