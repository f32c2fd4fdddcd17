import { randomUUID } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { InvalidEvent } from '../errors.ts';

/** Files that this process holds. */
const ours = new Set<string>();

/**
 * Keeps a file to one process, by a file beside it that names the process; a lock whose process has ended counts for nothing.
 * Gives what ends it. @throws InvalidEvent when another process holds it, or this one does already.
 */
export function lockFile(path: string): () => void {
  const lock = `${path}.lock`;
  if (ours.has(lock)) throw inUse(path, lock, `process ${process.pid}, which is this one`);
  for (let tries = 0; tries < 3; tries++) {
    if (!writeNew(lock, String(process.pid))) takeOver(path, lock);
    else {
      ours.add(lock);
      return () => {
        ours.delete(lock);
        rmSync(lock, { force: true });
      };
    }
  }
  throw inUse(path, lock, 'a process that has just begun');
}

/** False when it is there already. */
function writeNew(lock: string, text: string): boolean {
  try {
    writeFileSync(lock, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if (Object(error).code === 'EEXIST') return false;
    throw error;
  }
}

/** Takes the lock of a process that has ended out of the way. @throws InvalidEvent when it has not. */
function takeOver(path: string, lock: string): void {
  const holder = read(lock);
  if (holder === undefined) return;
  // Made a moment ago, and not written yet: its process may stand between both.
  if (holder === '' && isYoung(lock)) throw inUse(path, lock, 'a process that has just begun');
  const pid = Number(holder);
  // Our own number, and we do not hold it: a container's process before us had the same.
  if (pid !== process.pid && isAlive(pid)) throw inUse(path, lock, `process ${pid}`);
  const aside = `${lock}.${randomUUID()}`;
  try {
    renameSync(lock, aside);
  } catch (error) {
    // Another process was faster.
    if (Object(error).code === 'ENOENT') return;
    throw error;
  }
  const moved = read(aside);
  rmSync(aside, { force: true });
  // Another process took it over between our look and our move, and believes that it holds it: it has to be given back.
  if (moved !== undefined && moved !== holder) {
    writeNew(lock, moved);
    throw inUse(path, lock, `process ${moved}`);
  }
}

/** Milliseconds within which a process that has made its lock writes its number into it, however busy the machine is. */
const writtenWithinMs = 60_000;

function isYoung(path: string): boolean {
  try {
    return Math.abs(Date.now() - statSync(path).mtimeMs) < writtenWithinMs;
  } catch (error) {
    if (Object(error).code === 'ENOENT') return false;
    throw error;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (Object(error).code === 'ENOENT') return undefined;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It is there, and belongs to somebody else.
    return Object(error).code === 'EPERM';
  }
}

function inUse(path: string, lock: string, holder: string): Error {
  const text = `the repair journal ${path} is in use by ${holder}`;
  return new InvalidEvent(
    `${text}; give each process a journal of its own, or delete ${lock} when no application uses it any more`,
    { ids: [path] },
  );
}
