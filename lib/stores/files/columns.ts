import { type Data, DataType, Field, type RecordBatch } from 'apache-arrow';
import type { Batch, DenseColumn } from '../../batch.ts';
import { Incompatible, RecordRefused } from '../../errors.ts';
import type { CollectionSchema, FieldType, IdType, VectorSpec } from '../../schema.ts';
import { cellJson, isValid } from '../arrow-cells.ts';
import { splitObject, stringOf } from '../json-members.ts';
import type { FilesOptions } from './folder.ts';
import { columnOfVector, restColumn } from './write-columns.ts';

/** The columns of a file that others wrote as ids, vectors and payload, by their Arrow types. */

/** What Arrow's field metadata says of a canonical extension type: https://arrow.apache.org/docs/format/CanonicalExtensions.html */
const extensionKey = 'ARROW:extension:name';

/** The field as Arrow marks a column of UUIDs, each 16 bytes. */
export function asUuid({ name, type, nullable, metadata }: Field): Field {
  return new Field(name, type, nullable, new Map([...metadata, [extensionKey, 'arrow.uuid']]));
}

const is16Bytes = (type: DataType): boolean => DataType.isFixedSizeBinary(type) && type.byteWidth === 16;

/** @param base64 of 16 bytes, as a JSON string */
function uuidText(base64: string): string {
  const hex = Buffer.from(stringOf(base64), 'base64').toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Ids that are no column: start, start + step, ... */
export interface Numbering {
  readonly start: number;
  readonly step: number;
}

export function isVector({ name, type }: Field, { vectors, id }: FilesOptions): boolean {
  if (name === id || (vectors !== undefined && !vectors.includes(name))) return false;
  const list = listTypeOf(type);
  if (list === undefined) return false;
  const element = elementTypeOf(list);
  // Whole numbers alone are rather a list, unless the options say that they are a vector: quantized ones are of int8.
  return DataType.isFloat(element) || (vectors !== undefined && isSmallInt(element));
}

/** Of 16 bits at most: a float32 holds each exactly. */
const isSmallInt = (type: DataType | undefined): boolean => DataType.isInt(type) && type.bitWidth <= 16;

/** True for the column whose members are the payload. */
export function namesOfPayload({ name }: Field, { payload }: FilesOptions): boolean {
  return payload !== undefined && name === payload;
}

/** The columns that are payload fields. */
export function columnsOf(fields: readonly Field[], options: FilesOptions): readonly Field[] {
  return fields.filter(
    (field) => field.name !== options.id && !isVector(field, options) && !namesOfPayload(field, options),
  );
}

/** The names by which writers call the parts of a list; parquetjs has them as plain groups: struct{list: list<struct{element}>}. */
const listNames = ['list', 'bag', 'array'];
const elementNames = ['element', 'item', 'array', 'array_element'];

function onlyChild(type: DataType, names: readonly string[]): DataType | undefined {
  if (!DataType.isStruct(type) || type.children.length !== 1) return undefined;
  const [only] = type.children;
  return only !== undefined && names.includes(only.name) ? only.type : undefined;
}

function listTypeOf(type: DataType): DataType | undefined {
  const list = onlyChild(type, listNames) ?? type;
  return DataType.isList(list) || DataType.isFixedSizeList(list) ? list : undefined;
}

function elementTypeOf(list: DataType): DataType | undefined {
  const type: DataType | undefined = list.children[0]?.type;
  return type === undefined ? undefined : (onlyChild(type, elementNames) ?? type);
}

/** Where a fixed-size list does not say it, the first list's length; undefined when all are null or empty. */
export function dimensionOf(name: string, type: DataType, first: RecordBatch | undefined): number | undefined {
  if (DataType.isFixedSizeList(type)) return type.listSize;
  if (first === undefined) return undefined;
  const { lists, isThere } = listsIn(childOf(first, name));
  const [starts] = startsOf(lists, 0);
  for (let row = 0; row < lists.length; row++) {
    const length = (starts[row + 1] ?? 0) - (starts[row] ?? 0);
    if (isThere(row) && length > 0) return length;
  }
  return undefined;
}

/** The lists of a column, and the floats in them, whatever groups a writer put around either. */
function listsIn(data: Data): {
  readonly lists: Data;
  readonly floats: Data | undefined;
  isThere(row: number): boolean;
} {
  const lists = onlyChild(data.type, listNames) === undefined ? data : data.children[0];
  const inner = lists?.children[0];
  const floats = inner !== undefined && onlyChild(inner.type, elementNames) !== undefined ? inner.children[0] : inner;
  return {
    lists: lists ?? data,
    floats: listTypeOf(data.type) === undefined ? undefined : floats,
    isThere: (row) => isValid(data, row) && (lists === undefined || lists === data || isValid(lists, row)),
  };
}

export function toBatch(
  from: RecordBatch,
  ids: readonly string[],
  schema: CollectionSchema,
  options: FilesOptions,
  where: string,
): Batch {
  const vectors = schema.vectors.map(
    (spec) => [spec.name, denseFrom(childOf(from, spec.name, where), spec, ids, where)] as const,
  );
  const fields = (schema.fields ?? []).map(({ name, type }) => {
    const data = childOf(from, name, where);
    return { name, key: JSON.stringify(name), data, isUuid: type === 'uuid' && is16Bytes(data.type) };
  });
  const nested = options.payload === undefined ? undefined : childOf(from, options.payload, where);
  const payloads = ids.map((id, row) => {
    const members = fields.map(({ name, key, data, isUuid }) => {
      const cell = cellOf(data, row, name, id, where);
      return `${key}:${isUuid && cell !== 'null' ? `"${uuidText(cell)}"` : cell}`;
    });
    if (nested !== undefined) {
      const inside = membersText(
        cellOf(nested, row, options.payload ?? '', id, where),
        options.payload ?? '',
        id,
        where,
      );
      if (inside !== '') members.push(inside);
      const within = fields.length === 0 ? undefined : splitObject(`{${inside}}`);
      const own = fields.find(({ name }) => within?.has(name));
      if (own !== undefined)
        throw new RecordRefused(
          `record '${id}' in ${where} has the field '${own.name}' in column '${options.payload}' and in a column of its own; give one another name`,
          { ids: [id] },
        );
    }
    return `{${members.join(',')}}`;
  });
  return { count: from.numRows, ids, vectors: new Map(vectors), payloads };
}

/** The records of a file that a target wrote in columns: a null is a field that is not there, and what else there is stands in `payload`. */
export function writtenBatch(
  from: RecordBatch,
  ids: readonly string[],
  schema: CollectionSchema,
  where: string,
): Batch {
  const vectors = schema.vectors.map(
    (spec) => [spec.name, denseFrom(childOf(from, columnOfVector(spec.name), where), spec, ids, where)] as const,
  );
  const names = new Set(['id', restColumn, ...schema.vectors.map(({ name }) => columnOfVector(name))]);
  const fields = from.schema.fields.filter(({ name }) => !names.has(name));
  const columns = fields.map(({ name }) => ({ name, key: JSON.stringify(name), data: childOf(from, name, where) }));
  const rest = childOf(from, restColumn, where);
  const payloads = ids.map((id, row) => {
    const members = columns.flatMap(({ name, key, data }) =>
      isValid(data, row) ? [`${key}:${cellOf(data, row, name, id, where)}`] : [],
    );
    const inside = membersText(cellOf(rest, row, restColumn, id, where), restColumn, id, where);
    if (inside !== '') members.push(inside);
    return `{${members.join(',')}}`;
  });
  return { count: from.numRows, ids, vectors: new Map(vectors), payloads };
}

function cellOf(data: Data, row: number, name: string, id: string, where: string): string {
  try {
    return cellJson(data, row) ?? 'null';
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new RecordRefused(
      `field '${name}' of record '${id}' in ${where}: ${reason}; mend the file or leave the field out of it`,
      { ids: [id], cause },
    );
  }
}

/** The members of a struct, a map or JSON text, without the braces around them; none of null. */
function membersText(cell: string, name: string, id: string, where: string): string {
  const text = cell.startsWith('"') ? stringOf(cell) : cell;
  if (text === 'null') return '';
  try {
    splitObject(text);
    JSON.parse(text);
    return text.trim().slice(1, -1).trim();
  } catch (cause) {
    throw new RecordRefused(
      `column '${name}' of record '${id}' in ${where} holds no object but ${text.slice(0, 40)}; take it out of options.payload`,
      { ids: [id], cause },
    );
  }
}

function denseFrom(
  data: Data,
  { name, dimension = 0 }: VectorSpec,
  ids: readonly string[],
  where: string,
): DenseColumn {
  const { lists, floats: child, isThere } = listsIn(data);
  if (child === undefined)
    throw new Incompatible(`${where} holds no lists in column '${name}', as the folder's first file does`, {
      ids: [where],
    });
  const floats = floatsOf(child);
  const present = Uint8Array.from(ids, (_, row) => (isThere(row) ? 1 : 0));
  const isWhole = !present.includes(0);
  const [starts, isEven] = startsOf(lists, dimension);
  if (isWhole && isEven && dimension > 0 && child.nullCount === 0 && floats instanceof Float32Array) {
    const from = starts[0] ?? 0;
    return { kind: 'dense', dimension, values: floats.subarray(from, from + ids.length * dimension) };
  }
  const values = new Float32Array(ids.length * dimension);
  for (const [row, id] of ids.entries()) {
    if (present[row] === 0) continue;
    const [from, to] = [starts[row] ?? 0, starts[row + 1] ?? 0];
    if (to - from !== dimension || dimension === 0) {
      throw oddLength(`vector '${name}' of record '${id}' in ${where}`, to - from, dimension, id);
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

function oddLength(what: string, length: number, dimension: number, id: string): RecordRefused {
  const mend = 'mend the file, or leave the column out with options {"vectors": […]}';
  const said =
    length === 0
      ? 'is an empty list, which is no vector: write null where a record has none'
      : `has ${length} floats, others have ${dimension}`;
  return new RecordRefused(`${what} ${said}; ${mend}`, { ids: [id] });
}

/** Where each row's floats begin, one more for the end; and whether all rows have `dimension` of them. */
function startsOf(data: Data, dimension: number): readonly [Int32Array | Uint32Array, boolean] {
  const { type } = data;
  if (DataType.isFixedSizeList(type)) {
    const size = type.listSize;
    return [Uint32Array.from({ length: data.length + 1 }, (_, row) => (data.offset + row) * size), size === dimension];
  }
  const found: unknown = data.valueOffsets.subarray(0, data.length + 1);
  const offsets =
    found instanceof Int32Array ? found : Int32Array.from(data.valueOffsets.subarray(0, data.length + 1), Number);
  let next = offsets[0] ?? 0;
  for (const offset of offsets) {
    if (offset !== next) return [offsets, false];
    next += dimension;
  }
  return [offsets, true];
}

function floatsOf(data: Data): Float32Array | Float64Array | Float16Array {
  const values: unknown = data.values;
  if (isSmallInt(data.type)) return Float32Array.from(data.values, Number);
  if (values instanceof Float32Array || values instanceof Float64Array) return values;
  if (values instanceof Uint16Array) return new Float16Array(values.buffer, values.byteOffset, values.length);
  throw new Incompatible(`a vector column holds ${data.type}, not floats`);
}

/** @throws RecordRefused when an id is null. @throws Incompatible when the column's type can hold none. */
export function idsOf(
  from: RecordBatch,
  {
    schema,
    options,
    where,
    numbers,
    start,
  }: {
    readonly schema: Pick<CollectionSchema, 'idType'>;
    readonly options: Pick<FilesOptions, 'id'>;
    readonly where: string;
    /** Where ids are no column. */
    readonly numbers: Numbering | undefined;
    /** Number of the first record within the file. */
    readonly start: number;
  },
): readonly string[] {
  if (numbers !== undefined)
    return Array.from({ length: from.numRows }, (_, row) => String(numbers.start + (start + row) * numbers.step));
  return columnIds(childOf(from, options.id, where), from.numRows, schema.idType, where);
}

function columnIds(data: Data, count: number, type: IdType, where: string): readonly string[] {
  return Array.from({ length: count }, (_, row) => {
    const json = idCell(data, row, where);
    if (json === null)
      throw new RecordRefused(
        `a record in ${where} has a null id; mend the file or name another column in options {"id": …}`,
        { ids: [where] },
      );
    if (!json.startsWith('"')) return json;
    if (is16Bytes(data.type)) return uuidText(json);
    const text = stringOf(json);
    if (type !== 'uuid') return text;
    // In small letters two texts that are no UUIDs may be one.
    if (!uuid.test(text))
      throw new RecordRefused(
        `${where} has the id '${text.slice(0, 40)}', and the ids before are UUIDs; set options {"idType": "string"}`,
        { ids: [text] },
      );
    return text.toLowerCase();
  });
}

function idCell(data: Data, row: number, where: string): string | null {
  try {
    return cellJson(data, row);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new RecordRefused(`the id of row ${row} of a part of ${where}: ${reason}; mend the file`, {
      ids: [where],
      cause,
    });
  }
}

export function idTypeOf({ name, type }: Field, first: RecordBatch | undefined, where: string): IdType {
  const plain = DataType.isDictionary(type) ? type.dictionary : type;
  if (DataType.isInt(plain)) return 'integer';
  // NUMBER and NUMERIC without decimals, as warehouses unload their integers.
  if (DataType.isDecimal(plain) && plain.scale === 0) return 'integer';
  // Not within a dictionary, whose cells are read as base64: of those two may differ in capitals alone.
  if (is16Bytes(type)) return 'uuid';
  if (!DataType.isUtf8(plain) && !DataType.isLargeUtf8(plain)) {
    throw new Incompatible(
      `column '${name}' of ${where} is ${type}, and an id is an integer, text or a UUID of 16 bytes; cast it where the file is written, or name another in options {"id": …}`,
      { ids: [where] },
    );
  }
  if (first === undefined) return 'string';
  return columnIds(childOf(first, name), first.numRows, 'string', where).every((id) => uuid.test(id))
    ? 'uuid'
    : 'string';
}

export function fieldTypeOf({ type, metadata }: Pick<Field, 'type' | 'metadata'>): FieldType {
  if (is16Bytes(type) && metadata.get(extensionKey) === 'arrow.uuid') return 'uuid';
  return typeOf(type);
}

function typeOf(type: DataType): FieldType {
  if (DataType.isDictionary(type)) return typeOf(type.dictionary);
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
