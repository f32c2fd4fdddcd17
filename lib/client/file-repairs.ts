import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InvalidEvent, ShardDamaged } from '../errors.ts';
import { lockFile } from './file-lock.ts';
import { defaultRepairCapacity, makeWaiting, type Waiting } from './memory-repairs.ts';
import type { RepairQueue } from './repairs.ts';

export interface FileRepairsOptions {
  /** The journal; its directory is made. One process at a time. */
  readonly path: string;
  /** Ids that wait at most; default 100,000. */
  readonly capacity?: number;
}

/** Ids in lines that say nothing any more, before the journal is written anew. */
const idsBeforeCompaction = 10_000;

/**
 * Repairs in a journal, so that they survive the process: a JSON line for ids that came, `{"add": [...], "place": …}`, and one
 * for ids that are mended, `{"done": [...]}`. A line counts once it is flushed to the disk. A process that is killed leaves at
 * most half a last line, which was never acknowledged and is dropped by the next one.
 * @throws InvalidEvent when another process uses the journal. @throws ShardDamaged when it was altered.
 */
export function fileRepairs({ path, capacity = defaultRepairCapacity }: FileRepairsOptions): RepairQueue {
  mkdirSync(dirname(path), { recursive: true });
  const unlock = lockFile(path);
  try {
    const waiting = makeWaiting();
    replay(path, waiting);
    compact(path, waiting);
    return openJournal({ path, capacity, waiting, unlock });
  } catch (error) {
    unlock();
    throw error;
  }
}

interface Journal {
  readonly path: string;
  readonly capacity: number;
  readonly waiting: Waiting;
  readonly unlock: () => void;
}

function openJournal({ path, capacity, waiting, unlock }: Journal): RepairQueue {
  let file: FileHandle | undefined;
  let idle = 0;
  let isTorn = false;
  let isClosed = false;
  let lines: string[] = [];
  let writing: Promise<void> | undefined;
  let last: Promise<void> = Promise.resolve();

  const append = async (text: string): Promise<void> => {
    if (isTorn || idle > idsBeforeCompaction + waiting.size) {
      // Half a line may stand at the end of it: nothing may be written behind that.
      await file?.close();
      file = undefined;
      compact(path, waiting);
      [idle, isTorn] = [0, false];
    }
    isTorn = true;
    file ??= await open(path, 'a');
    await file.appendFile(text);
    await file.datasync();
    isTorn = false;
  };
  /** Calls that come while the disk is busy share the next flush. */
  const write = (line: string): Promise<void> => {
    if (isClosed) throw new InvalidEvent(`the repair journal ${path} is closed; write before close()`);
    lines.push(line);
    writing ??= last.then(() => {
      const text = lines.join('');
      lines = [];
      writing = undefined;
      return append(text);
    });
    last = writing.catch(() => {});
    return writing;
  };
  return {
    kind: 'queue',
    capacity,
    isDurable: true,
    get size() {
      return waiting.size;
    },
    add: async (ids, place) => {
      // In memory first: a compaction that comes in between writes them too, and twice is as good as once.
      waiting.add(ids, place);
      await write(`${JSON.stringify({ add: ids, place })}\n`);
    },
    peek: waiting.peek,
    done: async (repairs) => {
      const ids = waiting.done(repairs);
      if (ids.length === 0) return;
      idle += 2 * ids.length;
      await write(`${JSON.stringify({ done: ids })}\n`);
    },
    postpone: waiting.postpone,
    close: async () => {
      if (isClosed) return;
      await last;
      isClosed = true;
      await file?.close();
      unlock();
    },
  };
}

/** Reads the journal's lines into `waiting`. */
function replay(path: string, waiting: Waiting): void {
  if (!existsSync(path)) return;
  const lines = readFileSync(path, 'utf8').split('\n');
  // Behind the last line's end there is nothing, or the half line of a process that was killed.
  lines.pop();
  for (const [at, text] of lines.entries()) {
    const line = parseLine(text);
    if (line === undefined) {
      const next = 'validate the run that writes to two places, then delete the journal';
      throw new ShardDamaged(
        `line ${at + 1} of the repair journal ${path} is not one of ours: it was altered; ${next}`,
        {
          ids: [path],
        },
      );
    }
    if ('add' in line) waiting.add(line.add, line.place);
    else waiting.drop(line.done);
  }
}

type Line = { readonly add: readonly string[]; readonly place: string } | { readonly done: readonly string[] };

function parseLine(text: string): Line | undefined {
  try {
    const { add, place, done } = Object(JSON.parse(text));
    if (areIds(add) && typeof place === 'string') return { add, place };
    return areIds(done) ? { done } : undefined;
  } catch {
    return undefined;
  }
}

function areIds(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

/** Writes what waits as a new journal beside the old one, then puts it in its place: a kill leaves either. */
function compact(path: string, waiting: Waiting): void {
  const places = new Map<string, string[]>();
  for (const { id, place } of waiting.peek(waiting.size)) {
    const ids = places.get(place) ?? [];
    ids.push(id);
    places.set(place, ids);
  }
  const text = [...places].map(([place, ids]) => `${JSON.stringify({ add: ids, place })}\n`).join('');
  const next = `${path}.next`;
  const file = openSync(next, 'w');
  try {
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(next, path);
}
