import { createHash } from 'node:crypto';
import { ShardDamaged, UnsupportedFormat } from '../errors.ts';
import type { ByteRanges } from './parquet-file.ts';
import { encryptedMark } from './parquet-meta.ts';

/** What every format of a shard has in common: how it is told what it is, and whether it is whole, before anything else is read of it. */

/** Bumped with every change that an older reader would misread. Format 1 was JSON lines. */
export const shardFormat = 2;

/** How a shard of format 1 begins, and no other file. */
export const jsonLinesMark = '{"vecferry.format":';

/** These three every format keeps as they are, so that each release can tell a newer shard from a damaged one. */
export const formatKey = 'vecferry.format';
export const releaseKey = 'vecferry.release';
export const checksumKey = 'vecferry.checksum';
export const noChecksum = Buffer.alloc(64, '0');

export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * The checksum stands within the file, so that an object says by itself whether it is whole: SHA-256 of all its bytes
 * with its own 64 digits as zeros. It is checked before the bytes reach the Parquet reader, which a broken file can crash.
 */
export function sealed(bytes: Uint8Array): Uint8Array {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const span = findValue(file, footerOf(file, 'a new shard'), checksumKey);
  if (span === undefined) throw damaged('a new shard', 'has no place for its checksum');
  file.write(checksumOf(file, span), span.start, 'latin1');
  return bytes;
}

export function isSealed(file: Buffer, footer: Span, checksum: Span | undefined): boolean {
  return checksum !== undefined && checksumOf(file, checksum) === textOf(file, footer, checksumKey);
}

function checksumOf(file: Buffer, { start, end }: Span): string {
  return createHash('sha256')
    .update(file.subarray(0, start))
    .update(noChecksum)
    .update(file.subarray(end))
    .digest('hex');
}

const isJsonLines = (file: Buffer): boolean => file.toString('latin1', 0, jsonLinesMark.length) === jsonLinesMark;

/** Parquet ends with its metadata, the length of that as four bytes, and PAR1. */
export function footerOf(file: Buffer, where: string): Span {
  if (isJsonLines(file)) throw ofFormat('1', where);
  const end = file.length - 8;
  if (end < 4 || file.toString('latin1', end + 4) !== 'PAR1')
    throw damaged(where, `is cut short: ${file.length} bytes, and not the end of a Parquet file`);
  const start = end - file.readUInt32LE(end);
  if (start < 4 || file.toString('latin1', 0, 4) !== 'PAR1') throw damaged(where, 'is no whole Parquet file');
  return { start, end };
}

/**
 * Where a key's value lies in the footer. Thrift's compact form writes a key-value pair as the key's bytes, 0x18 (the next
 * field, binary), the value's length as a varint, the value. JSON text and our column names hold no 0x18, so a key
 * followed by one is the key itself.
 */
export function findValue(file: Buffer, footer: Span, key: string): Span | undefined {
  const mark = Buffer.from(`${key}\x18`, 'latin1');
  const found = file.subarray(footer.start, footer.end).lastIndexOf(mark);
  if (found < 0) return undefined;
  let start = footer.start + found + mark.length;
  let length = 0;
  for (let shift = 0; shift < 35; shift += 7) {
    const byte = file[start++] ?? 0;
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  return start + length > footer.end ? undefined : { start, end: start + length };
}

export function textOf(file: Buffer, footer: Span, key: string): string | undefined {
  const span = findValue(file, footer, key);
  return span === undefined ? undefined : file.toString('utf8', span.start, span.end);
}

export function requireFormat(text: (key: string) => string | undefined, where: string): void {
  const format = text(formatKey);
  if (format === String(shardFormat)) return;
  if (format === undefined)
    throw damaged(where, 'is a Parquet file, but no shard: its metadata has no vecferry.format');
  throw ofFormat(format, where, text(releaseKey));
}

/** For a shard that is whole, and of another format. @param by the release that wrote it */
export function ofFormat(format: string, where: string, by?: string): UnsupportedFormat {
  const writer = by === undefined ? 'the release of vecferry that wrote it' : `vecferry ${by}, which wrote it`;
  const older = Number.parseInt(format, 10) < shardFormat;
  const next = older ? upgradeAdvice(where) : `read it with ${writer}, or a later one`;
  return new UnsupportedFormat(
    `${where} is a shard of format ${format}; this release reads format ${shardFormat} only: ${next}`,
    { ids: [where] },
  );
}

/** The command, with the folder to type: a path, or s3://BUCKET/PREFIX. */
function upgradeAdvice(where: string): string {
  const folder = where.slice(0, Math.max(0, where.lastIndexOf('/')));
  return `\`vecferry upgrade ${folder === '' ? 'DIR' : folder}\` brings the folder up, into another one beside it`;
}

export function damaged(where: string, what: string, cause?: unknown): ShardDamaged {
  return new ShardDamaged(
    `${where} ${what}; take another copy of it, or, where it is a run's own shard, delete it and start the run again: its range is exported again`,
    {
      ids: [where],
      cause,
    },
  );
}

/**
 * The format of a shard's bytes, not verified; undefined when they are a Parquet file that is no shard.
 * @throws ShardDamaged when they are neither JSON lines of format 1 nor a whole Parquet file.
 */
export function formatOf(bytes: Uint8Array, where: string): number | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isJsonLines(file)) return 1;
  const footer = footerOf(file, where);
  const format = textOf(file, footer, formatKey);
  if (format === undefined) {
    // One altered letter of the key must not make it a file of somebody else.
    if (findValue(file, footer, checksumKey) !== undefined)
      throw damaged(where, 'was altered: its metadata is that of a shard, and has no vecferry.format');
    return undefined;
  }
  if (!/^[1-9]\d{0,8}$/.test(format)) throw damaged(where, `says that it is of format ${format}, which is no number`);
  return Number(format);
}

/** A Parquet file of no pages that has the same metadata. */
export async function parquetEnds({ size, range }: ByteRanges, where: string): Promise<Buffer> {
  if (size < 12) throw damaged(where, `is cut short: ${size} bytes, and no Parquet file is that short`);
  const head = Buffer.from(await range(0, 4));
  const tail = Buffer.from(await range(size - 8, size));
  if (tail.toString('latin1', 4) === encryptedMark) throw damaged(where, 'is encrypted, and only what is not is read');
  const length = tail.readUInt32LE(0);
  const isWhole = tail.toString('latin1', 4) === 'PAR1' && head.toString('latin1') === 'PAR1' && length <= size - 12;
  if (!isWhole) throw damaged(where, 'is cut short or altered: it is no whole Parquet file');
  return Buffer.concat([head, await range(size - 8 - length, size - 8), tail]);
}
