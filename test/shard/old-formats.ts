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

export interface Format1Header {
  readonly run?: string;
  readonly shard?: string;
  readonly from?: string | null;
  readonly to?: string | null;
  readonly store?: string;
  readonly collection?: string;
  readonly ids?: string;
  readonly vectors: Readonly<Record<string, object>>;
  readonly model?: string;
  readonly fields?: Readonly<Record<string, string>>;
}

/** A shard of format 1; its records are the lines' own JSON texts. */
export function writeFormat1(header: Format1Header, records: readonly string[]): Buffer {
  const first = {
    'vecferry.format': 1,
    run: 'r1',
    shard: '00000-000',
    from: null,
    to: null,
    store: 'pgvector',
    ids: 'integer',
  };
  const body = [JSON.stringify({ ...first, ...header }), ...records].map((line) => `${line}\n`).join('');
  const sha256 = createHash('sha256').update(body).digest('hex');
  return Buffer.from(`${body}${JSON.stringify({ records: records.length, sha256 })}\n`);
}

/** The floats as format 1 has them: nine significant digits, which hold a float32 exactly. */
export function nineDigits(values: Float32Array): string {
  return `[${Array.from(values, (value) => (Object.is(value, -0) ? '-0' : Number(value.toPrecision(9)).toString())).join(',')}]`;
}
