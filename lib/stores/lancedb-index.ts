import { Index, type Table } from '@lancedb/lancedb';
import { Incompatible } from '../errors.ts';
import type { CollectionSchema, Distance, VectorIndex, VectorSpec } from '../schema.ts';
import type { Layout } from './lancedb-layout.ts';
import type { Options } from './lancedb-options.ts';
import type { IndexProgress } from './port.ts';

/** What LanceDB searches by when a query does not say (its documentation of VectorQuery.distanceType). */
export const defaultDistance = 'euclid' as const;
/** Adds what the table does not say in its schema: the distance and kind of an index that somebody else built. */
export async function withIndex(
  table: Table,
  column: string,
  spec: VectorSpec,
  layout: Layout,
  options: Options,
): Promise<VectorSpec> {
  if (layout.isOurs) return spec;
  const index = (await table.listIndices()).find(({ columns }) => columns[0] === column);
  const stats = index === undefined ? undefined : await table.indexStats(index.name);
  const distance = distanceNames[stats?.distanceType ?? ''] ?? options.distance;
  return {
    ...spec,
    ...(distance === undefined ? {} : { distance }),
    ...(index === undefined ? {} : { index: indexKind(index.indexType) }),
  };
}

const distanceNames: Readonly<Record<string, Distance>> = { l2: 'euclid', cosine: 'cosine', dot: 'dot' };
const lanceDistances = { cosine: 'cosine', dot: 'dot', euclid: 'l2', manhattan: undefined } as const;

function indexKind(type: string): VectorIndex {
  if (/hnsw/i.test(type)) return { kind: 'hnsw' };
  return /ivf_?flat/i.test(type) ? { kind: 'ivfflat' } : { kind: 'other', name: type };
}

export function lanceDistance(spec: VectorSpec): 'l2' | 'cosine' | 'dot' {
  const distance = lanceDistances[spec.distance ?? defaultDistance];
  if (distance === undefined)
    throw new Incompatible(`LanceDB has no distance '${spec.distance}'; it has cosine, dot and euclid`);
  return distance;
}

/**
 * Joins the fragments that the writes left, and builds the indexes here and now: LanceDB is embedded, there is no
 * server that would go on with it. An index that is there and holds all records is kept.
 */
export async function buildIndex(
  table: Table,
  layout: Layout,
  schema: CollectionSchema,
  options: Options,
): Promise<void> {
  await table.optimize();
  const rows = await table.countRows();
  if (rows >= options.indexFrom) {
    await buildOnce(table, layout.idColumn, () => Index.btree());
    for (const { column, spec } of indexedVectors(layout, schema))
      await buildOnce(table, column, () => vectorIndex(spec));
  }
  for (const { field } of schema.payloadIndexes) {
    if (rows > 0 && layout.fields.some(({ name }) => name === field))
      await buildOnce(table, field, () => Index.btree());
  }
}

async function buildOnce(table: Table, column: string, make: () => Index): Promise<void> {
  const index = (await table.listIndices()).find(({ columns }) => columns[0] === column);
  const stats = index === undefined ? undefined : await table.indexStats(index.name);
  if (stats !== undefined && stats.numUnindexedRows === 0) return;
  await table.createIndex(column, { config: make(), replace: true });
}

/** Vectors that get an index: those whose schema has one of a kind that LanceDB knows, and those that say nothing. */
function indexedVectors(
  layout: Layout,
  schema: CollectionSchema,
): readonly { readonly column: string; readonly spec: VectorSpec }[] {
  return layout.vectors.flatMap(({ column, spec }) => {
    const asked = schema.vectors.find(({ name }) => name === spec.name) ?? spec;
    return asked.index?.kind === 'none' ? [] : [{ column, spec: asked }];
  });
}

function vectorIndex(spec: VectorSpec): Index {
  const distanceType = lanceDistance(spec);
  const { index } = spec;
  if (index?.kind === 'ivfflat')
    return Index.ivfFlat({ distanceType, ...(index.lists === undefined ? {} : { numPartitions: index.lists }) });
  if (index?.kind === 'other' && /pq/i.test(index.name))
    return /hnsw/i.test(index.name) ? Index.hnswPq({ distanceType }) : Index.ivfPq({ distanceType });
  const { m, efConstruction } = index?.kind === 'hnsw' ? index : {};
  return Index.hnswSq({
    distanceType,
    ...(m === undefined ? {} : { m }),
    ...(efConstruction === undefined ? {} : { efConstruction }),
  });
}

export async function indexProgress(
  table: Table,
  layout: Layout,
  schema: CollectionSchema,
  options: Options,
): Promise<IndexProgress> {
  const rows = await table.countRows();
  const vectors = indexedVectors(layout, schema);
  if (rows < options.indexFrom || vectors.length === 0)
    return {
      done: true,
      detail: `${rows} records are searched exactly; an index is built from ${options.indexFrom} on`,
    };
  const indices = await table.listIndices();
  let indexed = 0;
  for (const { column } of vectors) {
    const index = indices.find(({ columns }) => columns[0] === column);
    indexed += index === undefined ? 0 : ((await table.indexStats(index.name))?.numIndexedRows ?? 0);
  }
  const fraction = indexed / (rows * vectors.length);
  return {
    done: fraction >= 1,
    fraction: Math.min(1, fraction),
    detail: `${indexed} of ${rows * vectors.length} vectors indexed`,
  };
}
