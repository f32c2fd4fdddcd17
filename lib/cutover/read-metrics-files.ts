import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ShardDamaged } from '../errors.ts';
import { parseAs } from '../event.ts';
import { percentile } from '../recall/recall-summary.ts';
import type { ReadsSeen } from './cutover-files.ts';
import { type LastReads, type ReadMetrics, repairsMs } from './read-metrics.ts';

/** What is read of a line that the client writes: lib/client/metric-line.ts. It may hold more. */
const lineSchema = z.object({
  _aws: z.object({ Timestamp: z.number() }),
  /** Clients of before it was told wrote what happened in the second before a line. */
  begunAt: z.number().optional(),
  flag: z.string(),
  place: z.string(),
  /** Milliseconds, and whether the read was answered. */
  reads: z.array(z.tuple([z.number(), z.boolean()])).default([]),
  shadowReads: z
    .array(z.object({ k: z.number(), overlap: z.number(), activeMs: z.number(), otherMs: z.number() }))
    .default([]),
  RepairsWaiting: z.number().optional(),
});
export type ReadsLine = z.infer<typeof lineSchema>;

/**
 * The metrics that applications on this machine append to files under `directory`, a folder a flag. Read from their ends,
 * as far as the reads that are asked for, so that a look costs the same however long the files are.
 */
export function fileReads(directory: string): ReadMetrics {
  return {
    lastReads: async ({ flag, place, since, requests }) => {
      const lines = linesOf(join(directory, flag), since.getTime());
      try {
        return await lastOf(lines, { place, requests, since });
      } finally {
        await lines.return();
      }
    },
    repairsWaiting: async ({ flag, place, now }) => {
      const since = now.getTime() - repairsMs;
      const files = await filesOf(join(directory, flag));
      const levels = await Promise.all(files.map((path) => lastLevel(backwards(path, since), place)));
      return levels.reduce((sum, level) => sum + level, 0);
    },
  };
}

/** What a file's client said last; 0 where it said nothing. */
async function lastLevel(lines: AsyncGenerator<ReadsLine>, place: string): Promise<number> {
  for await (const line of lines) {
    if (line.place === place && line.RepairsWaiting !== undefined) return line.RepairsWaiting;
  }
  return 0;
}

async function lastOf(
  lines: AsyncGenerator<ReadsLine>,
  { place, requests, since }: Pick<LastReads, 'place' | 'requests' | 'since'>,
): Promise<ReadsSeen> {
  const reads: ReadsLine['reads'] = [];
  const overlaps: number[] = [];
  for await (const line of lines) {
    if (line.place !== place || (line.begunAt ?? line._aws.Timestamp) < since.getTime()) continue;
    reads.push(...line.reads.toReversed().slice(0, requests - reads.length));
    overlaps.push(
      ...line.shadowReads
        .toReversed()
        .slice(0, requests - overlaps.length)
        .map(({ overlap }) => overlap),
    );
    if (reads.length >= requests && overlaps.length >= requests) break;
  }
  const millis = reads.flatMap(([ms, ok]) => (ok ? [ms] : [])).sort((a, b) => a - b);
  return {
    reads: reads.length,
    errors: reads.length - millis.length,
    p95Ms: millis.length === 0 ? null : percentile(millis, 95),
    shadows: overlaps.length,
    overlap: overlaps.length === 0 ? null : overlaps.reduce((sum, each) => sum + each, 0) / overlaps.length,
  };
}

/**
 * The lines of every file in a folder, newest first, back to `since`: of several processes' files each time the newest line
 * that is left. A folder that is not there holds none: no client has written yet.
 * @param since milliseconds since 1970
 * @throws ShardDamaged when a line is not the client's
 */
export async function* linesOf(folder: string, since: number): AsyncGenerator<ReadsLine, void> {
  const files = (await filesOf(folder)).map((path) => backwards(path, since));
  const heads: { readonly line: ReadsLine; readonly file: AsyncGenerator<ReadsLine, void> }[] = [];
  const advance = async (file: AsyncGenerator<ReadsLine, void>): Promise<void> => {
    const { value, done } = await file.next();
    if (done !== true && value !== undefined) heads.push({ line: value, file });
  };
  try {
    for (const file of files) await advance(file);
    while (heads.length > 0) {
      heads.sort((a, b) => b.line._aws.Timestamp - a.line._aws.Timestamp);
      const newest = heads.shift();
      if (newest === undefined) return;
      yield newest.line;
      await advance(newest.file);
    }
  } finally {
    for (const file of files) await file.return();
  }
}

async function filesOf(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.filter((name) => name.endsWith('.jsonl')).map((name) => join(folder, name));
}

const chunkBytes = 64 * 1024;

/** A file's lines from its end, back to `since`. What follows the last line break is still being written. */
async function* backwards(path: string, since: number): AsyncGenerator<ReadsLine, void> {
  // Nothing was appended since: opening it would be in vain. A file's time may be coarser than a line's, by two seconds.
  if ((await stat(path)).mtimeMs < since - 2000) return;
  const file = await open(path);
  try {
    for await (const text of textsBackwards(file)) {
      if (text === '') continue;
      const line = parseLine(text, path);
      if (line._aws.Timestamp < since) return;
      yield line;
    }
  } finally {
    await file.close();
  }
}

/** The whole lines of a file, last first. */
async function* textsBackwards(file: FileHandle): AsyncGenerator<string, void> {
  let at = (await file.stat()).size;
  // Bytes of a line whose beginning is not read yet; undefined until the last line break is found.
  let rest: Buffer | undefined;
  while (at > 0) {
    const size = Math.min(chunkBytes, at);
    at -= size;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, at);
    let chunk: Buffer = buffer.subarray(0, bytesRead);
    for (let end = chunk.lastIndexOf(10); end !== -1; end = chunk.lastIndexOf(10)) {
      if (rest !== undefined) yield Buffer.concat([chunk.subarray(end + 1), rest]).toString('utf8');
      rest = Buffer.alloc(0);
      chunk = chunk.subarray(0, end);
    }
    if (rest !== undefined) rest = Buffer.concat([chunk, rest]);
  }
  if (rest !== undefined) yield rest.toString('utf8');
}

/** @throws ShardDamaged when it is not a line of the client's metrics */
export function parseLine(text: string, path: string): ReadsLine {
  const what = `a line of ${path}`;
  try {
    return parseAs(lineSchema, JSON.parse(text), what, ShardDamaged);
  } catch (cause) {
    if (cause instanceof ShardDamaged) throw cause;
    throw new ShardDamaged(`${what} is not JSON: it was cut short or altered; delete that line`, { cause });
  }
}
