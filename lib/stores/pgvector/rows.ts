import { type Batch, hasVector, type VectorColumn } from '../../batch.ts';
import { Incompatible, RecordRefused } from '../../errors.ts';
import { endOfValue, splitObject } from '../json-members.ts';
import { type Column, type Layout, maxSparseDimension, type VectorField } from './catalog.ts';
import { type CopyWriter, copyHeader, copyTrailer, copyWriter } from './copy.ts';
import {
  checkedText,
  encodeForCast,
  encoderOf,
  isDirect,
  keyEncoderOf,
  UnwritableValue,
  writeJsonb,
} from './encode.ts';
import { arrayHead } from './read.ts';
import { keyOfId } from './source.ts';

/** A batch as binary COPY, and the columns that it fills. */
export interface EncodedBatch {
  /** The COPY in chunks, made while the server takes the ones before: each call begins anew. @throws RecordRefused */
  body(): Iterable<Uint8Array<ArrayBuffer>>;
  /** In the order of the fields. */
  readonly columns: readonly EncodedColumn[];
}

export interface EncodedColumn {
  readonly column: Column;
  readonly isKey: boolean;
  /** False: the field holds text, which the server casts. */
  readonly isDirect: boolean;
}

/**
 * @throws Incompatible when the batch has a vector that the table has no column for.
 */
export function encodeBatch(layout: Layout, batch: Batch): EncodedBatch {
  const fields = layout.fields.filter(({ isGenerated }) => !isGenerated);
  const columns: EncodedColumn[] = [
    ...layout.key.map((column) => ({ column, isKey: true, isDirect: isDirect(column) })),
    ...layout.vectors.map(({ column }) => ({ column, isKey: false, isDirect: true })),
    ...(layout.payload === undefined ? fields : [layout.payload]).map((column) => ({
      column,
      isKey: false,
      isDirect: isDirect(column),
    })),
  ];
  const keys = keyWriter(layout);
  const vectors = vectorWriters(layout, batch);
  const payload = layout.payload === undefined ? fieldsWriter(layout, fields) : wholePayload;
  const write = (at: number, writer: CopyWriter): void => {
    const id = batch.ids[at] ?? '';
    writer.tuple(columns.length);
    try {
      keys(id, writer);
      for (const vector of vectors) vector(at, writer);
      payload(batch.payloads[at] ?? '{}', writer);
    } catch (cause) {
      if (cause instanceof UnwritableValue)
        throw new RecordRefused(`record ${id}: ${cause.message}`, { ids: [id], cause });
      throw cause;
    }
  };
  return { columns, body: () => chunksOf(batch.count, write) };
}

const chunkBytes = 256 * 1024;

function* chunksOf(count: number, write: (at: number, writer: CopyWriter) => void): Iterable<Uint8Array<ArrayBuffer>> {
  const writer = copyWriter(chunkBytes + chunkBytes / 4);
  yield copyHeader;
  for (let at = 0; at < count; at++) {
    write(at, writer);
    if (writer.size() >= chunkBytes) yield writer.take();
  }
  if (writer.size() > 0) yield writer.take();
  yield copyTrailer;
}

function keyWriter({ key }: Layout): (id: string, writer: CopyWriter) => void {
  const encoders = key.map(keyEncoderOf);
  const types = key.map(({ native }) => native).join(', ');
  return (id, writer) => {
    checkedText(id);
    const values = keyOfId(key, id);
    if (values === undefined) throw new UnwritableValue(`the key (${types}) cannot hold this id`);
    encoders.forEach((encode, at) => {
      encode(values[at] ?? '', writer);
    });
  };
}

function wholePayload(payload: string, writer: CopyWriter): void {
  try {
    writeJsonb(payload, writer);
  } catch (cause) {
    if (cause instanceof UnwritableValue) throw new UnwritableValue(`the payload ${cause.message}`);
    throw cause;
  }
}

function fieldsWriter(
  { key, vectors }: Layout,
  fields: readonly Column[],
): (payload: string, writer: CopyWriter) => void {
  const encoders = fields.map((column) => ({
    name: column.name,
    encode: encoderOf(column) ?? encodeForCast(column),
  }));
  const names = new Set(fields.map(({ name }) => name));
  const prefixes = fields.map(({ name }, at) => `${at === 0 ? '{' : ','}${JSON.stringify(name)}:`);
  const others = new Set([...key, ...vectors.map(({ column }) => column)].map(({ name }) => name));
  const refuseUnknown = (members: ReadonlyMap<string, string>): void => {
    for (const name of members.keys()) {
      if (names.has(name)) continue;
      const why = others.has(name) ? 'is the key or a vector in the table' : 'has no column in the table';
      throw new UnwritableValue(
        `payload field '${name}' ${why}; leave it out with mapping.payload {"${name}": null}, or make a column`,
      );
    }
  };
  const valuesOf = (payload: string): readonly string[] => {
    const members = splitObject(payload);
    refuseUnknown(members);
    return fields.map(({ name }) => members.get(name) ?? 'null');
  };
  return (payload, writer) => {
    const values = valuesInOrder(payload, prefixes) ?? valuesOf(payload);
    encoders.forEach(({ name, encode }, at) => {
      try {
        encode(values[at] ?? 'null', writer);
      } catch (cause) {
        if (cause instanceof UnwritableValue) throw new UnwritableValue(`payload field '${name}' ${cause.message}`);
        throw cause;
      }
    });
  };
}

/**
 * The members' values where the text holds just these, in this order, without white space between them: as this store writes
 * payloads. Spares taking the object apart, which costs more than encoding it. undefined: it is written otherwise.
 */
function valuesInOrder(text: string, prefixes: readonly string[]): readonly string[] | undefined {
  const values: string[] = [];
  let at = 0;
  for (const prefix of prefixes) {
    if (!text.startsWith(prefix, at)) return undefined;
    at += prefix.length;
    const end = endOfValue(text, at);
    values.push(text.slice(at, end));
    at = end;
  }
  return prefixes.length > 0 && text[at] === '}' && at === text.length - 1 ? values : undefined;
}

type WriteVector = (at: number, writer: CopyWriter) => void;

function vectorWriters({ vectors, table }: Layout, batch: Batch): WriteVector[] {
  for (const name of batch.vectors.keys()) {
    if (!vectors.some((field) => field.name === name))
      throw new Incompatible(`table '${table}' has no column for vector '${name}'`, { ids: [name] });
  }
  return vectors.map((field) => {
    const column = batch.vectors.get(field.name);
    if (column === undefined) return (_, writer) => writer.none();
    const write = vectorWriter(field, column);
    return (at, writer) => (hasVector(column, at) ? write(at, writer) : writer.none());
  });
}

function vectorWriter(field: VectorField, column: VectorColumn): WriteVector {
  if (column.kind === 'dense' && (field.form === 'vector' || field.form === 'halfvec'))
    return denseWriter(field.form, column.dimension, column.values);
  if (column.kind === 'dense' && (field.form === 'float4[]' || field.form === 'float8[]'))
    return arrayWriter(field.form, column.dimension, column.values);
  if (column.kind === 'sparse' && field.form === 'sparsevec') {
    const { offsets, indices, values } = column;
    return sparseWriter(field.dimension ?? maxSparseDimension, offsets, indices, values);
  }
  throw new Incompatible(
    `column '${field.column.name}' is a ${field.form}; it cannot hold the ${column.kind} vector '${field.name}'`,
    {
      ids: [field.name],
    },
  );
}

/** The whole column is turned to big-endian at once; each record is then one copy of bytes. */
function denseWriter(form: 'vector' | 'halfvec', dimension: number, values: Float32Array): WriteVector {
  const bytes = form === 'vector' ? bigEndianFloats(values) : bigEndianHalves(values);
  const stride = dimension * (form === 'vector' ? 4 : 2);
  const head = Buffer.alloc(4);
  head.writeUInt16BE(dimension, 0);
  return (at, writer) => writer.copy(bytes, at * stride, (at + 1) * stride, head);
}

/** Types of the elements (pg_type.dat). */
const elementTypes = { 'float4[]': 700, 'float8[]': 701 } as const;

function arrayWriter(form: 'float4[]' | 'float8[]', dimension: number, values: Float32Array): WriteVector {
  const width = form === 'float8[]' ? 8 : 4;
  return (record, writer) => {
    writer.fixed(arrayHead + dimension * (4 + width), (bytes, at) => {
      // One dimension, no NULL, counted from 1.
      for (const [i, value] of [1, 0, elementTypes[form], dimension, 1].entries())
        bytes.writeInt32BE(value, at + i * 4);
      for (let i = 0; i < dimension; i++) {
        const to = at + arrayHead + i * (4 + width);
        const value = values[record * dimension + i] ?? 0;
        bytes.writeInt32BE(width, to);
        if (width === 8) bytes.writeDoubleBE(value, to + 4);
        else bytes.writeFloatBE(value, to + 4);
      }
    });
  };
}

function bigEndianFloats(values: Float32Array): Buffer {
  return Buffer.from(values.slice().buffer).swap32();
}

function bigEndianHalves(values: Float32Array): Buffer {
  return Buffer.from(new Float16Array(values).buffer).swap16();
}

function sparseWriter(
  dimension: number,
  offsets: Uint32Array,
  indices: Uint32Array,
  values: Float32Array,
): WriteVector {
  return (record, writer) => {
    const from = offsets[record] ?? 0;
    const count = (offsets[record + 1] ?? from) - from;
    writer.fixed(12 + count * 8, (bytes, at) => {
      bytes.writeInt32BE(dimension, at);
      bytes.writeInt32BE(count, at + 4);
      bytes.writeInt32BE(0, at + 8);
      for (let i = 0; i < count; i++) {
        const index = indices[from + i] ?? 0;
        if (index >= dimension)
          throw new UnwritableValue(`sparse index ${index} is beyond the column's dimension ${dimension}`);
        const value = values[from + i] ?? 0;
        if (value === 0) throw new UnwritableValue(`sparse index ${index} holds 0, which a sparsevec has no place for`);
        bytes.writeInt32BE(index, at + 12 + i * 4);
        bytes.writeFloatBE(value, at + 12 + (count + i) * 4);
      }
    });
  };
}
