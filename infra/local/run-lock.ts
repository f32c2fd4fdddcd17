import { randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RunMismatch } from '../../lib/errors.ts';
import { isAlive, thisProcess } from '../../lib/process-owner.ts';

/**
 * Keeps two processes of one machine from running the same run: both would be right, as every step is repeatable, but
 * each would do all the work. A file that a killed process left behind is taken over.
 * @throws RunMismatch when another process is at it.
 */
export async function withRunLock<T>(directory: string, run: string, work: () => Promise<T>): Promise<T> {
  const path = join(directory, 'locks', `${run}.lock`);
  await mkdir(join(directory, 'locks'), { recursive: true });
  while (!(await take(path))) await evict(path, run);
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function take(path: string): Promise<boolean> {
  // Linked, not written in place: nobody sees a lock without its owner.
  const ours = `${path}.${randomUUID()}`;
  await writeFile(ours, thisProcess);
  try {
    await link(ours, path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(ours, { force: true });
  }
}

/** Removes the lock of a dead process. The rename lets only one of several takers have it. */
async function evict(path: string, run: string): Promise<void> {
  const owner = await readOwner(path);
  if (owner === undefined) return;
  if (isAlive(owner)) {
    const text = `process ${owner.split(' ')[0]} is running '${run}' already; wait for it, or stop it and start this again`;
    throw new RunMismatch(`${text}. If it is no vecferry, delete ${path}`, { ids: [run] });
  }
  const aside = `${path}.${randomUUID()}`;
  await rename(path, aside).catch(ignoreAbsent);
  const moved = await readOwner(aside);
  // Another taker was faster and its new lock was moved instead: put it back.
  if (moved !== undefined && moved !== owner) await rename(aside, path);
  await rm(aside, { force: true });
}

async function readOwner(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch(ignoreAbsent);
}

function ignoreAbsent(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') throw error;
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
