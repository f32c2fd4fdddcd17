import { createHash } from 'node:crypto';

/** Shards as older and newer releases write them: made here, by hand, and never by what reads them. */

/** The same Parquet shard, saying that it is of another format of one digit, with the checksum that belongs to it. */
export function asFormat(shard: Uint8Array, format: string): Uint8Array<ArrayBuffer> {
  const file = Buffer.alloc(shard.length);
  file.set(shard);
  const placeOf = (key: string): number => file.lastIndexOf(`${key}\x18`) + key.length + 2;
  file.write(format, placeOf('vecferry.format'), 'latin1');
  const checksum = placeOf('vecferry.checksum');
  file.write('0'.repeat(64), checksum, 'latin1');
  file.write(createHash('sha256').update(file).digest('hex'), checksum, 'latin1');
  return new Uint8Array(file.buffer);
}
