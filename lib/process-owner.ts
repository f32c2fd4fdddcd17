import { randomUUID } from 'node:crypto';

/** Who has left a file on this machine's disk, and whether that process still lives: for locks, and for what is waited for. */

/** Tells this process from an earlier one with the same pid, which containers give out again and again. */
const token = randomUUID();

/** What this process writes into a file of its own. */
export const thisProcess = `${process.pid} ${token}`;

/** @param owner a `thisProcess`, maybe of another process */
export function isAlive(owner: string): boolean {
  const [pid, itsToken] = owner.split(' ');
  if (Number(pid) === process.pid) return itsToken === token;
  try {
    process.kill(Number(pid), 0);
    return true;
  } catch (error) {
    // EPERM: it lives, and belongs to somebody else.
    return Object(error).code === 'EPERM';
  }
}
