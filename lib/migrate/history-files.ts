import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { RunMismatch, Throttled } from '../errors.ts';
import { createJson, getJson, type ObjectStore, putJson } from '../objects.ts';
import { isAlive, thisProcess } from '../process-owner.ts';
import { chainOf, endOf, faultsOf, isAcceptance, type KeptHistory, type Line } from './history-lines.ts';

/**
 * The history of a team without PostgreSQL: an object a line, in a directory or a bucket. A line is put where there is none yet, so of two
 * that write the same one a single one wins.
 */

const linesPrefix = 'migrations/history/';
const locksPrefix = 'migrations/locks/';
/** The end of the history, out of reach of who deletes its lines. */
const headKey = 'migrations/head.json';
const headSchema = z.strictObject({ seq: z.number().int().nonnegative(), chain: z.string() });
const key = (prefix: string, number: number): string => `${prefix}${String(number).padStart(6, '0')}.json`;

const lineSchema = z.strictObject({
  entry: z.strictObject({
    seq: z.number().int(),
    number: z.number().int(),
    name: z.string(),
    checksum: z.string(),
    action: z.enum(['begun up', 'begun down', 'up', 'down', 'failed', 'repaired', 'restored']),
    at: z.string(),
    by: z.string(),
    milliseconds: z.number(),
    rollback: z.string().exactOptional(),
    detail: z.string().exactOptional(),
    kind: z.enum(['sql', 'collection']).exactOptional(),
    as: z.enum(['applied', 'pending', 'forgotten']).exactOptional(),
    statement: z.number().int().exactOptional(),
    sql: z.string().exactOptional(),
    standsAt: z.number().int().exactOptional(),
  }),
  chain: z.string(),
});

const lockSchema = z.object({
  /** process-owner.ts; the empty text: it was let go of. */
  owner: z.string(),
  host: z.string(),
  by: z.string(),
  at: z.string(),
});

/** As often as a waiting process looks whether the lock is free. */
const lockIntervalMs = 250;

const wasFaster = 'another process, which was faster';

/** @param where for people: the directory or the bucket */
export function filesHistory(objects: ObjectStore, where: string): KeptHistory {
  const lines = async (): Promise<readonly Line[]> => {
    const keys = await objects.list(linesPrefix);
    const found = await Promise.all(keys.map((each) => getJson(objects, each, lineSchema)));
    return found.flatMap((line) => (line === undefined ? [] : [line]));
  };

  /**
   * The head first: it is written after its line, so the lines that are read next hold that one. It is behind by a line where a process died
   * between the two.
   */
  const state = async () => {
    const head = await getJson(objects, headKey, headSchema);
    return { head, lines: await lines() };
  };

  const highestLock = async (): Promise<string | undefined> => (await objects.list(locksPrefix)).at(-1);

  /** Who has the lock, for people; undefined: nobody who lives. */
  const holderOf = async (lock: string): Promise<string | undefined> => {
    const held = await getJson(objects, lock, lockSchema);
    if (held === undefined || held.owner === '') return undefined;
    const isHere = held.host === hostname();
    if (isHere && !isAlive(held.owner)) return undefined;
    const how = isHere ? '' : `; if that process is gone, delete ${objects.locate(lock)}`;
    return `${held.by} (process ${held.owner.split(' ')[0]} on ${held.host}, since ${held.at})${how}`;
  };

  /** The lock of the highest number counts. @returns its number once it is ours, else who has it */
  const tryLock = async (by: string): Promise<number | string> => {
    const highest = await highestLock();
    const holder = highest === undefined ? undefined : await holderOf(highest);
    if (holder !== undefined) return holder;
    const number = highest === undefined ? 1 : Number(/(\d+)\.json$/.exec(highest)?.[1]) + 1;
    const ours = key(locksPrefix, number);
    const lock = { owner: thisProcess, host: hostname(), by, at: new Date().toISOString() };
    if (!(await createJson(objects, ours, lock))) return wasFaster;
    // Others may have had this number and taken it away since we looked: there is a higher one then.
    if ((await highestLock()) !== ours) {
      await objects.delete(ours);
      return wasFaster;
    }
    // Those before are dead or let go of, and nobody asks for any but the last.
    if (highest !== undefined) await objects.delete(highest);
    return number;
  };

  return {
    where,
    entries: async () => (await lines()).map(({ entry }) => entry),
    faults: async () => faultsOf({ ...(await state()), isExact: false, where }),

    append: async (entry) => {
      const { head, lines: before } = await state();
      const last = before.at(-1);
      const expected = (last?.entry.seq ?? 0) + 1;
      const end = endOf(last === undefined ? undefined : { seq: last.entry.seq, chain: last.chain }, head);
      const line = { entry, chain: chainOf(end, entry) };
      // There before the first line is, so that one that is missing later was taken away, which only a person sets right.
      const isKept = head !== undefined || last === undefined || isAcceptance(entry);
      if (head === undefined && last === undefined) await createJson(objects, headKey, { seq: 0, chain: '' });
      if (entry.seq !== expected || !(await createJson(objects, key(linesPrefix, entry.seq), line)))
        throw new RunMismatch(
          `line ${entry.seq} of the history, ${where}, is there: another process has migrated meanwhile; start the command again`,
        );
      if (isKept) await putJson(objects, headKey, { seq: entry.seq, chain: line.chain });
    },

    locked: async (work, { waitMs, by }) => {
      const until = Date.now() + waitMs;
      let mine = await tryLock(by);
      for (; typeof mine === 'string'; mine = await tryLock(by)) {
        if (Date.now() >= until)
          throw new Throttled(
            `somebody else is migrating: the lock is held by ${mine}; waited ${waitMs / 1000} s (--lock-wait)`,
          );
        await sleep(lockIntervalMs);
      }
      try {
        return await work();
      } finally {
        await putJson(objects, key(locksPrefix, mine), {
          owner: '',
          host: hostname(),
          by,
          at: new Date().toISOString(),
        });
      }
    },

    close: async () => undefined,
  };
}
