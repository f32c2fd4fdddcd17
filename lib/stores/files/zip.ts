import { inflateRawSync } from 'node:zlib';
import { RecordRefused } from '../../errors.ts';
import type { ByteRanges } from '../../shard/parquet-file.ts';

/** The members of a zip file, which an .npz is. https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (sections 4.3 and 4.5) */

export interface ZipMember {
  readonly name: string;
  /** Its bytes: of a stored member ranges of the file, of a deflated one memory that is filled when it is opened. */
  open(): Promise<ByteRanges>;
}

/** A deflated member has no ranges, so it is held in memory whole. */
const maxInflatedBytes = 1024 * 1024 * 1024;
const [stored, deflated] = [0, 8];

/** @throws RecordRefused naming the file when it is no zip file, was cut short, or is larger in memory than we take. */
export async function zipMembers({ size, range }: ByteRanges, where: string): Promise<readonly ZipMember[]> {
  const refuse = (what: string): RecordRefused => new RecordRefused(`${where} ${what}`, { ids: [where] });
  const tail = Buffer.from(await range(Math.max(0, size - 65_557), size));
  const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  const isWhole = end >= 0 && end + 22 <= tail.length && end + 22 + tail.readUInt16LE(end + 20) === tail.length;
  if (!isWhole) throw refuse('is no .npz file, or was cut short: it does not end as a zip file; write it again');
  let [length, at] = [tail.readUInt32LE(end + 12), tail.readUInt32LE(end + 16)];
  const locator = end - 20;
  if (locator >= 0 && tail.toString('latin1', locator, locator + 4) === 'PK\x06\x07') {
    const from = Number(tail.readBigUInt64LE(locator + 8));
    const long = Buffer.from(await range(from, from + 56));
    [length, at] = [Number(long.readBigUInt64LE(40)), Number(long.readBigUInt64LE(48))];
  }
  if (at + length > size) throw refuse('was cut short: its directory lies outside of it; write it again');
  const directory = Buffer.from(await range(at, at + length));
  const members: ZipMember[] = [];
  for (let entry = 0; entry + 46 <= directory.length; ) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) => directory.readUInt16LE(entry + field));
    const nameEnd = entry + 46 + (nameLength ?? 0);
    const extra = directory.subarray(nameEnd, nameEnd + (extraLength ?? 0));
    const place = placeOf(directory.subarray(entry, entry + 46), extra);
    members.push(memberOf(directory.toString('utf8', entry + 46, nameEnd), place, { size, range }, refuse));
    entry = nameEnd + (extraLength ?? 0) + (commentLength ?? 0);
  }
  return members;
}

interface Place {
  readonly method: number;
  readonly packed: number;
  readonly bytes: number;
  readonly header: number;
}

/** Sizes that do not fit 32 bits stand in the extra field 1, in this order (4.5.3). */
function placeOf(entry: Buffer, extra: Buffer): Place {
  let long: Buffer = Buffer.alloc(0);
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2))
    if (extra.readUInt16LE(at) === 1) long = extra.subarray(at + 4, at + 4 + extra.readUInt16LE(at + 2));
  let used = 0;
  const field = (at: number): number => {
    const short = entry.readUInt32LE(at);
    if (short !== 0xffffffff) return short;
    used += 8;
    return Number(long.readBigUInt64LE(used - 8));
  };
  const bytes = field(24);
  return { method: entry.readUInt16LE(10), bytes, packed: field(20), header: field(42) };
}

function memberOf(
  name: string,
  { method, packed, bytes, header }: Place,
  { size, range }: ByteRanges,
  refuse: (what: string) => RecordRefused,
): ZipMember {
  return {
    name,
    open: async () => {
      if (method !== stored && method !== deflated)
        throw refuse(`has '${name}' packed by method ${method}; save it with np.savez or np.savez_compressed`);
      const local = Buffer.from(await range(header, Math.min(size, header + 30)));
      if (local.length < 30 || local.toString('latin1', 0, 4) !== 'PK\x03\x04')
        throw refuse(`has no '${name}' where its directory says; it was altered or cut short: write it again`);
      const from = header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
      if (from + packed > size) throw refuse(`was cut short within '${name}'; write it again`);
      if (method === stored) return { size: bytes, range: (start, to) => range(from + start, from + to) };
      if (bytes > maxInflatedBytes)
        throw refuse(
          `has '${name}' of ${bytes} bytes compressed, and ${maxInflatedBytes} are taken, for it is held in memory; save it with np.savez`,
        );
      const inflated = inflate(Buffer.from(await range(from, from + packed)), name, refuse);
      if (inflated.length !== bytes)
        throw refuse(`has ${inflated.length} bytes in '${name}', not ${bytes}; write it again`);
      return { size: bytes, range: async (start, to) => inflated.subarray(start, to) };
    },
  };
}

function inflate(packed: Buffer, name: string, refuse: (what: string) => RecordRefused): Buffer {
  try {
    return inflateRawSync(packed, { maxOutputLength: maxInflatedBytes });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw refuse(`cannot be unpacked at '${name}': ${why}; write it again`);
  }
}
