import { Index, type IndexConfig, type Table } from '@lancedb/lancedb';
import { z } from 'zod';
import { Incompatible } from '../../errors.ts';
import { type Patience, patiently } from '../../patiently.ts';
import type { CollectionSchema, Distance, PayloadIndex, VectorIndex, VectorSpec } from '../../schema.ts';
import { count, plural } from '../../words.ts';
import type { IndexProgress } from '../port.ts';
import type { Layout } from './layout.ts';
import type { Options } from './options.ts';

/** What LanceDB searches by when a query does not say (its documentation of VectorQuery.distanceType). */
export const defaultDistance = 'euclid' as const;

/** Adds what the table does not say in its schema: the distance and settings of an index that somebody else built. */
export async function withIndex(
  table: Table,
  column: string,
  spec: VectorSpec,
  layout: Layout,
  options: Options,
): Promise<VectorSpec> {
  if (layout.isOurs) return spec;
  const index = await indexOn(table, column);
  const details = detailsSchema.safeParse(index?.indexDetails).data;
  const distance = distanceNames[details?.metric_type ?? ''] ?? options.distance;
  return {
    ...spec,
    ...(distance === undefined ? {} : { distance }),
    ...(index === undefined ? {} : { index: indexKind(index.indexType, details) }),
  };
}

/** Payload indexes of a table that was made elsewhere. */
export async function payloadIndexes(table: Table, layout: Layout): Promise<PayloadIndex[]> {
  const indexes = await table.listIndices();
  return indexes.flatMap(({ columns: [field], indexType }) =>
    layout.fields.some(({ name }) => name === field) ? [{ field: field ?? '', type: indexType }] : [],
  );
}

/** What LanceDB tells about a vector index, as far as we use it. */
const detailsSchema = z.object({
  metric_type: z.string().optional(),
  hnsw: z.object({ construction_ef: z.int().optional(), max_connections: z.int().optional() }).nullish(),
});
const distanceNames: Readonly<Record<string, Distance>> = { L2: 'euclid', COSINE: 'cosine', DOT: 'dot' };
const lanceDistances = { cosine: 'cosine', dot: 'dot', euclid: 'l2', manhattan: undefined } as const;

/** The index on a column, if there is one. */
export async function indexOn(table: Table, column: string): Promise<IndexConfig | undefined> {
  return (await table.listIndices()).find(({ columns }) => columns[0] === column);
}

function indexKind(type: string, details: z.infer<typeof detailsSchema> | undefined): VectorIndex {
  if (/ivf_?flat/i.test(type)) return { kind: 'ivfflat' };
  if (!/hnsw/i.test(type)) return { kind: 'other', name: type };
  const { max_connections: m, construction_ef: efConstruction } = details?.hnsw ?? {};
  return {
    kind: 'hnsw',
    ...(m === undefined ? {} : { m }),
    ...(efConstruction === undefined ? {} : { efConstruction }),
  };
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
  // Fragments that stay apart cost time and no record: where the application never pauses for long enough, the indexes are built over them.
  await patiently(() => table.optimize(), besideWriters).catch((error: unknown) => {
    if (!isPreempted(error)) throw error;
  });
  const rows = await table.countRows();
  if (rows >= options.indexFrom) {
    await buildOnce(table, layout.idColumn, () => Index.btree());
    for (const { column, spec } of indexedVectors(layout, schema))
      await buildOnce(table, column, () => vectorIndex(spec));
  }
  for (const { field, type } of schema.payloadIndexes) {
    if (rows > 0 && layout.fields.some(({ name }) => name === field))
      await buildOnce(table, field, () => scalarIndex(type));
  }
}

async function buildOnce(table: Table, column: string, make: () => Index): Promise<void> {
  if ((await indexOn(table, column))?.numUnindexedRows === 0) return;
  await patiently(() => table.createIndex(column, { config: make(), replace: true }), besideWriters);
}

const isPreempted = (error: unknown): boolean => /retryable commit conflict/i.test(String(error));

/** Lance gives up a commit over fragments that an application writes to meanwhile, and asks for another try, which reads the newer version. */
const besideWriters: Patience = { tries: 8, firstPauseMs: 25, isPassing: isPreempted };

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

/** An index of LanceDB's own kinds stays of its kind; any other becomes a sorted one. */
function scalarIndex(type: string): Index {
  if (/^bitmap$/i.test(type)) return Index.bitmap();
  if (/^label_?list$/i.test(type)) return Index.labelList();
  return /^(fts|inverted)$/i.test(type) ? Index.fts() : Index.btree();
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
      detail: `${plural(rows, 'record')} ${rows === 1 ? 'is' : 'are'} searched exactly; an index is built from ${count(options.indexFrom)} on`,
    };
  let [indexed, left] = [0, 0];
  for (const { column } of vectors) {
    const index = await indexOn(table, column);
    indexed += index?.numIndexedRows ?? 0;
    left += index?.numUnindexedRows ?? rows;
  }
  const fraction = indexed / Math.max(1, indexed + left);
  return { done: left === 0, fraction, detail: `${count(indexed)} of ${plural(indexed + left, 'vector')} indexed` };
}
