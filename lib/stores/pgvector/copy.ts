import { StoreUnavailable } from '../../errors.ts';

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

/** Bytes of a new chunk that are joined to the end of the last one: the tuple between them, most of the time. */
const joinBytes = 16 * 1024;

/** The tuples of a COPY stream of `fields` columns, as they come in. The same tuple object is handed out again and again. */
export async function* readTuples(chunks: AsyncIterable<Uint8Array>, fields: number): AsyncIterable<Iterable<Tuple>> {
  const tuple: Tuple = { bytes: Buffer.alloc(0), starts: new Int32Array(fields), lengths: new Int32Array(fields) };
  const state = { at: 0, isDone: false };
  const scan = (bytes: Buffer, from: number): Iterable<Tuple> => {
    tuple.bytes = bytes;
    state.at = from;
    return tuplesIn(tuple, state);
  };
  let left: Buffer[] = [];
  let leftBytes = 0;
  let neededBytes = copyHeader.length;
  let isFirst = true;
  for await (const chunk of chunks) {
    if (leftBytes + chunk.length < neededBytes) {
      left.push(asBuffer(chunk));
      leftBytes += chunk.length;
      continue;
    }
    const bytes = asBuffer(chunk);
    let from = isFirst ? copyHeader.length : 0;
    if (leftBytes > 0) {
      const joined = Buffer.concat([...left, bytes.subarray(0, joinBytes)]);
      yield scan(joined, from);
      from = state.at - leftBytes;
    }
    if (from >= 0) yield scan(bytes, from);
    else {
      // One tuple is longer than what was joined.
      const start = state.at;
      yield scan(Buffer.concat([...left, bytes]), start);
    }
    isFirst = false;
    const rest = tuple.bytes.subarray(state.at);
    left = rest.length === 0 ? [] : [rest];
    leftBytes = rest.length;
    // A record of many chunks is joined a few times, not once a chunk.
    neededBytes = leftBytes * 2;
  }
  if (!state.isDone && leftBytes > 0) yield scan(Buffer.concat(left), isFirst ? copyHeader.length : 0);
  if (!state.isDone)
    throw new StoreUnavailable('PostgreSQL ended a COPY before its end; the same read may succeed later');
}

function* tuplesIn(tuple: Tuple, state: { at: number; isDone: boolean }): Iterable<Tuple> {
  const { bytes, starts, lengths } = tuple;
  while (!state.isDone && bytes.length >= state.at + 2) {
    if (bytes.readInt16BE(state.at) === -1) {
      state.isDone = true;
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

/** Collects tuples into a buffer that grows; each method writes one field, but for `tuple`, `size` and `take`. */
export interface CopyWriter {
  tuple(fields: number): void;
  none(): void;
  field(bytes: Uint8Array): void;
  /** A field of `head` and the bytes of `from` between `start` and `end`. */
  copy(from: Buffer, start: number, end: number, head: Uint8Array): void;
  /** UTF-8, after `head` where there is one. */
  text(text: string, head?: Uint8Array): void;
  /** A field of `length` bytes: `fill` writes them at `at`. */
  fixed(length: number, fill: (bytes: Buffer, at: number) => void): void;
  /** Bytes collected. */
  size(): number;
  /** Hands out what was collected, and begins anew. */
  take(): Uint8Array<ArrayBuffer>;
}

const noBytes = new Uint8Array(0);

/** @param roomBytes a guess that spares growing */
export function copyWriter(roomBytes: number): CopyWriter {
  let bytes = Buffer.allocUnsafeSlow(roomBytes);
  let at = 0;
  const reserve = (length: number): void => {
    if (at + length <= bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(bytes.length * 2, at + length));
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
    field(value) {
      reserve(4 + value.length);
      at = bytes.writeInt32BE(value.length, at);
      bytes.set(value, at);
      at += value.length;
    },
    copy(from, start, end, head) {
      const length = head.length + end - start;
      reserve(4 + length);
      at = bytes.writeInt32BE(length, at);
      bytes.set(head, at);
      from.copy(bytes, at + head.length, start, end);
      at += length;
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
    size: () => at,
    take() {
      const taken = bytes.subarray(0, at);
      bytes = Buffer.allocUnsafeSlow(roomBytes);
      at = 0;
      return taken;
    },
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
