import { batchBytes } from '../../batch.ts';
import type { CollectionSchema } from '../../schema.ts';
import { type FilePiece, fileStart, type RecordFile } from './format.ts';

/** Finding records by id in files that have no index: what is kept in memory, and for how long. */

/** A file as it was listed; `tag` is another once the file is. */
export interface Entry {
  readonly file: RecordFile;
  readonly tag: string;
  /** What its records hold: the folder's own object where it is the same. */
  readonly schema: CollectionSchema;
  /** True for a shard of ours, which says all that it holds. */
  readonly isShard?: boolean;
}

export interface FileIndex {
  /** False when the file holds none of the ids for sure. Keeps four bytes a record. */
  mayHoldAny(entry: Entry, ids: Iterable<string>): Promise<boolean>;
  /** The file's records from its start; small files are kept, so that a thousand look-ups read them once. */
  pieces(entry: Entry): AsyncIterable<FilePiece>;
}

/** Bytes of vectors and payload: of all files that are kept, and of one. */
const maxKeptBytes = 64 * 1024 * 1024;
const maxKeptFileBytes = 16 * 1024 * 1024;

export function makeFileIndex(): FileIndex {
  const hashes = new Map<string, { readonly tag: string; readonly sorted: Uint32Array }>();
  const kept = new Map<
    string,
    { readonly tag: string; readonly bytes: number; readonly pieces: readonly FilePiece[] }
  >();

  const sortedHashes = async ({ file, tag }: Entry): Promise<Uint32Array> => {
    const there = hashes.get(file.name);
    if (there?.tag === tag) return there.sorted;
    const found: number[] = [];
    for await (const ids of file.ids()) for (const id of ids) found.push(hash(id));
    const sorted = Uint32Array.from(found).sort();
    hashes.set(file.name, { tag, sorted });
    return sorted;
  };

  const keep = (name: string, tag: string, bytes: number, pieces: readonly FilePiece[]): void => {
    kept.set(name, { tag, bytes, pieces });
    let total = [...kept.values()].reduce((sum, each) => sum + each.bytes, 0);
    for (const [oldest, each] of kept) {
      if (total <= maxKeptBytes) return;
      kept.delete(oldest);
      total -= each.bytes;
    }
  };

  return {
    mayHoldAny: async (entry, ids) => {
      const sorted = await sortedHashes(entry);
      for (const id of ids) if (includes(sorted, hash(id))) return true;
      return false;
    },
    async *pieces({ file, tag }) {
      const there = kept.get(file.name);
      kept.delete(file.name);
      if (there?.tag === tag) {
        kept.set(file.name, there);
        yield* there.pieces;
        return;
      }
      const pieces: FilePiece[] = [];
      let bytes = 0;
      for await (const piece of file.read(fileStart)) {
        bytes += batchBytes(piece.batch);
        if (bytes <= maxKeptFileBytes) pieces.push(piece);
        else pieces.length = 0;
        yield piece;
      }
      if (bytes <= maxKeptFileBytes) keep(file.name, tag, bytes, pieces);
    },
  };
}

/** FNV-1a over UTF-16 units: a false hit costs a look into the file, nothing else. */
function hash(id: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < id.length; at++) value = Math.imul(value ^ id.charCodeAt(at), 0x01000193);
  return value >>> 0;
}

function includes(sorted: Uint32Array, value: number): boolean {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return sorted[low] === value;
}
