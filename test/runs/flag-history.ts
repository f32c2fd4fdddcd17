import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Flag } from '../../lib/cutover/flag.ts';
import { until } from '../until.ts';
import type { Read } from './application.ts';
import type { Result } from './world.ts';

interface Seen {
  readonly flag: Flag | undefined;
  /** When it was first seen, in ms; a busy process sees it late. */
  readonly at: number;
  /** When it was written: another process may have seen it from then on. */
  readonly writtenAt: number;
}

/** What the routing flag said at which time, seen from outside, and whether reads kept to it. */
export interface FlagHistory {
  /** Each value in turn; the first is undefined, before the flag was set. */
  readonly values: readonly Seen[];
  /** As it is now: where the process was busy, the timer's last look may be a while ago. */
  last(): Flag | undefined;
  stop(): void;
}

/** Looks every few milliseconds. @param directory holds flags/ */
export function watchFlag(directory: string, name: string): FlagHistory {
  const path = join(directory, 'flags', `${name}.json`);
  let text = '';
  const values: Seen[] = [{ at: 0, writtenAt: 0, flag: undefined }];
  const look = (): void => {
    try {
      const { now, writtenAt } = readWritten(path);
      if (now === text) return;
      text = now;
      values.push({ at: Date.now(), writtenAt, flag: JSON.parse(now) });
    } catch {
      // Not set yet, or made unreachable by a test.
    }
  };
  const timer = setInterval(look, 5);
  return {
    values,
    last: () => {
      look();
      return values.at(-1)?.flag;
    },
    stop: () => {
      look();
      clearInterval(timer);
    },
  };
}

/** A file's text and when this very text was written. */
function readWritten(path: string): { readonly now: string; readonly writtenAt: number } {
  const file = openSync(path, 'r');
  try {
    return { now: readFileSync(file, 'utf8'), writtenAt: fstatSync(file).mtimeMs };
  } finally {
    closeSync(file);
  }
}

/** Waits until the flag is as wanted. @throws Error when the run ends before */
export async function flagBecomes(
  history: FlagHistory,
  running: Promise<Result>,
  wanted: (flag: Flag | undefined) => boolean,
): Promise<void> {
  const stayed = (): string => `the flag stayed ${JSON.stringify(history.last())}`;
  await until(() => wanted(history.last()), stayed, endOf(running));
}

/** How the run has ended, once it has: what it was to do will not come any more. */
export function endOf(running: Promise<Result>): () => string | undefined {
  let end: string | undefined;
  running.then(
    ({ outcome, report }) => {
      end = `the run ended ${JSON.stringify(outcome)}: ${report?.summary}`;
    },
    (error: unknown) => {
      end = `the run threw ${String(error)}`;
    },
  );
  return () => end;
}

export interface Followed {
  /** Reads that were asked of a place which no value of the flag at that time gives their key. */
  readonly astray: readonly Read[];
  /** Reads whose place was certain: the flag had one value all the time that they may have seen. */
  readonly certain: readonly Read[];
}

/**
 * Holds each read's first place against the flag. Routing is worked out here by itself, as an application in another
 * language would. A client may go by a value that it read before: as old as it says itself.
 */
export function follow(reads: readonly Read[], { values }: FlagHistory, name: string, source: string): Followed {
  const astray: Read[] = [];
  const certain: Read[] = [];
  for (const read of reads) {
    const from = read.flagAgeMs === null ? 0 : read.at - read.flagAgeMs - clockMs;
    const places = new Set(
      values
        .filter(
          ({ writtenAt }, i) => writtenAt <= read.at + read.ms + clockMs && (values[i + 1]?.at ?? Infinity) >= from,
        )
        .map(({ flag }) => placeOfKey(flag, name, read.key, source)),
    );
    if (!places.has(read.asked[0] ?? '')) astray.push(read);
    if (places.size === 1) certain.push(read);
  }
  return { astray, certain };
}

/** Times of files and of processes may differ by so much, in milliseconds. */
const clockMs = 20;

function placeOfKey(flag: Flag | undefined, name: string, key: string, source: string): string {
  if (flag === undefined) return source;
  const hash = createHash('sha256').update(`${name}:${key}`).digest('hex');
  const bucket = (Number.parseInt(hash.slice(0, 8), 16) % 10_000) / 100;
  return bucket < flag.weight ? flag.candidate : flag.active;
}
