import { crc32, inflateRawSync } from 'node:zlib';
import { type Entry, fromRandomAccessReaderPromise, RandomAccessReader, type ZipFile } from 'yauzl';
import { RecordRefused } from '../../errors.ts';
import type { ByteRanges } from '../../shard/parquet-file.ts';

/** The members of a zip file, which an .npz is. yauzl reads its directory by ranges. */

export interface ZipMember {
  readonly name: string;
  /** Its bytes: of a stored member ranges of the file, of a deflated one memory that is filled when it is opened. */
  open(): Promise<ByteRanges>;
}

/** A deflated member has no ranges, so it is held in memory whole. */
const maxInflatedBytes = 1024 * 1024 * 1024;
/** Section 4.4.5 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT */
const [stored, deflated] = [0, 8];

/** @throws RecordRefused naming the file when a member is of a kind or size that is not read; Error of yauzl when it is no zip file, was cut short or altered */
export async function zipMembers(bytes: ByteRanges, where: string): Promise<readonly ZipMember[]> {
  const refuse = (what: string): RecordRefused => new RecordRefused(`${where} ${what}`, { ids: [where] });
  const zip = await fromRandomAccessReaderPromise(new Ranges(bytes), bytes.size, { autoClose: false });
  const members: ZipMember[] = [];
  for await (const entry of zip.eachEntry()) members.push(memberOf(zip, entry, bytes, refuse));
  return members;
}

/** yauzl takes what it reads from as an instance of its class; of that it calls `read` alone here. */
class Ranges extends RandomAccessReader {
  readonly #bytes: ByteRanges;

  constructor(bytes: ByteRanges) {
    super();
    this.#bytes = bytes;
  }

  override read(into: Buffer, offset: number, length: number, from: number, done: (error: Error | null) => void): void {
    const { size, range } = this.#bytes;
    if (from < 0 || from + length > size) {
      done(new RangeError(`bytes ${from} to ${from + length} lie outside of its ${size}`));
      return;
    }
    range(from, from + length).then(
      (read) => {
        into.set(read, offset);
        done(read.length === length ? null : new RangeError(`${read.length} bytes came, not ${length}`));
      },
      (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
    );
  }
}

function memberOf(
  zip: ZipFile,
  entry: Entry,
  { size, range }: ByteRanges,
  refuse: (what: string) => RecordRefused,
): ZipMember {
  const { fileName: name, compressionMethod: method, compressedSize: packed, uncompressedSize: bytes } = entry;
  return {
    name,
    open: async () => {
      if (entry.isEncrypted() || (method !== stored && method !== deflated))
        throw refuse(
          `has '${name}' ${entry.isEncrypted() ? 'encrypted' : `packed by method ${method}`}; save it with np.savez or np.savez_compressed`,
        );
      const { fileDataStart: from } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
      if (from + packed > size) throw refuse(`was cut short within '${name}'; write it again`);
      if (method === stored) return { size: bytes, range: (start, to) => range(from + start, from + to) };
      if (bytes > maxInflatedBytes)
        throw refuse(
          `has '${name}' of ${bytes} bytes compressed, and ${maxInflatedBytes} are taken, for it is held in memory; save it with np.savez`,
        );
      const inflated = inflateRawSync(await range(from, from + packed), { maxOutputLength: maxInflatedBytes });
      if (inflated.length !== bytes || crc32(inflated) !== entry.crc32)
        throw refuse(`has other bytes in '${name}' than its directory says: it was altered; write it again`);
      return { size: bytes, range: async (start, to) => inflated.subarray(start, to) };
    },
  };
}
