import { StoreUnavailable } from '../errors.ts';

/**
 * PostgreSQL's binary COPY format (manual, COPY, "Binary Format"): a header of 19 bytes, then tuples of a 16-bit count of
 * fields, each field a 32-bit length (-1 for null) and its bytes, then a count of -1. All integers big-endian.
 */

export const copyHeader = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)]);
export const copyTrailer = Buffer.from([0xff, 0xff]);

/** One tuple within `bytes`, valid until the next is read. */
export interface Tuple {
  bytes: Buffer;
  /** Where each field's bytes begin. */
  readonly starts: Int32Array;
  /** Bytes of each field; -1 for null. */
  readonly lengths: Int32Array;
}

/** The tuples of a COPY stream of `fields` columns, as they come in. The same tuple object is handed out again and again. */
export async function* readTuples(chunks: AsyncIterable<Uint8Array>, fields: number): AsyncIterable<Iterable<Tuple>> {
  const tuple: Tuple = { bytes: Buffer.alloc(0), starts: new Int32Array(fields), lengths: new Int32Array(fields) };
  const state = { at: copyHeader.length, isDone: false };
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  let neededBytes = copyHeader.length;
  const scan = (): Iterable<Tuple> => {
    tuple.bytes = asBuffer(waiting.length === 1 && waiting[0] !== undefined ? waiting[0] : Buffer.concat(waiting));
    return tuplesIn(tuple, state);
  };
  for await (const chunk of chunks) {
    waiting.push(chunk);
    waitingBytes += chunk.length;
    if (waitingBytes < neededBytes) continue;
    yield scan();
    const left = tuple.bytes.subarray(state.at);
    state.at = 0;
    waiting = [left];
    waitingBytes = left.length;
    // A record of many chunks is joined a few times, not once a chunk.
    neededBytes = left.length * 2;
  }
  if (!state.isDone && waitingBytes > 0) yield scan();
  if (!state.isDone)
    throw new StoreUnavailable('PostgreSQL ended a COPY before its end; the same read may succeed later');
}

function* tuplesIn(tuple: Tuple, state: { at: number; isDone: boolean }): Iterable<Tuple> {
  const { bytes, starts, lengths } = tuple;
  while (!state.isDone && bytes.length >= state.at + 2) {
    if (bytes.readInt16BE(state.at) === -1) {
      state.isDone = true;
      state.at = bytes.length;
      return;
    }
    let at = state.at + 2;
    for (let field = 0; field < starts.length; field++) {
      if (bytes.length < at + 4) return;
      const length = bytes.readInt32BE(at);
      starts[field] = at + 4;
      lengths[field] = length;
      at += 4 + Math.max(length, 0);
      if (bytes.length < at) return;
    }
    state.at = at;
    yield tuple;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Collects tuples into one buffer that grows; each method writes one field, but for `tuple`. */
export interface CopyWriter {
  tuple(fields: number): void;
  none(): void;
  /** The field's bytes, after `head` where there is one. */
  field(bytes: Uint8Array, head?: Uint8Array): void;
  /** UTF-8, after `head` where there is one. */
  text(text: string, head?: Uint8Array): void;
  /** A field of `length` bytes: `fill` writes them at `at`. */
  fixed(length: number, fill: (bytes: Buffer, at: number) => void): void;
  /** The whole COPY, header and trailer included. */
  finish(): Uint8Array<ArrayBuffer>;
}

const noBytes = new Uint8Array(0);

/** @param expectedBytes a guess that spares growing */
export function copyWriter(expectedBytes: number): CopyWriter {
  let bytes = Buffer.alloc(Math.max(expectedBytes, 1024));
  let at = bytes.write(copyHeader.toString('latin1'), 'latin1');
  const reserve = (length: number): void => {
    if (at + length <= bytes.length) return;
    const larger = Buffer.alloc(Math.max(bytes.length * 2, at + length));
    larger.set(bytes.subarray(0, at));
    bytes = larger;
  };
  return {
    tuple(fields) {
      reserve(2);
      at = bytes.writeInt16BE(fields, at);
    },
    none() {
      reserve(4);
      at = bytes.writeInt32BE(-1, at);
    },
    field(value, head = noBytes) {
      reserve(4 + head.length + value.length);
      at = bytes.writeInt32BE(head.length + value.length, at);
      bytes.set(head, at);
      bytes.set(value, at + head.length);
      at += head.length + value.length;
    },
    text(text, head = noBytes) {
      // A UTF-16 unit is at most three bytes of UTF-8.
      reserve(4 + head.length + text.length * 3);
      bytes.set(head, at + 4);
      const written = bytes.write(text, at + 4 + head.length, 'utf8');
      bytes.writeInt32BE(head.length + written, at);
      at += 4 + head.length + written;
    },
    fixed(length, fill) {
      reserve(4 + length);
      at = bytes.writeInt32BE(length, at);
      fill(bytes, at);
      at += length;
    },
    finish() {
      reserve(2);
      bytes.set(copyTrailer, at);
      return bytes.subarray(0, at + 2);
    },
  };
}
