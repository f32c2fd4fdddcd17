import {
  type Data,
  DataType,
  Field,
  Float16,
  Float32,
  Int64,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
} from 'apache-arrow';
import { type Batch, type DenseColumn, hasVector } from '../../batch.ts';
import { RecordRefused, StoreUnavailable } from '../../errors.ts';
import { cellJson, isValid } from '../arrow-cells.ts';
import { joinObject, splitObject, stringOf } from '../json-members.ts';
import { bitmap, columnWriter, isIntegerId, isNear, textData } from './columns.ts';
import { type Layout, restColumn, type VectorColumnLayout, vectorType } from './layout.ts';

/** A batch as an Arrow table and back. Vectors are handed over as they are, without touching a float. */

/**
 * The batch as an Arrow table with the columns of `arrow`.
 * @throws RecordRefused for ids that the table cannot hold and for an id that the batch has twice.
 */
export function toArrow(batch: Batch, layout: Layout, arrow: Schema): Table {
  refuseRepeated(batch.ids);
  const { columns, rest } = fieldColumns(batch, layout, arrow);
  const vectors = new Map(layout.vectors.map((each) => [each.column, each]));
  const cells = (name: string): Data | undefined => {
    const vector = vectors.get(name);
    if (vector !== undefined) return vectorData(batch, vector);
    if (name === layout.idColumn) return layout.isIntegerId ? integerIds(batch.ids) : textData(batch.ids);
    return layout.isOurs && name === restColumn ? textData(rest) : columns.get(name);
  };
  // A column left out of a merge is null in new records and as it was in others.
  const written = arrow.fields.flatMap(({ name, nullable }) => {
    const data = cells(name);
    return data === undefined || isEmptyFlags(data) ? [] : [{ name, nullable, data }];
  });
  const children = written.map(({ data }) => data);
  // Types are taken from the data: those of the table's schema are classes of LanceDB's own copy of the Arrow library.
  const fields = written.map(({ name, nullable, data }) => new Field(name, data.type, nullable));
  const schema = new Schema(fields);
  const records = makeData({ type: new Struct(fields), length: batch.count, nullCount: 0, children });
  return new Table(schema, new RecordBatch(schema, records));
}

/**
 * Arrow for JavaScript (18.1) writes a boolean column that is wholly null without its bits, which Lance takes for damage.
 * It is left out instead: null in new records, and in others what `clearFlags` makes of it.
 */
function isEmptyFlags({ type, nullCount, length }: Data): boolean {
  return DataType.isBool(type) && nullCount >= length;
}

/** Boolean columns that `written` leaves out, as toArrow does where the batch has no value for them. */
export function flagsLeftOut(arrow: Schema, written: Table): readonly string[] {
  const there = new Set(written.schema.fields.map(({ name }) => name));
  return arrow.fields.flatMap(({ name, type }) => (DataType.isBool(type) && !there.has(name) ? [name] : []));
}

/** The records of a query's answer. @throws RecordRefused naming a record with a value that JSON has no form for. */
export function toBatch(table: Table, layout: Layout): Batch {
  const ids: string[] = [];
  const payloads: string[] = [];
  for (const { data } of table.batches) {
    const columns = table.schema.fields.map(({ name }, at) => ({ name, data: childOf(data, at) }));
    const idData = columnData(columns, layout.idColumn);
    const fields = layout.fields.map(({ name }) => ({ name, data: columnData(columns, name) }));
    const rest = layout.isOurs ? columnData(columns, restColumn) : undefined;
    for (let at = 0; at < data.length; at++) {
      const id = cellText(idData, at);
      ids.push(id);
      payloads.push(payloadText(fields, rest, at, layout.isOurs, id));
    }
  }
  const vectors = new Map(layout.vectors.map((each) => [each.spec.name, readVectors(table, each, ids.length)]));
  return { count: ids.length, ids, vectors, payloads };
}

/** The text of an id's cell: the integer's digits or the string. */
export function cellText(data: Data, at: number): string {
  const text = cellJson(data, at);
  if (text === null) throw new RecordRefused('a record has no id; delete it or give it one before it is moved');
  return text.startsWith('"') ? stringOf(text) : text;
}

export function childOf(data: Data, at: number): Data {
  const child = data.children[at];
  if (child === undefined) throw new StoreUnavailable(`LanceDB's answer lacks column ${at}`);
  return child;
}

interface NamedData {
  readonly name: string;
  readonly data: Data;
}

function columnData(columns: readonly NamedData[], name: string): Data {
  const found = columns.find((column) => column.name === name);
  if (found === undefined) throw new StoreUnavailable(`LanceDB's answer lacks column '${name}'`);
  return found.data;
}

function payloadText(
  fields: readonly NamedData[],
  rest: Data | undefined,
  at: number,
  isOurs: boolean,
  id: string,
): string {
  const members = new Map<string, string>();
  for (const { name, data } of fields) {
    const value = valueText(data, at, name, id);
    // In a table made here a null stands in the JSON column; an empty cell is a field that the record lacks.
    if (value !== null) members.set(name, value);
    else if (!isOurs) members.set(name, 'null');
  }
  const json = rest === undefined ? null : cellJson(rest, at);
  if (json === null) return joinObject(members);
  const others = stringOf(json);
  if (members.size === 0) return others;
  for (const [name, raw] of splitObject(others)) {
    const there = members.get(name);
    if (there === undefined || isNear(there, raw)) members.set(name, raw);
  }
  return joinObject(members);
}

function valueText(data: Data, at: number, name: string, id: string): string | null {
  try {
    return cellJson(data, at);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new RecordRefused(`field '${name}' of record '${id}' cannot be carried: ${cause.message}`, {
      ids: [id],
      cause,
    });
  }
}

function readVectors(table: Table, { column, spec }: VectorColumnLayout, count: number): DenseColumn {
  const { dimension } = spec;
  const values = new Float32Array(count * dimension);
  const present = new Uint8Array(count).fill(1);
  const at = table.schema.fields.findIndex(({ name }) => name === column);
  let first = 0;
  for (const { data } of table.batches) {
    const list = childOf(data, at);
    const items = childOf(list, 0).values;
    const floats: ArrayLike<number> =
      spec.precision === 'float16' ? new Float16Array(items.buffer, items.byteOffset, items.length) : items;
    values.set(
      list.length * dimension === floats.length
        ? floats
        : Array.prototype.slice.call(floats, 0, list.length * dimension),
      first * dimension,
    );
    for (let row = 0; row < list.length; row++) {
      if (isValid(list, row)) continue;
      present[first + row] = 0;
      values.fill(0, (first + row) * dimension, (first + row + 1) * dimension);
    }
    first += list.length;
  }
  return present.includes(0) ? { kind: 'dense', dimension, values, present } : { kind: 'dense', dimension, values };
}

function refuseRepeated(ids: readonly string[]): void {
  if (new Set(ids).size === ids.length) return;
  const seen = new Set<string>();
  const repeated = ids.filter((id) => seen.size === seen.add(id).size);
  throw new RecordRefused(`${repeated.length} ids are there twice in one batch, the first is '${repeated[0]}'`, {
    ids: repeated,
  });
}

function integerIds(ids: readonly string[]): Data {
  const refused = ids.filter((id) => !isIntegerId(id));
  if (refused.length > 0)
    throw new RecordRefused(
      `the table's ids are 64-bit integers; ${refused.length} ids are not, the first is '${refused[0]}'`,
      { ids: refused },
    );
  return makeData({ type: new Int64(), length: ids.length, nullCount: 0, data: BigInt64Array.from(ids, BigInt) });
}

function vectorData(batch: Batch, { spec }: VectorColumnLayout): Data {
  const type = vectorType(spec);
  const column = batch.vectors.get(spec.name);
  if (column === undefined) {
    const child = floatData(new Float32Array(batch.count * spec.dimension), spec.precision);
    return makeData({
      type,
      length: batch.count,
      nullCount: batch.count,
      nullBitmap: bitmap(batch.count, () => false),
      child,
    });
  }
  if (column.kind !== 'dense' || column.dimension !== spec.dimension)
    throw new RecordRefused(
      `vector '${spec.name}' of the table has ${spec.dimension} dimensions; the batch holds a ${column.kind} one${column.kind === 'dense' ? ` of ${column.dimension}` : ''}`,
      { ids: batch.ids },
    );
  const child = floatData(column.values, spec.precision);
  if (column.present === undefined) return makeData({ type, length: batch.count, nullCount: 0, child });
  const nullCount = column.present.reduce((sum, present) => sum + 1 - present, 0);
  return makeData({
    type,
    length: batch.count,
    nullCount,
    nullBitmap: bitmap(batch.count, (at) => hasVector(column, at)),
    child,
  });
}

function floatData(values: Float32Array, precision: string): Data {
  if (precision !== 'float16')
    return makeData({ type: new Float32(), length: values.length, nullCount: 0, data: values });
  const halves = new Float16Array(values);
  return makeData({ type: new Float16(), length: halves.length, nullCount: 0, data: new Uint16Array(halves.buffer) });
}

interface FieldColumns {
  readonly columns: ReadonlyMap<string, Data>;
  /** The JSON of what no column holds; null for nothing. */
  readonly rest: readonly (string | null)[];
}

function fieldColumns(batch: Batch, layout: Layout, arrow: Schema): FieldColumns {
  const writers = new Map(
    layout.fields.flatMap(({ name }) => {
      const type = arrow.fields.find((field) => field.name === name)?.type;
      const writer = columnWriter(type, batch.count);
      return writer === undefined ? [] : [[name, writer] as const];
    }),
  );
  const rest = batch.payloads.map((payload, at) => {
    if (writers.size === 0 && layout.isOurs) return payload === '{}' ? null : payload;
    const left: [string, string][] = [];
    for (const [name, raw] of splitObject(payload)) {
      if (writers.get(name)?.put(at, raw) !== 'exact') left.push([name, raw]);
    }
    if (left.length === 0) return null;
    if (!layout.isOurs) refuseLeft(batch.ids[at] ?? '', left);
    return joinObject(left);
  });
  return { columns: new Map([...writers].map(([name, writer]) => [name, writer.finish()])), rest };
}

/** A table that was not made here has no JSON column, so what fits none of its columns has no place. */
function refuseLeft(id: string, left: readonly (readonly [string, string])[]): void {
  const lost = left.filter(([, raw]) => raw !== 'null');
  if (lost.length === 0) return;
  throw new RecordRefused(
    `record '${id}' has fields that no column of the table holds: ${lost.map(([name]) => name).join(', ')}; leave them out in mapping.payload, or write to a table that vecferry makes`,
    { ids: [id] },
  );
}
