import { type Data, DataType, type Field, type RecordBatch } from 'apache-arrow';
import type { Batch, DenseColumn } from '../../batch.ts';
import { Incompatible, RecordRefused, VecferryError } from '../../errors.ts';
import type { CollectionSchema, FieldSpec, FieldType, IdType, VectorSpec } from '../../schema.ts';
import { type ByteRanges, openParquet, type ParquetFile } from '../../shard/parquet-file.ts';
import { readShard, type ShardHeader, verifyShard } from '../../shard/shard.ts';
import { cellJson, isValid } from '../arrow-cells.ts';
import { stringOf } from '../json-members.ts';
import type { FilesOptions } from './folder.ts';
import { type FilePiece, type Position, type RecordFile, slicePiece } from './format.ts';

/** Parquet files: our own shards, and those of others, whose columns become vectors and payload by their type. */

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** A shard's header, verified; undefined when the file is no shard of ours. @throws ShardDamaged */
export async function shardHeader(bytes: ByteRanges, where: string): Promise<ShardHeader | undefined> {
  // Any key of ours: a shard whose vecferry.format was altered is damaged, and no file of others.
  const { metadata } = await openForeign(bytes, where);
  if (![...metadata.keys()].some((key) => key.startsWith('vecferry.'))) return undefined;
  return verifyShard(await bytes.range(0, bytes.size), where);
}

/** What a file of others holds, by its columns' types. @throws Incompatible when there is no id column, or one of a type that is no id. */
export async function describeParquet(
  bytes: ByteRanges,
  where: string,
  options: FilesOptions,
): Promise<CollectionSchema> {
  const file = await openForeign(bytes, where);
  const { fields } = file.schema;
  const idField = fields.find(({ name }) => name === options.id);
  if (idField === undefined) {
    const names = fields.map(({ name }) => name).join(', ');
    throw new Incompatible(
      `${where} has no column '${options.id}' for the id; it has ${names}: name one in options {"id": …}`,
      { ids: [where] },
    );
  }
  const [first] = file.rowGroups.length === 0 ? [] : await guarded(where, () => file.read(0, file.rowGroups[0] ?? 1));
  const isVector = vectorTest(options);
  const vectors = fields.filter(isVector).map(({ name, type }): VectorSpec => {
    const dimension = DataType.isFixedSizeList(type)
      ? type.listSize
      : first === undefined
        ? undefined
        : firstLength(childOf(first, name));
    return {
      name,
      kind: 'dense',
      precision: 'float32',
      ...(dimension === undefined ? {} : { dimension }),
      ...(options.distance === undefined ? {} : { distance: options.distance }),
    };
  });
  const payload = fields.filter((field) => field !== idField && !isVector(field));
  return {
    store: 'files',
    idType: options.idType ?? idTypeOf(idField, first, where),
    key: [],
    vectors,
    fields: payload.map(({ name, type, nullable }): FieldSpec => ({ name, type: fieldTypeOf(type), nullable })),
    payloadIndexes: [],
    native: {},
  };
}

/** The schema of a file that others wrote: `folder`'s, without a look at a record, where its columns are the same. @throws as describeParquet */
export async function schemaOfForeign(
  bytes: ByteRanges,
  where: string,
  folder: CollectionSchema,
  options: FilesOptions,
): Promise<CollectionSchema> {
  const { fields } = (await openForeign(bytes, where)).schema;
  const isVector = vectorTest(options);
  const own = fields.filter(({ name }) => name !== options.id);
  const said = own.map((field) => `${field.name} ${isVector(field) ? 'vector' : fieldTypeOf(field.type)}`);
  const known = [
    ...folder.vectors.map(({ name }) => `${name} vector`),
    ...(folder.fields ?? []).map(({ name, type }) => `${name} ${type}`),
  ];
  const isSame = said.toSorted().join('\n') === known.toSorted().join('\n');
  return isSame ? folder : await describeParquet(bytes, where, options);
}

/** A file that others wrote, read as `schema` says. Every method throws RecordRefused for what it cannot read, naming file and record. */
export function foreignParquet(
  name: string,
  bytes: ByteRanges,
  where: string,
  schema: CollectionSchema,
  options: FilesOptions,
): RecordFile {
  let opened: Promise<ParquetFile> | undefined;
  const open = (): Promise<ParquetFile> => {
    opened ??= openForeign(bytes, where);
    return opened;
  };
  async function* groups(
    from: number,
    columns?: readonly string[],
  ): AsyncGenerator<{ batch: RecordBatch; start: number }> {
    const file = await open();
    let start = 0;
    for (const [group, records] of file.rowGroups.entries()) {
      if (records > 0 && start + records > from) {
        let at = start;
        for (const batch of await guarded(where, () => file.read(group, records, columns))) {
          yield { batch, start: at };
          at += batch.numRows;
        }
      }
      start += records;
    }
  }
  return {
    name,
    count: async () => sum((await open()).rowGroups),
    cuts: async (every) => multiples(sum((await open()).rowGroups), every),
    async *read(from) {
      for await (const { batch, start } of groups(from.record)) {
        const piece = { batch: toBatch(batch, schema, options, where), positionOf: at(start) };
        yield from.record > start ? later(piece, from.record - start) : piece;
      }
    },
    async *ids() {
      for await (const { batch } of groups(0, [options.id]))
        yield idsOf(childOf(batch, options.id), batch.numRows, schema.idType, where);
    },
  };
}

/** One of our own shards. Its checksum is verified whenever it is read. @throws ShardDamaged */
export function ownShard(name: string, bytes: ByteRanges, where: string): RecordFile {
  const load = (): Promise<Uint8Array> => bytes.range(0, bytes.size);
  const count = async (): Promise<number> => sum((await openForeign(bytes, where)).rowGroups);
  return {
    name,
    count,
    cuts: async (every) => multiples(await count(), every),
    async *read(from) {
      let start = from.record;
      for await (const batch of readShard(await load(), where, {
        maxRecords: Number.MAX_SAFE_INTEGER,
        offset: start,
      })) {
        yield { batch, positionOf: at(start) };
        start += batch.count;
      }
    },
    async *ids() {
      for await (const batch of readShard(await load(), where, { maxRecords: Number.MAX_SAFE_INTEGER }))
        yield batch.ids;
    },
  };
}

function toBatch(from: RecordBatch, schema: CollectionSchema, options: FilesOptions, where: string): Batch {
  const ids = idsOf(childOf(from, options.id), from.numRows, schema.idType, where);
  const vectors = schema.vectors.map(
    (spec) => [spec.name, denseFrom(childOf(from, spec.name, where), spec, ids, where)] as const,
  );
  const fields = (schema.fields ?? []).map(({ name }) => ({
    name,
    key: JSON.stringify(name),
    data: childOf(from, name, where),
  }));
  const payloads = ids.map((id, row) => {
    const members = fields.map(({ name, key, data }) => {
      try {
        return `${key}:${cellJson(data, row) ?? 'null'}`;
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new RecordRefused(
          `field '${name}' of record '${id}' in ${where}: ${reason}; mend the file or leave the field out of it`,
          { ids: [id], cause },
        );
      }
    });
    return `{${members.join(',')}}`;
  });
  return { count: from.numRows, ids, vectors: new Map(vectors), payloads };
}

function denseFrom(
  data: Data,
  { name, dimension = 0 }: VectorSpec,
  ids: readonly string[],
  where: string,
): DenseColumn {
  const child = data.children[0];
  if (child === undefined)
    throw new Incompatible(`${where} holds no lists in column '${name}', as the folder's first file does`, {
      ids: [where],
    });
  const floats = floatsOf(child);
  const present = Uint8Array.from(ids, (_, row) => (isValid(data, row) ? 1 : 0));
  const isWhole = !present.includes(0);
  const [starts, isEven] = startsOf(data, dimension);
  if (isWhole && isEven && child.nullCount === 0 && floats instanceof Float32Array) {
    const from = starts[0] ?? 0;
    return { kind: 'dense', dimension, values: floats.subarray(from, from + ids.length * dimension) };
  }
  const values = new Float32Array(ids.length * dimension);
  for (const [row, id] of ids.entries()) {
    if (present[row] === 0) continue;
    const [from, to] = [starts[row] ?? 0, starts[row + 1] ?? 0];
    if (to - from !== dimension) {
      const mend = 'mend the file, or leave the column out with options {"vectors": […]}';
      throw new RecordRefused(
        `vector '${name}' of record '${id}' in ${where} has ${to - from} floats, others have ${dimension}; ${mend}`,
        { ids: [id] },
      );
    }
    values.set(floats.subarray(from, to), row * dimension);
    for (let i = 0; child.nullCount > 0 && i < dimension; i++) {
      if (!isValid(child, from + i))
        throw new RecordRefused(`vector '${name}' of record '${id}' in ${where} holds null at ${i}; mend the file`, {
          ids: [id],
        });
    }
  }
  return isWhole ? { kind: 'dense', dimension, values } : { kind: 'dense', dimension, values, present };
}

/** Where each row's floats begin, one more for the end; and whether all rows have `dimension` of them. */
function startsOf(data: Data, dimension: number): readonly [Int32Array | Uint32Array, boolean] {
  const { type } = data;
  if (DataType.isFixedSizeList(type)) {
    const size = type.listSize;
    return [Uint32Array.from({ length: data.length + 1 }, (_, row) => (data.offset + row) * size), size === dimension];
  }
  const offsets: Int32Array = Int32Array.from(data.valueOffsets.subarray(0, data.length + 1), Number);
  return [offsets, offsets.every((offset, row) => offset - (offsets[0] ?? 0) === row * dimension)];
}

function floatsOf(data: Data): Float32Array | Float64Array | Float16Array {
  const values: unknown = data.values;
  if (values instanceof Float32Array || values instanceof Float64Array) return values;
  if (values instanceof Uint16Array) return new Float16Array(values.buffer, values.byteOffset, values.length);
  throw new Incompatible(`a vector column holds ${data.type}, not floats`);
}

/** @throws RecordRefused when an id is null. @throws Incompatible when the column's type can hold none. */
function idsOf(data: Data, count: number, type: IdType, where: string): readonly string[] {
  return Array.from({ length: count }, (_, row) => {
    const json = cellJson(data, row);
    if (json === null)
      throw new RecordRefused(
        `a record in ${where} has a null id; mend the file or name another column in options {"id": …}`,
        { ids: [where] },
      );
    if (!json.startsWith('"')) return json;
    const text = stringOf(json);
    return type === 'uuid' ? text.toLowerCase() : text;
  });
}

function idTypeOf({ name, type }: Field, first: RecordBatch | undefined, where: string): IdType {
  const plain = DataType.isDictionary(type) ? type.dictionary : type;
  if (DataType.isInt(plain)) return 'integer';
  if (!DataType.isUtf8(plain) && !DataType.isLargeUtf8(plain)) {
    throw new Incompatible(
      `column '${name}' of ${where} is ${type}, and an id is an integer or text; name another in options {"id": …}`,
      { ids: [where] },
    );
  }
  if (first === undefined) return 'string';
  return idsOf(childOf(first, name), first.numRows, 'string', where).every((id) => uuid.test(id)) ? 'uuid' : 'string';
}

/** The first list's length; undefined when all are null. */
function firstLength(data: Data): number | undefined {
  const [starts] = startsOf(data, 0);
  for (let row = 0; row < data.length; row++)
    if (isValid(data, row)) return (starts[row + 1] ?? 0) - (starts[row] ?? 0);
  return undefined;
}

function vectorTest({ vectors, id }: FilesOptions): (field: Field) => boolean {
  return ({ name, type }) => {
    if (name === id || (vectors !== undefined && !vectors.includes(name))) return false;
    if (!DataType.isList(type) && !DataType.isFixedSizeList(type)) return false;
    return DataType.isFloat(type.children[0]?.type);
  };
}

function fieldTypeOf(type: DataType): FieldType {
  if (DataType.isDictionary(type)) return fieldTypeOf(type.dictionary);
  if (DataType.isBool(type)) return 'boolean';
  if (DataType.isInt(type)) return 'integer';
  if (DataType.isFloat(type)) return 'float';
  if (DataType.isDecimal(type)) return 'decimal';
  // Without a zone it is no point in time, so it stays the text that it is.
  if (DataType.isTimestamp(type)) return type.timezone ? 'timestamp' : 'text';
  if (DataType.isDate(type)) return 'date';
  if (DataType.isTime(type)) return 'time';
  if (DataType.isBinary(type) || DataType.isLargeBinary(type) || DataType.isFixedSizeBinary(type)) return 'bytes';
  if (DataType.isList(type) || DataType.isFixedSizeList(type)) return 'list';
  return DataType.isStruct(type) || DataType.isMap(type) ? 'json' : 'text';
}

function childOf(batch: RecordBatch, name: string, where = 'the file'): Data {
  const data = batch.data.children[batch.schema.fields.findIndex((field) => field.name === name)];
  if (data === undefined)
    throw new Incompatible(
      `${where} has no column '${name}', as the folder's first file does; move it to a folder of its own`,
      { ids: [where] },
    );
  return data;
}

async function openForeign(bytes: ByteRanges, where: string): Promise<ParquetFile> {
  return await guarded(where, () => openParquet(bytes));
}

async function guarded<T>(where: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (cause instanceof VecferryError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new RecordRefused(
      `${where} cannot be read as Parquet: ${reason}; write it again or take it out of the folder`,
      { ids: [where], cause },
    );
  }
}

function at(start: number): (index: number) => Position {
  return (index) => ({ record: start + index, byte: 0 });
}

function later(piece: FilePiece, by: number): FilePiece {
  return slicePiece(piece, by, piece.batch.count);
}

function multiples(records: number, every: number): readonly Position[] {
  return Array.from({ length: Math.max(0, Math.ceil(records / every) - 1) }, (_, i) => ({
    record: (i + 1) * every,
    byte: 0,
  }));
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
