import type { Batch, VectorColumn } from '../../batch.ts';
import { RecordRefused } from '../../errors.ts';
import type { Piece, Range, ReadOptions } from '../port.ts';
import type { Column, Layout, VectorField } from './catalog.ts';
import { readTuples, type Tuple } from './copy.ts';
import { quoteName, quoteText } from './names.ts';
import { type FieldReader, keyReaderOf, readerOf, UnreadableValue } from './types.ts';

/** Rows of a binary COPY as columns: the key as ids, vectors as flat floats, everything else as JSON text. */

/** A range's bound: the key's values as texts. */
export type KeyValues = readonly string[];

/** The SELECT whose rows `readPieces` takes. `tail` is what follows FROM table: WHERE, ORDER BY. */
export function selectRecords(layout: Layout, tail: string): string {
  const { key, vectors } = layout;
  const selected = [
    ...key.map((column) => keyReaderOf(column).select),
    ...vectors.map(({ column, isHidden = false }) => (isHidden ? 'NULL' : quoteName(column.name))),
    ...payloadColumns(layout).map((column) => readerOf(column).select),
  ];
  return `SELECT ${selected.join(', ')} FROM ${tableOf(layout)} ${tail}`;
}

export const tableOf = ({ schema, table }: Layout): string => `${quoteName(schema)}.${quoteName(table)}`;
export const keyList = ({ key }: Layout): string => key.map(({ name }) => quoteName(name)).join(', ');

/** `(k1, k2) >= ('a'::text, '7'::bigint)`: the server compares as it orders, by the columns' own types and collations. */
export function rangeFilter(layout: Layout, { from, to }: Range): string {
  const { filter } = layout;
  const side = (operator: string, bound: string | null): string[] =>
    bound === null ? [] : [`(${keyList(layout)}) ${operator} (${keyLiterals(layout.key, parseBound(bound))})`];
  const conditions = [...side('>=', from), ...side('<', to), ...(filter === undefined ? [] : [filter])];
  return conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
}

export function keyLiterals(key: readonly Column[], values: KeyValues): string {
  return key.map(({ type }, at) => `${quoteText(values[at] ?? '')}::${type}`).join(', ');
}

export const writeBound = (values: KeyValues): string => JSON.stringify(values);

export function parseBound(bound: string): KeyValues {
  const values: unknown = JSON.parse(bound);
  if (!Array.isArray(values)) throw new RangeError(`no bound of a range: ${bound}`);
  return values.map(String);
}

/** Batches that keep to `limits`, each with the range that is left after it. @param expected records that there will be about */
export async function* readPieces(
  layout: Layout,
  chunks: AsyncIterable<Uint8Array>,
  to: string | null,
  limits: ReadOptions,
  expected = 256,
): AsyncIterable<Piece> {
  const rows = rowReader(layout);
  let builder = batchBuilder(layout.vectors, expected);
  for await (const tuples of readTuples(chunks, rows.fields)) {
    for (const tuple of tuples) {
      const payload = rows.payload(tuple);
      const isFull =
        builder.count() >= limits.maxRecords ||
        builder.bytes() + payload.length + rows.vectorBytes(tuple) > limits.maxBytes;
      if (isFull && builder.count() > 0) {
        yield { batch: builder.finish(), rest: { from: writeBound(rows.key(tuple)), to } };
        // The next batch will be about as long.
        builder = batchBuilder(layout.vectors, builder.count() + 1);
      }
      builder.add(rows.id(tuple), payload, tuple, layout.key.length);
    }
  }
  if (builder.count() > 0) yield { batch: builder.finish(), rest: null };
}

function payloadColumns({ payload, fields }: Layout): readonly Column[] {
  return payload === undefined ? fields : [payload];
}

/** How a tuple of `selectRecords` is taken apart. */
function rowReader(layout: Layout) {
  const keys = layout.key.map((column): FieldReader => keyReaderOf(column));
  const isNumber = areNumbers(layout.key);
  const columns = payloadColumns(layout);
  const readers = columns.map((column) => readerOf(column));
  const prefixes = columns.map(({ name }, at) => `${at === 0 ? '{' : ','}${JSON.stringify(name)}:`);
  const firstVector = keys.length;
  const firstField = firstVector + layout.vectors.length;
  const key = ({ bytes, starts, lengths }: Tuple): string[] =>
    keys.map((reader, at) => reader.decode(bytes, starts[at] ?? 0, lengths[at] ?? 0));
  const idOf = (values: readonly string[]): string =>
    values.length === 1 ? (values[0] ?? '') : compositeId(values, isNumber);
  const value = (tuple: Tuple, at: number): string => {
    const start = tuple.starts[firstField + at] ?? 0;
    const length = tuple.lengths[firstField + at] ?? -1;
    try {
      return length < 0 ? 'null' : (readers[at]?.decode(tuple.bytes, start, length) ?? 'null');
    } catch (cause) {
      if (!(cause instanceof UnreadableValue)) throw cause;
      const id = idOf(key(tuple));
      const column = columns[at]?.name;
      throw new RecordRefused(
        `record ${id}: column '${column}' ${cause.message}; set it to NULL, or leave the column out with mapping.payload {"${column}": null}`,
        { ids: [id], cause },
      );
    }
  };
  return {
    fields: firstField + columns.length,
    key,
    id: (tuple: Tuple): string => idOf(key(tuple)),
    vectorBytes: ({ lengths }: Tuple): number => {
      let bytes = 0;
      layout.vectors.forEach(({ form }, at) => {
        bytes += floatBytes(form, lengths[firstVector + at] ?? -1);
      });
      return bytes;
    },
    payload: (tuple: Tuple): string => {
      if (layout.payload !== undefined) {
        const whole = value(tuple, 0);
        return whole === 'null' ? '{}' : whole;
      }
      if (columns.length === 0) return '{}';
      let text = '';
      for (let at = 0; at < columns.length; at++) text += `${prefixes[at]}${value(tuple, at)}`;
      return `${text}}`;
    },
  };
}

/** A composite key as one id: a compact JSON array, integers as numbers. */
/** Which of the key's values stand as numbers in a composite id. */
export const areNumbers = (key: readonly Column[]): boolean[] => key.map(({ base }) => /^int[248]$/.test(base));

export function compositeId(values: readonly string[], isNumber: readonly boolean[]): string {
  return `[${values.map((value, at) => (isNumber[at] === true ? value : JSON.stringify(value))).join(',')}]`;
}

/** What batchBytes counts for a vector whose binary form has `length` bytes. */
function floatBytes(form: VectorField['form'], length: number): number {
  if (length < 0) return 0;
  switch (form) {
    case 'vector':
      return length - 4;
    case 'halfvec':
      return (length - 4) * 2;
    case 'sparsevec':
      return length - 12;
    case 'float4[]':
      return (length - arrayHead) / 2;
    case 'float8[]':
      return (length - arrayHead) / 3;
  }
}

function batchBuilder(fields: readonly VectorField[], expected: number) {
  const ids: string[] = [];
  const payloads: string[] = [];
  const vectors = fields.map((field) => builderOf(field, expected));
  let bytes = 0;
  return {
    count: (): number => ids.length,
    bytes: (): number => bytes,
    add(id: string, payload: string, { bytes: row, starts, lengths }: Tuple, firstVector: number): void {
      ids.push(id);
      payloads.push(payload);
      bytes += payload.length;
      vectors.forEach((vector, at) => {
        bytes += vector.add(row, starts[firstVector + at] ?? 0, lengths[firstVector + at] ?? -1, id);
      });
    },
    finish: (): Batch => ({
      count: ids.length,
      ids,
      payloads,
      vectors: new Map(
        fields.map(({ name }, at): [string, VectorColumn] => [name, vectors[at]?.finish(ids.length) ?? noVector]),
      ),
    }),
  };
}

const noVector: VectorColumn = { kind: 'dense', dimension: 0, values: new Float32Array(0) };

interface VectorBuilder {
  /** The next record's vector; returns the bytes it adds to the batch. */
  add(row: Buffer, start: number, length: number, id: string): number;
  finish(count: number): VectorColumn;
}

function builderOf(field: VectorField, expected: number): VectorBuilder {
  if (field.form === 'sparsevec') return sparseBuilder();
  return field.form === 'float4[]' || field.form === 'float8[]' ? arrayBuilder(field) : denseBuilder(field, expected);
}

/** An array of one dimension: int32 dimensions, flags, the elements' type, length, lower bound (array_send). */
export const arrayHead = 20;

/** Each element has its length before it. */
function arrayBuilder({ name, form, dimension = 0 }: VectorField): VectorBuilder {
  const width = form === 'float8[]' ? 8 : 4;
  const all: number[] = [];
  const missing: number[] = [];
  return {
    add(row, start, length, id) {
      const found = length < arrayHead ? 0 : row.readInt32BE(start + 12);
      if (length < 0) missing.push(all.length / Math.max(1, dimension));
      else if (found !== dimension || length !== arrayHead + found * (4 + width)) {
        const text = `record ${id}: '${name}' has ${found} elements, or some that are NULL; the model's vectors have ${dimension}`;
        throw new RecordRefused(text, { ids: [id] });
      }
      for (let i = 0; i < dimension; i++) {
        const at = start + arrayHead + i * (4 + width) + 4;
        if (length < 0) all.push(0);
        else all.push(width === 8 ? row.readDoubleBE(at) : row.readFloatBE(at));
      }
      return dimension * 4;
    },
    finish: (records) => ({ kind: 'dense', dimension, values: Float32Array.from(all), ...presence(records, missing) }),
  };
}

/** vector: int16 dimension, int16 0, float32s; halfvec the same with float16s (vector_send, halfvec_send). */
function denseBuilder({ name, form, dimension = 0 }: VectorField, expected: number): VectorBuilder {
  const width = form === 'halfvec' ? 2 : 4;
  const stride = dimension * width;
  let room = expected;
  let bytes = Buffer.allocUnsafeSlow(room * stride);
  let count = 0;
  const missing: number[] = [];
  return {
    add(row, start, length, id) {
      if (count === room) {
        room *= 2;
        const larger = Buffer.allocUnsafeSlow(room * stride);
        larger.set(bytes);
        bytes = larger;
      }
      if (length < 0) {
        missing.push(count);
        bytes.fill(0, count * stride, (count + 1) * stride);
      } else {
        const found = row.readUInt16BE(start);
        if (found !== dimension) {
          throw new RecordRefused(
            `record ${id}: vector '${name}' has ${found} dimensions, the others have ${dimension}`,
            {
              ids: [id],
            },
          );
        }
        row.copy(bytes, count * stride, start + 4, start + length);
      }
      count++;
      return dimension * 4;
    },
    finish(records) {
      const used = bytes.subarray(0, records * stride);
      const values = form === 'halfvec' ? halfFloats(used) : floats(used);
      return { kind: 'dense', dimension, values, ...presence(records, missing) };
    },
  };
}

/** sparsevec: int32 dimension, int32 count, int32 0, the zero-based indices as int32, the values as float32 (sparsevec_send). */
function sparseBuilder(): VectorBuilder {
  const indices: number[] = [];
  const values: number[] = [];
  const offsets: number[] = [0];
  const missing: number[] = [];
  return {
    add(row, start, length) {
      if (length < 0) missing.push(offsets.length - 1);
      const entries = length < 0 ? 0 : row.readInt32BE(start + 4);
      for (let i = 0; i < entries; i++) {
        indices.push(row.readInt32BE(start + 12 + i * 4));
        values.push(row.readFloatBE(start + 12 + (entries + i) * 4));
      }
      offsets.push(indices.length);
      return entries * 8;
    },
    finish: (records) => ({
      kind: 'sparse',
      offsets: Uint32Array.from(offsets),
      indices: Uint32Array.from(indices),
      values: Float32Array.from(values),
      ...presence(records, missing),
    }),
  };
}

/** Takes `bytes` over: they are swapped where they lie. */
function floats(bytes: Buffer): Float32Array {
  bytes.swap32();
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

function halfFloats(bytes: Buffer): Float32Array {
  bytes.swap16();
  return new Float32Array(new Float16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
}

function presence(count: number, missing: readonly number[]): { readonly present?: Uint8Array } {
  if (missing.length === 0) return {};
  const present = new Uint8Array(count).fill(1);
  for (const at of missing) present[at] = 0;
  return { present };
}
