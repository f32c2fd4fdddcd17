import { InvalidEvent } from '../../errors.ts';
import type { StoreKind } from '../../stores/port.ts';
import type { Wanted } from './planner.ts';
import type { Change, HnswWords, VectorWords } from './words.ts';

/** What of a collection file a store has not, and what is done there instead. */

type Instead<T> = Readonly<Partial<Record<keyof T, string>>>;

const onlyQdrant = 'it is a setting of Qdrant';
const general: Instead<Change> = {
  sparse: 'sparse vectors are made by a SQL migration (pgvector), or not at all',
  hnsw: 'say it of the vector: vectors: {NAME: {hnsw: {m, efConstruction}}}',
  optimizers: onlyQdrant,
  quantization: onlyQdrant,
  onDiskPayload: onlyQdrant,
  shardNumber: onlyQdrant,
  replicationFactor: onlyQdrant,
  writeConsistencyFactor: onlyQdrant,
  wait: 'every step here returns once it is done',
};

const refused: Readonly<Record<string, Instead<Change>>> = {
  chroma: {
    ...general,
    columns: 'a record has any metadata',
    idType: 'ids are texts',
    payloadIndexes: 'every metadata field is indexed',
    aliases: 'Chroma has no aliases; readers follow a routing flag (docs/cutover.md)',
  },
  lancedb: {
    ...general,
    columns: 'a table that is made here keeps payload in a column of JSON',
    payloadIndexes: "build scalar indexes with LanceDB's own create_index",
    aliases: 'LanceDB has no aliases; readers follow a routing flag (docs/cutover.md)',
  },
  pgvector: general,
};

const vectorRefused: Instead<VectorWords> = {
  multi: 'a record has one vector of a name',
  quantization: onlyQdrant,
  onDisk: onlyQdrant,
};
const hnswRefused: Instead<HnswWords> = {
  fullScanThreshold: onlyQdrant,
  maxIndexingThreads: onlyQdrant,
  onDisk: onlyQdrant,
  payloadM: onlyQdrant,
};

/** @throws InvalidEvent naming the field, and what to do instead */
export function refuseWhatIsNot(kind: StoreKind, { name: collection, change, file }: Wanted): void {
  const { name, title, capabilities } = kind;
  const refuse = (field: string, instead: string): never => {
    throw new InvalidEvent(`${file.path}: ${field} of '${collection}' is not for ${title}: ${instead}`, {
      ids: [field],
    });
  };
  const look = (given: object, not: Readonly<Record<string, string>>, path: string): void => {
    for (const [field, value] of Object.entries(given)) {
      const instead = not[field];
      if (value !== undefined && instead !== undefined) refuse(`${path}${field}`, instead);
    }
  };
  look(change, refused[name] ?? general, '');
  const vectors = Object.entries(change.vectors ?? {});
  if (vectors.length > 1 && !capabilities.severalVectors) refuse('vectors', 'a record has one vector');
  for (const [vector, words] of vectors) {
    const path = `vectors.${vector}.`;
    look(words, vectorRefused, path);
    look(words.hnsw ?? {}, hnswRefused, `${path}hnsw.`);
    refuseVector(kind, words, (field, instead) => refuse(`${path}${field}`, instead));
  }
}

function refuseVector(
  { name, capabilities }: StoreKind,
  { size, distance, precision, index, hnsw }: VectorWords,
  refuse: (field: string, instead: string) => never,
): void {
  const isOneOf = (field: string, value: string | undefined, taken: readonly string[]): void => {
    if (value !== undefined && !taken.includes(value)) refuse(field, `'${value}' is none of ${taken.join(', ')}`);
  };
  if (index !== undefined && hnsw !== undefined) refuse('index', '"hnsw" says it already; leave one out');
  if (hnsw?.efSearch !== undefined && name !== 'chroma')
    refuse('hnsw.efSearch', 'a search says it, or `vecferry tune` keeps it');
  isOneOf('index.kind', index?.kind, [...capabilities.indexes, 'none']);
  isOneOf('distance', distance, capabilities.distances);
  isOneOf('precision', precision, capabilities.precisions);
  if (size !== undefined && size > capabilities.maxDimension)
    refuse('size', `${size} is above ${capabilities.maxDimension}`);
}
