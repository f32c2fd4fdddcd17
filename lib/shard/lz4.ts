/**
 * LZ4 frames, which Arrow compresses its buffers with, and blocks, which Parquet's pages are; Node has zstd and gzip, and no LZ4.
 * https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md and lz4_Block_format.md. Checksums are not looked at.
 */

const magic = 0x184d2204;

/** @param length of the unpacked bytes @throws RangeError when the frame is none, or does not hold as many */
export function lz4Decode(frame: Buffer, length: number): Buffer {
  if (frame.length < 7 || frame.readUInt32LE(0) !== magic) throw new RangeError('it is no LZ4 frame');
  const flags = frame[4] ?? 0;
  const hasBlockChecksum = (flags & 0x10) !== 0;
  let at = 7 + ((flags & 0x08) === 0 ? 0 : 8) + ((flags & 0x01) === 0 ? 0 : 4);
  // A byte adds at most 255: an altered length shall not take memory.
  if (length < 0 || length > frame.length * 255) throw new RangeError(`an LZ4 frame cannot hold ${length} bytes`);
  const out = Buffer.alloc(length);
  let end = 0;
  for (;;) {
    const word = frame.readUInt32LE(at);
    at += 4;
    if (word === 0) break;
    const size = word & 0x7fffffff;
    const block = frame.subarray(at, at + size);
    if (block.length !== size) throw new RangeError('an LZ4 block was cut short');
    end = word >>> 31 === 1 ? end + put(block, out, end) : decodeBlock(block, out, end);
    at += size + (hasBlockChecksum ? 4 : 0);
  }
  if (end !== length) throw new RangeError(`an LZ4 frame holds ${end} bytes, not ${length}`);
  return out;
}

/** A block without a frame, as Parquet's pages are. @throws as lz4Decode */
export function lz4Block(block: Buffer, length: number): Buffer {
  if (length > block.length * 255) throw new RangeError(`an LZ4 block cannot hold ${length} bytes`);
  const out = Buffer.alloc(length);
  const end = decodeBlock(block, out, 0);
  if (end !== length) throw new RangeError(`an LZ4 block holds ${end} bytes, not ${length}`);
  return out;
}

function put(bytes: Buffer, out: Buffer, end: number): number {
  if (end + bytes.length > out.length) throw tooLong();
  return bytes.copy(out, end);
}

/** Unpacks behind `end`, for blocks may refer to those before them. @returns the new end */
function decodeBlock(block: Buffer, out: Buffer, from: number): number {
  let [at, end] = [0, from];
  const lengthFrom = (start: number): number => {
    let length = start;
    for (let more = start === 15; more; at++) {
      const next = block[at];
      if (next === undefined) throw new RangeError('an LZ4 block ends early');
      length += next;
      more = next === 255;
    }
    return length;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = lengthFrom(token >> 4);
    if (at + literals > block.length) throw new RangeError('an LZ4 block ends early');
    end += put(block.subarray(at, at + literals), out, end);
    at += literals;
    if (at >= block.length) break;
    const back = block.readUInt16LE(at);
    at += 2;
    const match = lengthFrom(token & 15) + 4;
    if (back === 0 || back > end) throw new RangeError('an LZ4 block refers to what is not there');
    if (end + match > out.length) throw tooLong();
    // Byte by byte: a match may overlap what it makes.
    for (let i = 0; i < match; i++, end++) out[end] = out[end - back] ?? 0;
  }
  return end;
}

const tooLong = (): RangeError => new RangeError('an LZ4 frame holds more bytes than it says');
