import {
  brotliCompressSync,
  brotliDecompressSync,
  gunzipSync,
  gzipSync,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib';
import { lz4Block } from './lz4.ts';

/** Parquet's codecs by their numbers, as far as pages are looked into here: https://parquet.apache.org/docs/file-format/data-pages/compression/ */
const codecs = { none: 0, snappy: 1, gzip: 2, brotli: 4, lz4Hadoop: 5, zstd: 6, lz4: 7 } as const;

/**
 * A page's bytes unpacked, or at least the first `wanted` of them. @param length of the whole, unpacked
 * @throws RangeError for a codec that is not read, or bytes that are not of it; Error of zlib
 */
export function unpackStart(codec: number, bytes: Buffer, length: number, wanted: number): Buffer {
  if (codec === codecs.none) return bytes;
  // As zlib checks for itself: an altered length shall not take memory.
  if (length < 0 || length > 0x7fffffff) throw new RangeError(`a page cannot hold ${length} bytes`);
  if (codec === codecs.snappy) return snappyStart(bytes, Math.min(length, wanted));
  if (codec === codecs.gzip) return gunzipSync(bytes, { maxOutputLength: length });
  if (codec === codecs.brotli) return brotliDecompressSync(bytes, { maxOutputLength: length });
  if (codec === codecs.zstd) return zstdDecompressSync(bytes, { maxOutputLength: length });
  if (codec === codecs.lz4) return lz4Block(bytes, length);
  if (codec === codecs.lz4Hadoop) return hadoopStart(bytes, length);
  throw new RangeError(`it is compressed by codec ${codec}, which is not read: write it with snappy or zstd`);
}

/** The bytes as a page of this codec, for the few and plain ones that are made here. @throws RangeError for a codec that is not read */
export function pack(codec: number, bytes: Buffer): Buffer {
  if (codec === codecs.none) return bytes;
  if (codec === codecs.snappy) return snappyLiteral(bytes);
  if (codec === codecs.gzip) return gzipSync(bytes);
  if (codec === codecs.brotli) return brotliCompressSync(bytes);
  if (codec === codecs.zstd) return zstdCompressSync(bytes);
  const literal = lz4Literal(bytes);
  if (codec === codecs.lz4) return literal;
  if (codec !== codecs.lz4Hadoop)
    throw new RangeError(`it is compressed by codec ${codec}, which is not read: write it with snappy or zstd`);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(bytes.length, 0);
  head.writeUInt32BE(literal.length, 4);
  return Buffer.concat([head, literal]);
}

/** Hadoop puts two lengths before each block; some writers leave them out. */
function hadoopStart(bytes: Buffer, length: number): Buffer {
  const isFramed = bytes.length >= 8 && bytes.readUInt32BE(0) <= length && bytes.readUInt32BE(4) <= bytes.length - 8;
  if (!isFramed) return lz4Block(bytes, length);
  return lz4Block(bytes.subarray(8, 8 + bytes.readUInt32BE(4)), bytes.readUInt32BE(0));
}

/** https://github.com/google/snappy/blob/main/format_description.txt */
function snappyStart(bytes: Buffer, wanted: number): Buffer {
  let at = 0;
  while ((bytes[at] ?? 0) >= 0x80) at++;
  at++;
  // A copy that passes what is wanted goes on to its end, of 64 bytes at most.
  const out = Buffer.alloc(wanted + 64);
  let end = 0;
  while (end < wanted && at < bytes.length) {
    const tag = bytes[at++] ?? 0;
    const extra = extraBytes(tag);
    if (at + extra > bytes.length) break;
    const more = extra === 0 ? 0 : bytes.readUIntLE(at, extra);
    at += extra;
    if ((tag & 3) === 0) {
      const length = (extra === 0 ? tag >> 2 : more) + 1;
      end += bytes.copy(out, end, at, Math.min(at + length, bytes.length));
      at += length;
    } else end = copyBack(out, end, tag, more);
  }
  if (end < wanted) throw new RangeError('a page of snappy ends early');
  return out.subarray(0, wanted);
}

/** Bytes between a tag and what follows it: of a literal's length above 60, or of how far back a copy begins. */
function extraBytes(tag: number): number {
  if ((tag & 3) === 0) return Math.max(0, (tag >> 2) - 59);
  return (tag & 3) === 3 ? 4 : tag & 3;
}

/** @returns the new end */
function copyBack(out: Buffer, from: number, tag: number, more: number): number {
  const isShort = (tag & 3) === 1;
  const length = isShort ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
  const back = isShort ? ((tag >> 5) << 8) | more : more;
  if (back === 0 || back > from) throw new RangeError('a page of snappy refers to what is not there');
  // Byte by byte: a copy may overlap what it makes.
  for (let at = from; at < from + length; at++) out[at] = out[at - back] ?? 0;
  return from + length;
}

function snappyLiteral(bytes: Buffer): Buffer {
  const head: number[] = [];
  let left = bytes.length;
  for (; left > 0x7f; left = Math.floor(left / 128)) head.push((left & 0x7f) | 0x80);
  head.push(left);
  if (bytes.length === 0) return Buffer.from(head);
  const tag = Buffer.alloc(5);
  tag.writeUInt8(63 << 2, 0);
  tag.writeUInt32LE(bytes.length - 1, 1);
  return Buffer.concat([Buffer.from(head), tag, bytes]);
}

function lz4Literal(bytes: Buffer): Buffer {
  if (bytes.length < 15) return Buffer.concat([Buffer.of(bytes.length << 4), bytes]);
  const more = bytes.length - 15;
  return Buffer.concat([Buffer.of(0xf0), Buffer.alloc(Math.floor(more / 255), 255), Buffer.of(more % 255), bytes]);
}
