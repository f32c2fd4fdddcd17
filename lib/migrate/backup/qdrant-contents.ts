import { hash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { type Batch, hasVector, type VectorColumn } from '../../batch.ts';
import { canonicalNumber } from '../../compare/json-equal.ts';
import { Throttled } from '../../errors.ts';
import type { Range, Store } from '../../stores/port.ts';
import { afterSpace, eachField, eachItem } from '../../stores/qdrant/json.ts';
import { plural } from '../../words.ts';

/**
 * What a collection holds, in a few kilobytes however large it is: every record is hashed as it is scrolled (its id, its payload, each of
 * its vectors, each bound to the id), and the hashes are summed, which no order changes. The sums are kept by bucket, and a record's bucket
 * is told by its id: so what is written to while a backup is made spoils the proof of its own buckets, and not that of the rest.
 */

/** With 1,024 a hundred records that were written to take a tenth of the proof with them, and a vector's sums are 11 kB of text. */
const buckets = 1024;
/** 32-bit words of a hash that are summed, each for itself, modulo 2^32. */
const words = 2;
/** Bytes of SHA-256. */
const digestBytes = 32;
/** A page is bounded by bytes well before. */
const pageLimits = { maxRecords: 10_000, maxBytes: 8 << 20 };

/**
 * Qdrant keeps payloads as JSON text and reads doubles of 16 and 17 digits back an ulp or so off (docs/stores.md), again with every segment
 * that its optimizer rewrites: their last digits prove nothing. So of a double its sign is hashed, and its log2, weighted by the record,
 * is summed: sums differ where a double differs by a billionth, and not where all of them drift by ulps. Share of what was summed.
 */
const driftOfSums = 1e-11;

export interface Contents {
  readonly records: number;
  /** A bucket's sum over the doubles of its payloads, and the sum of what was added, each made positive. */
  readonly doubles: Float64Array;
  readonly magnitudes: Float64Array;
  /** Records a bucket. */
  readonly counts: Uint32Array;
  /** `ids`, `payload`, `vector 'title'` -> two words a bucket. */
  readonly sums: ReadonlyMap<string, Uint32Array>;
}

const base64Schema = z.string().regex(/^[A-Za-z0-9+/]*=*$/);
export const contentsSchema = z.strictObject({
  records: z.int().nonnegative(),
  counts: base64Schema,
  doubles: base64Schema,
  magnitudes: base64Schema,
  sums: z.record(z.string(), base64Schema),
  /** Buckets whose records changed while the snapshot was made: of them nobody knows what it holds. */
  changed: z.array(z.int().nonnegative()),
});
export type KeptContents = z.infer<typeof contentsSchema>;

/**
 * Scrolls a whole collection.
 * @param suspects buckets of which ids are wanted, up to ten of each pass
 */
export async function readContents(
  store: Pick<Store, 'read'>,
  suspects: ReadonlySet<number> = new Set(),
): Promise<Contents & { readonly suspected: readonly string[] }> {
  const counts = new Uint32Array(buckets);
  const [doubles, magnitudes] = [new Float64Array(buckets), new Float64Array(buckets)];
  const sums = new Map<string, Uint32Array>();
  const suspected: string[] = [];
  let records = 0;
  const sumOf = (aspect: string): Uint32Array => {
    const there = sums.get(aspect) ?? new Uint32Array(buckets * words);
    sums.set(aspect, there);
    return there;
  };
  for await (const batch of pagesOf(store)) {
    const [ids, payloads] = [sumOf('ids'), sumOf('payload')];
    const vectors = [...batch.vectors].map(([name, column]) => ({ column, sum: sumOf(`vector '${name}'`) }));
    for (let at = 0; at < batch.count; at++) {
      const id = batch.ids[at] ?? '';
      const own = hash('sha256', id, 'buffer');
      const bucket = own.readUInt32LE(digestBytes - 4) % buckets;
      counts[bucket] = (counts[bucket] ?? 0) + 1;
      if (suspects.has(bucket) && suspected.length < 10) suspected.push(id);
      add(ids, bucket, own);
      const { text, doubles: found } = canonicalPayload(batch.payloads[at] ?? '{}');
      add(payloads, bucket, bound(own, Buffer.from(text)));
      addDoubles({ doubles, magnitudes }, bucket, own, found);
      for (const { column, sum } of vectors)
        if (hasVector(column, at)) add(sum, bucket, bound(own, ...bytesOfVector(column, at)));
    }
    records += batch.count;
  }
  return { records, counts, doubles, magnitudes, sums, suspected };
}

/** Goes on where it was after a server was busy: strict mode's read_rate_limit counts pages. */
async function* pagesOf(store: Pick<Store, 'read'>): AsyncGenerator<Batch> {
  let range: Range = { from: null, to: null };
  for (let waits = 0; ; ) {
    try {
      for await (const { batch, rest } of store.read(range, pageLimits)) {
        if (rest !== null) range = rest;
        waits = 0;
        yield batch;
      }
      return;
    } catch (error) {
      if (!(error instanceof Throttled) || ++waits > maxWaits) throw error;
      await setTimeout(Math.min(60_000, error.retryAfterMs ?? 1000 * waits));
    }
  }
}

/** In a row, without a page between them; read_rate_limit is by the minute. */
const maxWaits = 10;

function addDoubles(
  { doubles, magnitudes }: Pick<Contents, 'doubles' | 'magnitudes'>,
  bucket: number,
  own: Buffer,
  found: readonly number[],
): void {
  for (const [place, double] of found.entries()) {
    const term = weightOf(own, place) * (1 + Math.log2(Math.abs(double)));
    doubles[bucket] = (doubles[bucket] ?? 0) + term;
    magnitudes[bucket] = (magnitudes[bucket] ?? 0) + 1 + Math.abs(term);
  }
}

/** Between 0.5 and 1.5, another for each record and each of its doubles. */
function weightOf(own: Buffer, place: number): number {
  const mixed = Math.imul(own.readUInt32LE(8) ^ (place + 1), 0x9e3779b1) >>> 0;
  return 0.5 + mixed / 2 ** 32;
}

const bound = (id: Buffer, ...bytes: readonly Uint8Array[]): Buffer =>
  hash('sha256', Buffer.concat([id, ...bytes]), 'buffer');

function add(sum: Uint32Array, bucket: number, digest: Buffer): void {
  for (let word = 0; word < words; word++) {
    const at = bucket * words + word;
    // Stored in 32 bits, so the carry goes.
    sum[at] = (sum[at] ?? 0) + digest.readUInt32LE(word * 4);
  }
}

/** As the server has it: float32s, of a sparse vector its indices before. */
function bytesOfVector(column: VectorColumn, at: number): readonly Uint8Array[] {
  const view = (array: Float32Array | Uint32Array, from: number, to: number): Uint8Array =>
    new Uint8Array(array.buffer, array.byteOffset + from * 4, (to - from) * 4);
  if (column.kind === 'dense') return [view(column.values, at * column.dimension, (at + 1) * column.dimension)];
  const [from, to] = [column.offsets[at] ?? 0, column.offsets[at + 1] ?? 0];
  if (column.kind === 'multi') return [view(column.values, from * column.dimension, to * column.dimension)];
  return [view(column.indices, from, to), view(column.values, from, to)];
}

/**
 * JSON in one spelling: keys in order, no white space, an integer by its value. gRPC gives keys in any order, and REST spells numbers
 * otherwise than JavaScript. A double stands as its sign, which tells it from an integer, as Qdrant's filters do; `doubles` has those that
 * are not 0, in order.
 */
export function canonicalPayload(text: string): { readonly text: string; readonly doubles: readonly number[] } {
  const doubles: number[] = [];
  return { text: canonicalAt(text, afterSpace(text, 0), text.length, doubles), doubles };
}

function canonicalAt(text: string, from: number, to: number, doubles: number[]): string {
  const mark = text[from];
  if (mark === '{') {
    const fields: [string, number, number][] = [];
    eachField(text, from, (key, begin, end) => fields.push([key, begin, end]));
    fields.sort(([a], [b]) => (a < b ? -1 : 1));
    const parts = fields.map(([key, begin, end]) => `${JSON.stringify(key)}:${canonicalAt(text, begin, end, doubles)}`);
    return `{${parts.join(',')}}`;
  }
  if (mark === '[') {
    const items: string[] = [];
    eachItem(text, from, (begin, end) => items.push(canonicalAt(text, begin, end, doubles)));
    return `[${items.join(',')}]`;
  }
  const scalar = text.slice(from, to).trimEnd();
  if (mark === '"') return scalar.includes('\\') ? JSON.stringify(JSON.parse(scalar)) : scalar;
  if (mark === 't' || mark === 'f' || mark === 'n') return scalar;
  if (/^-?\d+$/.test(scalar)) return canonicalNumber(scalar);
  const double = Number(scalar);
  if (double !== 0) doubles.push(double);
  return `${mark === '-' ? '-' : ''}double${double === 0 ? ' 0' : ''}`;
}

/** @param after read again once the snapshot was made: what differs from `before` was written to meanwhile */
export function keepContents(before: Contents, after: Contents): KeptContents {
  return {
    records: after.records,
    counts: textOf(after.counts),
    doubles: textOf(after.doubles),
    magnitudes: textOf(after.magnitudes),
    sums: Object.fromEntries([...after.sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, textOf(v)])),
    changed: [...differingBuckets(before, after).keys()],
  };
}

const textOf = (array: Uint32Array | Float64Array): string =>
  Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');

function arrayOf(text: string, length: number): Uint32Array {
  const bytes = Buffer.from(text, 'base64');
  return Uint32Array.from({ length }, (_, at) => (bytes.length < at * 4 + 4 ? 0 : bytes.readUInt32LE(at * 4)));
}

function doublesOf(text: string): Float64Array {
  const bytes = Buffer.from(text, 'base64');
  return Float64Array.from({ length: buckets }, (_, at) =>
    bytes.length < at * 8 + 8 ? 0 : bytes.readDoubleLE(at * 8),
  );
}

/** Bucket -> what of it differs: `count`, `payload`, `vector 'title'`. */
function differingBuckets(one: Contents, other: Contents): ReadonlyMap<number, ReadonlySet<string>> {
  const found = new Map<number, Set<string>>();
  const note = (bucket: number, aspect: string): void => {
    found.set(bucket, (found.get(bucket) ?? new Set()).add(aspect));
  };
  for (let bucket = 0; bucket < buckets; bucket++) {
    if (one.counts[bucket] !== other.counts[bucket]) note(bucket, 'ids');
    const drift = driftOfSums * Math.max(one.magnitudes[bucket] ?? 0, other.magnitudes[bucket] ?? 0);
    if (Math.abs((one.doubles[bucket] ?? 0) - (other.doubles[bucket] ?? 0)) > drift) note(bucket, 'payload');
  }
  for (const aspect of new Set([...one.sums.keys(), ...other.sums.keys()])) {
    const [a, b] = [one.sums.get(aspect), other.sums.get(aspect)];
    for (let at = 0; at < buckets * words; at++)
      if ((a?.[at] ?? 0) !== (b?.[at] ?? 0)) note(Math.floor(at / words), aspect);
  }
  return found;
}

/** Records of which it is not known what the snapshot holds. */
export function unprovenIn({ counts, changed }: KeptContents): number {
  const kept = arrayOf(counts, buckets);
  return changed.reduce((sum, bucket) => sum + (kept[bucket] ?? 0), 0);
}

export interface ContentsDifference {
  /** For people: `3 records fewer; payload of up to 12 records; vector 'title' of up to 12 records`. */
  readonly text: string;
  readonly buckets: ReadonlySet<number>;
}

/** What differs of the buckets that nobody wrote to while the backup was made; undefined: nothing. */
export function contentsDifference(kept: KeptContents, found: Contents): ContentsDifference | undefined {
  const held: Contents = {
    records: kept.records,
    counts: arrayOf(kept.counts, buckets),
    doubles: doublesOf(kept.doubles),
    magnitudes: doublesOf(kept.magnitudes),
    sums: new Map(Object.entries(kept.sums).map(([aspect, text]) => [aspect, arrayOf(text, buckets * words)])),
  };
  const differing = new Map(differingBuckets(held, found));
  for (const bucket of kept.changed) differing.delete(bucket);
  if (differing.size === 0) return undefined;
  const texts: string[] = [];
  let [fewer, more] = [0, 0];
  for (const bucket of differing.keys()) {
    const change = (found.counts[bucket] ?? 0) - (held.counts[bucket] ?? 0);
    if (change < 0) fewer -= change;
    else more += change;
  }
  if (fewer > 0) texts.push(`${plural(fewer, 'record')} fewer`);
  if (more > 0) texts.push(`${plural(more, 'record')} more`);
  for (const aspect of new Set([...differing.values()].flatMap((aspects) => [...aspects]))) {
    // Where records came or went, all that they hold differs; of the others it says something.
    const own = [...differing].filter(
      ([bucket, aspects]) => aspects.has(aspect) && found.counts[bucket] === held.counts[bucket],
    );
    const records = own.reduce((sum, [bucket]) => sum + (found.counts[bucket] ?? 0), 0);
    if (records > 0) texts.push(`${aspect} of up to ${plural(records, 'record')} differ`);
  }
  return { text: texts.join('; '), buckets: new Set(differing.keys()) };
}

/** SHA-256, hex, of what is kept: for backup.json. */
export const hashOfContents = (kept: KeptContents): string => hash('sha256', JSON.stringify(kept), 'hex');
