import { isDeepStrictEqual } from 'node:util';
import { isInteger, parse, stringify } from 'lossless-json';
import { type Batch, hasVector, type VectorColumn } from '../batch.ts';
import { canonicalNumber } from '../compare/json-equal.ts';
import { RecordRefused } from '../errors.ts';
import type { ClientRecord, ClientVector } from './side.ts';
import { columnOf, shapeOf, shapeOfVector, UnfitVector, type VectorShape, vectorAt } from './store-columns.ts';

/** Records as applications have them, out of batches and into them. */

export type VectorShapes = ReadonlyMap<string, VectorShape>;

/** A batch knows the shapes of its vectors, without records too. */
export function shapesOf({ vectors }: Batch): VectorShapes {
  return new Map([...vectors].map(([name, column]) => [name, shapeOf(column)]));
}

/** The records of a batch, each with memory of its own. */
export function recordsOf(batch: Batch): ClientRecord[] {
  return batch.ids.map((id, at) => {
    const vectors = [...batch.vectors].flatMap(([name, column]): [string, ClientVector][] =>
      hasVector(column, at) ? [[name, vectorAt(column, at)]] : [],
    );
    return { id, vectors: Object.fromEntries(vectors), payload: payloadOf(batch.payloads[at] ?? '{}', id) };
  });
}

/**
 * The records as a batch that has a column for every vector of `shapes`, and for every other that a record has.
 * @throws RecordRefused naming the record that has a vector of another kind or length, or a payload that is no JSON.
 */
export function batchOf(records: readonly ClientRecord[], shapes: VectorShapes): Batch {
  const names = new Set([...shapes.keys(), ...records.flatMap(({ vectors }) => Object.keys(vectors))]);
  return {
    count: records.length,
    ids: records.map(({ id }) => id),
    vectors: new Map([...names].map((name) => [name, namedColumn(records, name, shapes.get(name))])),
    payloads: records.map(payloadText),
  };
}

function namedColumn(records: readonly ClientRecord[], name: string, declared?: VectorShape): VectorColumn {
  const vectors = records.map((record) => record.vectors[name]);
  try {
    return columnOf(vectors, declared ?? shapeOfVector(vectors.find((vector) => vector !== undefined) ?? []));
  } catch (cause) {
    if (!(cause instanceof UnfitVector)) throw cause;
    const id = records[cause.at]?.id ?? '';
    throw new RecordRefused(`vector '${name}' of record '${id}' ${cause.message}`, { ids: [id], cause });
  }
}

/** Of records with the same id the last: a store takes each id once. */
export function lastOfEach(records: readonly ClientRecord[]): readonly ClientRecord[] {
  return [...new Map(records.map((record) => [record.id, record])).values()];
}

/** The text that a payload was read from: doubles do not hold every decimal that JSON can. */
const texts = new WeakMap<object, string>();

function payloadOf(text: string, id: string): ClientRecord['payload'] {
  const payload = parsePayload(text);
  if (!isObject(payload)) throw new RecordRefused(`the payload of record '${id}' is no JSON object`, { ids: [id] });
  texts.set(payload, text);
  return payload;
}

function parsePayload(text: string): unknown {
  return parse(text, undefined, { parseNumber, onDuplicateKey: ({ newValue }) => newValue });
}

/** PostgreSQL's jsonb gives 1e300 as an integer of 301 digits: what a double says as well stays one, beyond 64 bits. */
function parseNumber(digits: string): number | bigint {
  const value = Number(digits);
  if (Number.isSafeInteger(value) || !isInteger(digits)) return value;
  const is64Bits = Math.abs(value) <= 2 ** 64;
  return is64Bits || canonicalNumber(String(value)) !== canonicalNumber(digits) ? BigInt(digits) : value;
}

/** As it was read, digit by digit, unless it was changed since. @throws RecordRefused for what JSON has no form for */
function payloadText({ id, payload }: ClientRecord): string {
  const text = isObject(payload) ? texts.get(payload) : undefined;
  if (text !== undefined && isDeepStrictEqual(parsePayload(text), payload)) return text;
  const checked = (name: string, value: unknown): unknown => {
    if (typeof value !== 'number' || Number.isFinite(value)) return value;
    throw new RecordRefused(`field '${name}' of record '${id}' is ${value}, which JSON has no form for`, { ids: [id] });
  };
  const written = isObject(payload) ? stringify(payload, checked) : undefined;
  if (written?.startsWith('{') === true) return written;
  throw new RecordRefused(`the payload of record '${id}' is no JSON object`, { ids: [id] });
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
