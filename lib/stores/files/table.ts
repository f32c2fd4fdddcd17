import type { Field, RecordBatch } from 'apache-arrow';
import { Incompatible, RecordRefused, VecferryError } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { fingerprintOf } from '../../schema/fingerprint.ts';
import { type CollectionSchema, collectionSchema, type FieldSpec, type VectorSpec } from '../../schema.ts';
import {
  columnsOf,
  dimensionOf,
  fieldTypeOf,
  idsOf,
  idTypeOf,
  isVector,
  type Numbering,
  namesOfPayload,
  toBatch,
  writtenBatch,
} from './columns.ts';
import type { FilesOptions } from './folder.ts';
import { type FilePiece, type Position, type RecordFile, slicePiece } from './format.ts';
import { layoutKey, layoutSchemaKey } from './write-columns.ts';

/** Files of columns that others wrote, Parquet and Arrow: what they hold by their columns' types, and their records. */

export interface TableFile {
  readonly fields: readonly Field[];
  /** Key-value metadata. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Records of each part that is read by itself: a row group, a record batch. */
  readonly groups: readonly number[];
  /** Its batches from the one on that holds record `from`, each with the number of its first record within the part. */
  read(group: number, options?: TableRead): AsyncIterable<TableBatch>;
}

export interface TableRead {
  /** Left out: all. */
  readonly columns?: readonly string[] | undefined;
  readonly from?: number;
}

export interface TableBatch {
  readonly batch: RecordBatch;
  readonly start: number;
}

/** A file to be opened; `where` is what it is called, `form` what it should be: `Parquet`, `Arrow`. */
export interface TableSource {
  readonly where: string;
  readonly form: string;
  open(): Promise<TableFile>;
}

/** What a file of others holds, by its columns' types. @throws Incompatible when there is no id column, or one of a type that is no id. */
export async function describeTable(source: TableSource, options: FilesOptions): Promise<CollectionSchema> {
  const { where } = source;
  const file = await opened(source);
  const written = writtenSchema(file, where);
  if (written !== undefined) return written;
  const numbers = numberingOf(file, options);
  const idField = file.fields.find(({ name }) => name === options.id);
  if (idField === undefined && numbers === undefined) throw noId(file, where, options);
  const first = await firstBatch(source, file);
  const dimensions = await dimensionsOf(source, file, first, options);
  const vectors = file.fields
    .filter((field) => isVector(field, options))
    .map(({ name }): VectorSpec => {
      const dimension = dimensions.get(name);
      return {
        name,
        kind: 'dense',
        precision: 'float32',
        ...(dimension === undefined ? {} : { dimension }),
        ...(options.distance === undefined ? {} : { distance: options.distance }),
      };
    });
  return {
    store: 'files',
    idType: options.idType ?? (idField === undefined ? 'integer' : idTypeOf(idField, first, where)),
    key: [],
    vectors,
    fields: columnsOf(file.fields, options).map(
      (field): FieldSpec => ({ name: field.name, type: fieldTypeOf(field), nullable: field.nullable }),
    ),
    payloadIndexes: [],
    native: {},
  };
}

async function firstBatch(source: TableSource, file: TableFile): Promise<RecordBatch | undefined> {
  if (file.groups.length === 0) return undefined;
  for await (const { batch } of guardedBatches(source, file.read(0))) return batch;
  return undefined;
}

/** Of each vector: of the first group that has one, for the first records may all lack it. */
async function dimensionsOf(
  source: TableSource,
  file: TableFile,
  first: RecordBatch | undefined,
  options: FilesOptions,
): Promise<ReadonlyMap<string, number>> {
  const found = new Map<string, number>();
  for (const { name, type } of file.fields.filter((field) => isVector(field, options))) {
    const known = dimensionOf(name, type, first);
    if (known !== undefined) found.set(name, known);
    for (let group = 0; group < file.groups.length && !found.has(name); group++)
      for await (const { batch } of guardedBatches(source, file.read(group, { columns: [name] }))) {
        const dimension = dimensionOf(name, type, batch);
        if (dimension === undefined) continue;
        found.set(name, dimension);
        break;
      }
  }
  return found;
}

function noId({ fields, metadata }: TableFile, where: string, { id }: FilesOptions): Incompatible {
  const names = fields.map(({ name }) => name).join(', ') || 'no columns';
  const range = pandasRange(metadata);
  const index = range === undefined ? '' : `, and pandas' index${range.name === null ? '' : ` '${range.name}'`}`;
  const unnamed = fields.some(({ name }) => name === '__index_level_0__')
    ? ' ("__index_level_0__" is pandas\' index)'
    : '';
  const rows = range?.name === null ? '; {"id": "__index__"} takes the index' : '';
  return new Incompatible(
    `${where} has no column '${id}' for the id; it has ${names}${index}: name one in options {"id": …}${unnamed}${rows}`,
    { ids: [where] },
  );
}

/** The schema of a file that others wrote: `folder`'s, without a look at a record, where its columns are the same. @throws as describeTable */
export async function schemaOfTable(
  source: TableSource,
  folder: CollectionSchema,
  options: FilesOptions,
): Promise<CollectionSchema> {
  const file = await opened(source);
  const written = writtenSchema(file, source.where);
  if (written !== undefined) return fingerprintOf(written) === fingerprintOf(folder) ? folder : written;
  const { fields } = file;
  const own = fields.filter(({ name }) => name !== options.id);
  const said = own.flatMap((field) => {
    if (isVector(field, options)) return `${field.name} vector`;
    return namesOfPayload(field, options) ? [] : `${field.name} ${fieldTypeOf(field)}`;
  });
  const known = [
    ...folder.vectors.map(({ name }) => `${name} vector`),
    ...(folder.fields ?? []).map(({ name, type }) => `${name} ${type}`),
  ];
  const isSame = said.toSorted().join('\n') === known.toSorted().join('\n');
  return isSame ? folder : await describeTable(source, options);
}

/** A file that others wrote, read as `schema` says. Every method throws RecordRefused for what it cannot read, naming file and record. */
export function tableFile(
  name: string,
  source: TableSource,
  schema: CollectionSchema,
  options: FilesOptions,
): RecordFile {
  const { where } = source;
  let file: Promise<TableFile> | undefined;
  const open = (): Promise<TableFile> => {
    file ??= opened(source);
    return file;
  };
  async function* groups(
    from: number,
    columns?: readonly string[],
  ): AsyncGenerator<{ batch: RecordBatch; start: number; numbers: Numbering | undefined }> {
    const found = await open();
    const numbers = numberingOf(found, options);
    let start = 0;
    for (const [group, records] of found.groups.entries()) {
      if (records > 0 && start + records > from) {
        const read = found.read(group, { columns, from: Math.max(0, from - start) });
        for await (const each of guardedBatches(source, read))
          yield { batch: each.batch, start: start + each.start, numbers };
      }
      start += records;
    }
  }
  return {
    name,
    count: async () => sum((await open()).groups),
    cuts: async (every) => multiples(sum((await open()).groups), every),
    async *read(from) {
      for await (const { batch, start, numbers } of groups(from.record)) {
        const isOurs = writtenSchema(await open(), where) !== undefined;
        const known = isOurs ? writtenOptions : options;
        const ids = idsOf(batch, { schema, options: known, where, numbers, start });
        const made = isOurs ? writtenBatch(batch, ids, schema, where) : toBatch(batch, ids, schema, options, where);
        const piece = { batch: made, positionOf: at(start) };
        yield from.record > start ? later(piece, from.record - start) : piece;
      }
    },
    async *ids() {
      const known = writtenSchema(await open(), where) === undefined ? options : writtenOptions;
      const isThere = (await open()).fields.some((field) => field.name === known.id);
      for await (const { batch, start, numbers } of groups(0, isThere ? [known.id] : undefined))
        yield idsOf(batch, { schema, options: known, where, numbers, start });
    },
  };
}

/** Of a file that a target wrote in columns, what the collection was; undefined for files of others. */
function writtenSchema({ metadata }: TableFile, where: string): CollectionSchema | undefined {
  if (metadata.get(layoutKey) !== 'columns') return undefined;
  const schema = parseAs(collectionSchema, JSON.parse(metadata.get(layoutSchemaKey) ?? '{}'), where, RecordRefused);
  return { ...schema, store: 'files', ...(schema.store === 'files' ? {} : { origin: schema.origin ?? schema.store }) };
}

const writtenOptions = { id: 'id' };

/** pandas keeps an index of evenly spaced integers as three numbers in the metadata, and no column of it: its name may be the id's. */
function numberingOf({ fields, metadata }: TableFile, { id }: FilesOptions): Numbering | undefined {
  if (fields.some(({ name }) => name === id)) return undefined;
  const range = pandasRange(metadata);
  return range !== undefined && (range.name ?? '__index__') === id ? range : undefined;
}

/** https://arrow.apache.org/docs/python/pandas.html#handling-pandas-indexes, and pandas' developer guide on its metadata */
function pandasRange(
  metadata: ReadonlyMap<string, string>,
): (Numbering & { readonly name: string | null }) | undefined {
  const text = metadata.get('pandas');
  if (text === undefined) return undefined;
  const found: unknown = JSON.parse(text);
  const indexes: unknown = Object(found).index_columns;
  const only: unknown = Array.isArray(indexes) && indexes.length === 1 ? indexes[0] : undefined;
  const { kind, name, start, step } = Object(only);
  if (kind !== 'range' || typeof start !== 'number' || typeof step !== 'number') return undefined;
  return { name: typeof name === 'string' ? name : null, start, step };
}

/** @throws RecordRefused where it cannot be read; Incompatible where two columns have one name: one would be lost */
async function opened(source: TableSource): Promise<TableFile> {
  const file = await guarded(source, () => source.open());
  const names = new Set<string>();
  for (const { name } of file.fields) {
    if (names.has(name))
      throw new Incompatible(`${source.where} has two columns '${name}'; write it again with a name for each`, {
        ids: [source.where],
      });
    names.add(name);
  }
  return file;
}

export async function guarded<T>({ where, form }: Omit<TableSource, 'open'>, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof VecferryError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new RecordRefused(
      `${where} cannot be read as ${form}: ${reason}; write it again or take it out of the folder`,
      { ids: [where], cause },
    );
  }
}

/** What reading throws as guarded has it; what is done with the batches is the caller's. */
async function* guardedBatches(
  source: Omit<TableSource, 'open'>,
  batches: AsyncIterable<TableBatch>,
): AsyncGenerator<TableBatch> {
  const from = batches[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await guarded(source, () => from.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await from.return?.();
  }
}

export function at(start: number): (index: number) => Position {
  return (index) => ({ record: start + index, byte: 0 });
}

function later(piece: FilePiece, by: number): FilePiece {
  return slicePiece(piece, by, piece.batch.count);
}

export function multiples(records: number, every: number): readonly Position[] {
  return Array.from({ length: Math.max(0, Math.ceil(records / every) - 1) }, (_, i) => ({
    record: (i + 1) * every,
    byte: 0,
  }));
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
