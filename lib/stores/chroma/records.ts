import type { Batch, DenseColumn } from '../../batch.ts';
import { RecordRefused } from '../../errors.ts';
import { fitsDouble, isNumber, joinObject, splitArray, splitObject, stringOf } from '../json-members.ts';

/**
 * A record's payload as Chroma's metadata, document and URI, and back.
 *
 * Text, booleans, 64-bit integers, numbers and lists of one of these are metadata under their own names. All else
 * (objects, null, empty and mixed lists, longer integers, names that Chroma reserves) stands as JSON text under one
 * metadata key, restKey, and is joined with the others on reading. Chroma parses some numbers of 16 and more digits to a
 * neighbouring double: they stand in both places, so that filters find them and no digit is lost.
 */
export const restKey = 'vecferry_json';

export interface Names {
  /** Payload field that is Chroma's document. */
  readonly document: string;
  /** Payload field that is Chroma's URI. */
  readonly uri: string;
}

export interface ChromaPayload {
  /** Metadata key -> JSON text of its value. */
  readonly metadata: Map<string, string>;
  /** JSON text of a string. */
  readonly document: string | undefined;
  readonly uri: string | undefined;
}

export function toChroma(payload: string, names: Names): ChromaPayload {
  const metadata = new Map<string, string>();
  const rest: [string, string][] = [];
  let document: string | undefined;
  let uri: string | undefined;
  for (const [name, raw] of splitObject(payload)) {
    if (name === names.document && raw.startsWith('"')) document = raw;
    else if (name === names.uri && raw.startsWith('"')) uri = raw;
    else if (isKey(name, names) && isMetadata(raw)) {
      metadata.set(name, raw);
      if (isNumber(raw) && !isParsedExactly(raw)) rest.push([name, raw]);
    } else rest.push([name, raw]);
  }
  if (rest.length > 0) metadata.set(restKey, JSON.stringify(joinObject(rest)));
  return { metadata, document, uri };
}

/** @throws RecordRefused when a metadata key and the document would both become the same payload field. */
export function fromChroma(id: string, { metadata, document, uri }: ChromaPayload, names: Names): string {
  if (metadata.size === 0 && document === undefined && uri === undefined) return '{}';
  const members = new Map(metadata);
  for (const [name, value] of [
    [names.document, document],
    [names.uri, uri],
  ] as const) {
    if (value === undefined) continue;
    if (members.has(name))
      throw new RecordRefused(
        `record '${id}' has a metadata key '${name}' beside what becomes payload field '${name}'; set options.document or options.uri of the Chroma endpoint to other names`,
        { ids: [id] },
      );
    members.set(name, value);
  }
  const rest = members.get(restKey);
  if (rest === undefined || !/^"\s*\{/.test(rest)) return joinObject(members);
  members.delete(restKey);
  for (const [name, raw] of splitObject(stringOf(rest))) {
    const there = members.get(name);
    // A number that somebody has changed in the metadata since is the newer one.
    if (there === undefined || isSameButRounded(there, raw)) members.set(name, raw);
  }
  return joinObject(members);
}

/** Names that Chroma refuses or keeps for itself; a key `chroma:document` stops a 1.5 server's writer for good. */
export function isKey(name: string, names: Names): boolean {
  if (name === '' || name === restKey || name === names.document || name === names.uri) return false;
  return !name.startsWith('$') && !name.startsWith('#') && !name.startsWith('chroma:');
}

function isMetadata(raw: string): boolean {
  if (raw.startsWith('[')) return isList(raw);
  return isScalar(raw);
}

/** Lists of one kind. Their numbers have no second place, so only exact ones are taken. */
function isList(raw: string): boolean {
  const kinds = new Set(splitArray(raw).map((element) => (isScalar(element) ? kindOf(element) : 'none')));
  const [kind] = kinds;
  return kinds.size === 1 && kind !== undefined && kind !== 'none';
}

function kindOf(raw: string): string {
  if (raw.startsWith('"')) return 'text';
  if (raw === 'true' || raw === 'false') return 'boolean';
  if (!isParsedExactly(raw)) return 'none';
  return isInteger(raw) ? 'integer' : 'float';
}

function isScalar(raw: string): boolean {
  if (raw.startsWith('"')) return stringOf(raw).isWellFormed();
  if (raw === 'true' || raw === 'false') return true;
  if (!isNumber(raw)) return false;
  return isInteger(raw) ? isInt64(raw) : Number.isFinite(Number(raw)) && fitsDouble(raw);
}

function isInteger(raw: string): boolean {
  return /^-?\d+$/.test(raw);
}

function isInt64(raw: string): boolean {
  const value = BigInt(raw);
  return value >= -(2n ** 63n) && value < 2n ** 63n;
}

/**
 * True for numbers that any parser reads exactly: at most 15 digits and a power of ten up to 22 (both are exact in a
 * double, and so is their product; Clinger 1990). Measured against chromadb 1.5.9, which errs beyond them.
 */
export function isParsedExactly(raw: string): boolean {
  if (isInteger(raw)) return isInt64(raw);
  const match = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(raw);
  const fraction = match?.[2] ?? '';
  const digits = `${match?.[1]}${fraction}`.replace(/^0+/, '');
  return digits.length <= 15 && Math.abs(Number(match?.[3] ?? 0) - fraction.length) <= 22;
}

function isSameButRounded(there: string, exact: string): boolean {
  if (!isNumber(there) || !isNumber(exact)) return false;
  // One step between neighbouring doubles is at most 2^-52 of the value.
  return Math.abs(Number(there) - Number(exact)) <= Math.abs(Number(exact)) * 2 ** -51;
}

/** Chroma's answer to get: columns of the records found. */
export interface Answer {
  readonly ids: readonly string[];
  readonly payloads: readonly ChromaPayload[];
  /** Undefined where they were not asked for. */
  readonly embeddings: readonly (readonly number[] | null)[] | undefined;
}

export function parseAnswer(text: string): Answer {
  const answer = splitObject(text);
  const ids = splitArray(answer.get('ids') ?? '[]').map(stringOf);
  const metadatas = column(answer.get('metadatas'), ids.length);
  const documents = column(answer.get('documents'), ids.length);
  const uris = column(answer.get('uris'), ids.length);
  const payloads = ids.map((_, at) => ({
    metadata: withoutNulls(metadatas[at]),
    document: documents[at],
    uri: uris[at],
  }));
  const raw = answer.get('embeddings');
  const embeddings: (number[] | null)[] | undefined = raw === undefined || raw === 'null' ? undefined : JSON.parse(raw);
  return { ids, payloads, embeddings };
}

/** Elements of a column; undefined where there is null or no column at all. */
function column(raw: string | undefined, count: number): (string | undefined)[] {
  if (raw === undefined || raw === 'null') return new Array(count).fill(undefined);
  return splitArray(raw).map((element) => (element === 'null' ? undefined : element));
}

function withoutNulls(raw: string | undefined): Map<string, string> {
  const metadata = raw === undefined ? new Map<string, string>() : splitObject(raw);
  for (const [name, value] of metadata) if (value === 'null') metadata.delete(name);
  return metadata;
}

/** The records of an answer that has embeddings, in the order of `ids`; those that it lacks are left out. */
export function toBatch(
  answer: Answer,
  ids: readonly string[],
  vector: string,
  dimension: number,
  names: Names,
): Batch {
  const positions = new Map(answer.ids.map((id, at) => [id, at]));
  const found = ids.flatMap((id) => positions.get(id) ?? []);
  const values = new Float32Array(found.length * dimension);
  const present = new Uint8Array(found.length);
  const payloads = found.map((at, to) => {
    const embedding = answer.embeddings?.[at];
    if (embedding !== undefined && embedding !== null) {
      values.set(embedding, to * dimension);
      present[to] = 1;
    }
    const payload = answer.payloads[at];
    return payload === undefined ? '{}' : fromChroma(answer.ids[at] ?? '', payload, names);
  });
  const all: DenseColumn = { kind: 'dense', dimension, values };
  return {
    count: found.length,
    ids: found.map((at) => answer.ids[at] ?? ''),
    vectors: new Map([[vector, present.includes(0) ? { ...all, present } : all]]),
    payloads,
  };
}
