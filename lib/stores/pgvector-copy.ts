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
