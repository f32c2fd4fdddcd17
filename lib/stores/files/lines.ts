import { isUtf8 } from 'node:buffer';
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { RecordRefused } from '../../errors.ts';
import type { ByteRanges } from '../../shard/parquet-file.ts';
import type { Position } from './format.ts';

/** A line of text with where it stands: its number, and its first byte (of the text, where the file is compressed). */
export interface Line {
  /** Without space around it. */
  readonly text: string;
  /** With it, but for the line's end. */
  readonly whole: string;
  readonly at: Position;
}

export const isGzip = (name: string): boolean => /\.gz$/i.test(name);

const chunkBytes = 4 * 1024 * 1024;

/**
 * The lines from a position on; empty ones are counted and left out. A gzip file is unpacked from its start whatever the
 * position, for it has no others. @param where the file's name, by which gzip is told @throws RecordRefused for a broken gzip
 * file, and for bytes that are no UTF-8: what they mean is lost once they are read as such
 */
export async function* linesOf(bytes: ByteRanges, from: Position, where = ''): AsyncGenerator<Line> {
  let record = from.record;
  let begin = from.byte;
  let at = from.byte;
  let parts: Buffer[] = [];
  const line = (): Line => {
    const [only = Buffer.alloc(0)] = parts;
    const read = parts.length > 1 ? Buffer.concat(parts) : only;
    if (!isUtf8(read))
      throw new RecordRefused(
        `line ${record + 1} of ${where || 'the file'} is no UTF-8: convert the file (\`iconv -f LATIN1 -t UTF-8\`, by the encoding that it has)`,
        { ids: [`${where}:${record + 1}`] },
      );
    const text = read.toString('utf8');
    const whole = text.slice(text.startsWith('\ufeff') ? 1 : 0, text.endsWith('\r') ? -1 : undefined);
    return { text: whole.trim(), whole, at: { record, byte: begin } };
  };
  for await (const chunk of isGzip(where) ? unpacked(bytes, from.byte, where) : chunksOf(bytes, from.byte)) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end));
      const next = line();
      if (next.text !== '') yield next;
      parts = [];
      start = end + 1;
      begin = at + start;
      record++;
    }
    parts.push(chunk.subarray(start));
    at += chunk.length;
  }
  const last = line();
  if (last.text !== '') yield last;
}

async function* chunksOf({ size, range }: ByteRanges, from: number): AsyncGenerator<Buffer> {
  for (let at = from; at < size; at += chunkBytes) yield Buffer.from(await range(at, Math.min(size, at + chunkBytes)));
}

async function* unpacked(bytes: ByteRanges, skipped: number, where: string): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  // What fails ends the iteration below, so the callback has nothing to say.
  pipeline(Readable.from(chunksOf(bytes, 0)), gunzip, () => {});
  let left = skipped;
  try {
    for await (const each of gunzip) {
      const chunk: Buffer = each;
      if (left < chunk.length) yield chunk.subarray(left);
      left = Math.max(0, left - chunk.length);
    }
  } catch (cause) {
    const { code, message } = Object(cause);
    if (!String(code).startsWith('Z_')) throw cause;
    throw new RecordRefused(
      `${where} cannot be unpacked: ${message}; it was cut short or is no gzip file: write it again`,
      {
        ids: [where],
        cause,
      },
    );
  }
}
