import type { ListedObject } from '../../objects-files.ts';
import { jsonLinesMark, ofFormat } from '../../shard/footer.ts';
import type { Folder } from './folder.ts';

/** S3 serves thousands a second from one prefix. */
const looksAtOnce = 32;

/**
 * Shards of format 1 are JSON lines, and their first and last line would be read as records. Asked before anything else is
 * read, so that a plan is refused and no run stops half-way.
 * @param known JSON lines that are none, by name and tag: they are not looked at again @throws UnsupportedFormat
 */
export async function refuseOldShards(
  folder: Folder,
  listed: readonly ListedObject[],
  known: Set<string>,
): Promise<void> {
  const tagOf = ({ key, tag }: ListedObject): string => JSON.stringify([key, tag]);
  const unknown = listed.filter((file) => /\.(jsonl|ndjson)$/i.test(file.key) && !known.has(tagOf(file)));
  const look = async (file: ListedObject): Promise<void> => {
    const start = await folder.bytesOf(file).range(0, Math.min(file.size, jsonLinesMark.length));
    if (Buffer.from(start).toString('latin1') === jsonLinesMark) throw ofFormat('1', folder.locate(file.key));
    known.add(tagOf(file));
  };
  for (let at = 0; at < unknown.length; at += looksAtOnce)
    await Promise.all(unknown.slice(at, at + looksAtOnce).map(look));
}
