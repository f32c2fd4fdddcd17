import { VecferryError } from '../errors.ts';
import { fingerprintOf } from '../schema/fingerprint.ts';
import { formatOf, jsonLinesMark, parquetEnds } from '../shard/footer.ts';
import { isTrailer, peekFormat1, verifyFormat1 } from '../shard/formats/format-1.ts';
import { type ByteRanges, openParquet } from '../shard/parquet-file.ts';
import { peekShard, type ShardHeader, type ShardMeta, verifyShard } from '../shard/shard.ts';
import { kindOf } from '../stores/files/kinds.ts';
import type { WatchedBytes } from './folder.ts';

/** What a file is, from its two ends alone or with every byte held against its checksum. It is told by what is in it; its name comes second. */

/** What a shard of any format says of itself. */
export interface SeenShard extends ShardMeta {
  readonly records: number;
  /** Of format 1, which had none: what it is once it is brought up. */
  readonly fingerprint: string;
  /** SHA-256, hex, as the shard says it. */
  readonly checksum: string;
  /** Of Parquet. */
  readonly columns?: ShardHeader['columns'];
}

export type Look =
  /** `verified`: its checksum and its records were found right. */
  | { readonly kind: 'shard'; readonly format: number; readonly verified: boolean; readonly shard: SeenShard }
  /** Of a format after ours, which nothing more can be said of; `reason` names the release. */
  | { readonly kind: 'newer'; readonly format: number; readonly reason: string }
  /** Cut short or altered. */
  | { readonly kind: 'damaged'; readonly error: string; readonly reason: string }
  /** A whole file that is no shard. */
  | { readonly kind: 'other'; readonly what: string; readonly records?: number };

/** @param name with its ending @throws what kept the bytes from being read, which is no finding about them: a disk that fails, S3 that refuses */
export async function lookAt(bytes: WatchedBytes, name: string, where: string, verify: boolean): Promise<Look> {
  try {
    return await look(bytes, name, where, verify);
  } catch (error) {
    if (bytes.isUnread(error)) throw error;
    // What openParquet throws for metadata that makes no sense.
    if (error instanceof RangeError)
      return { kind: 'damaged', error: 'ShardDamaged', reason: `${where} cannot be read: ${error.message}` };
    if (!(error instanceof VecferryError)) throw error;
    const { name: said, message } = error;
    if (said === 'UnsupportedFormat') return { kind: 'newer', format: await formatIn(bytes, where), reason: message };
    return { kind: 'damaged', error: said, reason: message };
  }
}

const titles = {
  parquet: 'Parquet, no shard',
  jsonl: 'JSON lines, no shard',
  arrow: 'Arrow IPC, no shard',
  numpy: 'NumPy, no shard',
  none: 'no shard',
};

async function look(bytes: ByteRanges, name: string, where: string, verify: boolean): Promise<Look> {
  const head = Buffer.from(await bytes.range(0, Math.min(bytes.size, jsonLinesMark.length))).toString('latin1');
  if (head === jsonLinesMark) return await lookAtFormat1(bytes, where, verify);
  if (head.startsWith('PAR1') || kindOf(name) === 'parquet') return await lookAtParquet(bytes, where, verify);
  if (!/\.(jsonl|ndjson)$/i.test(name)) return { kind: 'other', what: titles[kindOf(name) ?? 'none'] };
  const tail = Buffer.from(await bytes.range(Math.max(0, bytes.size - 256), bytes.size)).toString('utf8');
  const last = tail.trimEnd().split('\n').at(-1) ?? '';
  // What ends as one of ours was one of ours.
  if (bytes.size === 0 || isTrailer(last)) {
    const reason = bytes.size === 0 ? 'is empty' : 'ends as a shard of format 1, and does not begin as one';
    return { kind: 'damaged', error: 'ShardDamaged', reason: `${where} ${reason}; take another copy of it` };
  }
  return { kind: 'other', what: titles.jsonl };
}

async function lookAtFormat1(bytes: ByteRanges, where: string, verify: boolean): Promise<Look> {
  const seen = verify ? verifyFormat1(await bytes.range(0, bytes.size), where) : await peekFormat1(bytes, where);
  const { meta, records, checksum } = seen;
  const shard = { ...meta, records, checksum, fingerprint: fingerprintOf(meta.schema) };
  return { kind: 'shard', format: 1, verified: verify, shard };
}

async function lookAtParquet(bytes: ByteRanges, where: string, verify: boolean): Promise<Look> {
  const format = await formatIn(bytes, where);
  if (format === 0) return { kind: 'other', what: titles.parquet, records: await rowsOf(bytes) };
  const shard = verify ? verifyShard(await bytes.range(0, bytes.size), where) : await peekShard(bytes, where);
  const rows = await rowsOf(bytes);
  if (rows === shard.records) return { kind: 'shard', format, verified: verify, shard };
  const reason = `${where} holds ${rows} records, its metadata says ${shard.records}`;
  return { kind: 'damaged', error: 'ShardDamaged', reason };
}

/** 0: a Parquet file that is no shard. */
async function formatIn(bytes: ByteRanges, where: string): Promise<number> {
  return formatOf(await parquetEnds(bytes, where), where) ?? 0;
}

async function rowsOf(bytes: ByteRanges): Promise<number> {
  const { rowGroups } = await openParquet(bytes);
  return rowGroups.reduce((sum, records) => sum + records, 0);
}
