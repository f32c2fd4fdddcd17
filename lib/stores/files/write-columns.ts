import {
  Bool,
  type Data,
  type DataType,
  Field,
  FixedSizeList,
  Float32,
  Float64,
  Int64,
  List,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Utf8,
} from 'apache-arrow';
import { type Batch, type DenseColumn, hasVector } from '../../batch.ts';
import { Incompatible } from '../../errors.ts';
import type { CollectionSchema, FieldType } from '../../schema.ts';
import { joinRowGroups } from '../../shard/parquet-file.ts';
import { type ArrowColumn, writeParquet } from '../../shard/parquet-wasm.ts';
import { fitsDouble, isNumber, joinObject, splitObject, stringOf } from '../json-members.ts';

/**
 * Files as people who use pandas or DuckDB like them: a column a payload field. A value that its column cannot hold to the last
 * digit, null, and fields that nobody declared stand in the column `payload` as JSON, so nothing is lost on the way back.
 */

/** Not vecferry., which begins what a shard says of itself: this is none. */
export const layoutKey = 'vecferry:layout';
export const layoutSchemaKey = 'vecferry:schema';
export const restColumn = 'payload';
export const columnOfVector = (name: string): string => (name === '' ? 'vector' : name);

export type ListKind = 'list' | 'fixed';

/** @throws Incompatible for what has no column: sparse and multi vectors, two columns of one name */
export function checkColumns({ vectors, fields = [] }: CollectionSchema, where: string): void {
  const odd = vectors.find(({ kind }) => kind !== 'dense');
  if (odd !== undefined)
    throw new Incompatible(
      `vector '${odd.name}' is ${odd.kind}, and columns and matrices hold dense vectors; write ${where} as format "parquet" with layout "shard", or "jsonl", or leave the vector out in the mapping`,
      { ids: [odd.name] },
    );
  const names = [
    'id',
    restColumn,
    ...vectors.map(({ name }) => columnOfVector(name)),
    ...plainFields(fields).map(({ name }) => name),
  ];
  const twice = names.find((name, at) => names.findIndex((each) => each.toLowerCase() === name.toLowerCase()) !== at);
  if (twice !== undefined)
    throw new Incompatible(`${where} would have two columns '${twice}'; rename the field or vector in the mapping`, {
      ids: [twice],
    });
}

/** One Parquet file with one row group. */
export function columnsParquet(batch: Batch, schema: CollectionSchema, lists: ListKind): Uint8Array {
  return joinRowGroups([writeParquet(columnsOf(batch, schema, lists), batch.count)], metadataOf(schema));
}

/** One Arrow IPC file (Feather 2), uncompressed. */
export function columnsArrow(batch: Batch, schema: CollectionSchema, lists: ListKind): Uint8Array {
  const columns = columnsOf(batch, schema, lists);
  const arrow = new Schema(
    columns.map(({ field }) => field),
    metadataOf(schema),
  );
  const data = makeData({
    type: new Struct(arrow.fields),
    length: batch.count,
    nullCount: 0,
    children: columns.map((column) => column.data),
  });
  return tableToIPC(new Table([new RecordBatch(arrow, data)]), 'file');
}

const metadataOf = (schema: CollectionSchema): Map<string, string> =>
  new Map([
    [layoutKey, 'columns'],
    [layoutSchemaKey, JSON.stringify(schema)],
  ]);

const columnTypes: Readonly<Partial<Record<FieldType, 'text' | 'integer' | 'float' | 'boolean'>>> = {
  text: 'text',
  uuid: 'text',
  timestamp: 'text',
  date: 'text',
  time: 'text',
  bytes: 'text',
  integer: 'integer',
  float: 'float',
  decimal: 'float',
  boolean: 'boolean',
};

interface PlainField {
  readonly name: string;
  readonly as: 'text' | 'integer' | 'float' | 'boolean';
}

function plainFields(fields: NonNullable<CollectionSchema['fields']>): readonly PlainField[] {
  return fields.flatMap(({ name, type }) => {
    const as = columnTypes[type];
    return as === undefined ? [] : [{ name, as }];
  });
}

function columnsOf(batch: Batch, schema: CollectionSchema, lists: ListKind): readonly ArrowColumn[] {
  const fields = plainFields(schema.fields ?? []);
  const values = fields.map((): (string | undefined)[] => []);
  const rests: string[] = [];
  for (const payload of batch.payloads) {
    const members = splitObject(payload);
    for (const [at, { name, as }] of fields.entries()) {
      const raw = members.get(name);
      const isHeld = raw !== undefined && holds(as, raw);
      values[at]?.push(isHeld ? raw : undefined);
      if (isHeld) members.delete(name);
    }
    rests.push(joinObject(members));
  }
  const isInteger = schema.idType === 'integer' && batch.ids.every((id) => isInt64(id));
  const ids = isInteger ? batch.ids : batch.ids.map((id) => JSON.stringify(id));
  return [
    columnFrom('id', isInteger ? 'integer' : 'text', ids),
    ...[...batch.vectors].map(([name, column]): ArrowColumn => {
      if (column.kind !== 'dense') throw new Incompatible(`vector '${name}' is ${column.kind}`, { ids: [name] });
      const data = listsFrom(column, batch.count, lists);
      return { field: new Field(columnOfVector(name), data.type, true), data, compressed: false };
    }),
    ...fields.map(({ name, as }, at) => columnFrom(name, as, values[at] ?? [])),
    columnFrom(
      restColumn,
      'text',
      rests.map((rest) => JSON.stringify(rest)),
    ),
  ];
}

/** Whether a column holds this JSON value so that it is read back as the same. */
function holds(as: PlainField['as'], raw: string): boolean {
  if (as === 'text') return raw.startsWith('"') && stringOf(raw).isWellFormed();
  if (as === 'boolean') return raw === 'true' || raw === 'false';
  if (as === 'integer') return /^(0|-?[1-9]\d*)$/.test(raw) && isInt64(raw);
  return isNumber(raw) && fitsDouble(raw);
}

function isInt64(text: string): boolean {
  if (text.length < 16) return true;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value;
}

/** @param values JSON texts; undefined is null */
function columnFrom(name: string, as: PlainField['as'], values: readonly (string | undefined)[]): ArrowColumn {
  const nulls = nullsOf(values.map((value) => value !== undefined));
  const length = values.length;
  const column = (type: DataType, data: Data): ArrowColumn => ({
    field: new Field(name, type, true),
    data,
    compressed: true,
  });
  if (as === 'integer') {
    const data = BigInt64Array.from(values, (value) => BigInt(value ?? 0));
    return column(new Int64(), makeData({ type: new Int64(), length, ...nulls, data }));
  }
  if (as === 'float') {
    const data = Float64Array.from(values, (value) => Number(value ?? 0));
    return column(new Float64(), makeData({ type: new Float64(), length, ...nulls, data }));
  }
  if (as === 'boolean') {
    const data = bitsOf(values.map((value) => value === 'true'));
    return column(new Bool(), makeData({ type: new Bool(), length, ...nulls, data }));
  }
  const texts = values.map((value) => Buffer.from(value === undefined ? '' : stringOf(value)));
  const valueOffsets = new Int32Array(length + 1);
  for (const [at, text] of texts.entries()) valueOffsets[at + 1] = (valueOffsets[at] ?? 0) + text.length;
  return column(new Utf8(), makeData({ type: new Utf8(), length, ...nulls, valueOffsets, data: Buffer.concat(texts) }));
}

function listsFrom(column: DenseColumn, length: number, lists: ListKind): Data {
  const { dimension, values } = column;
  const isThere = Array.from({ length }, (_, at) => hasVector(column, at));
  const nulls = nullsOf(isThere);
  const child = makeData({ type: new Float32(), length: values.length, nullCount: 0, data: values });
  const element = new Field('element', new Float32(), false);
  if (lists === 'fixed') return makeData({ type: new FixedSizeList(dimension, element), length, ...nulls, child });
  const valueOffsets = Int32Array.from({ length: length + 1 }, (_, at) => at * dimension);
  return makeData({ type: new List(element), length, ...nulls, valueOffsets, child });
}

function nullsOf(isThere: readonly boolean[]): { nullCount: number; nullBitmap?: Uint8Array } {
  const nullCount = isThere.filter((each) => !each).length;
  return nullCount === 0 ? { nullCount } : { nullCount, nullBitmap: bitsOf(isThere) };
}

/** Least significant bit first. */
function bitsOf(values: readonly boolean[]): Uint8Array {
  const bits = new Uint8Array(Math.ceil(values.length / 8));
  for (const [at, value] of values.entries()) if (value) bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
  return bits;
}
