import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { withRunLock } from '../../infra/local/run-lock.ts';
import { until } from '../until.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vecferry-lock-'));
});
const leftBehind = async (owner: string): Promise<void> => {
  await mkdir(join(directory, 'locks'));
  await writeFile(join(directory, 'locks', 'r1.lock'), owner);
};
const locks = () => readdir(join(directory, 'locks'));

describe('the lock of a run', () => {
  test('lets one in at a time, and says who is at it', async () => {
    await withRunLock(directory, 'r1', async () => {
      await expect(withRunLock(directory, 'r1', async () => 1)).rejects.toThrow(
        `process ${process.pid} is running 'r1'`,
      );
      await expect(withRunLock(directory, 'r2', async () => 2)).resolves.toBe(2);
    });
    expect(await locks()).toEqual([]);
  });

  test('is given back when the work fails', async () => {
    const failing = withRunLock(directory, 'r1', async () => {
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    await expect(withRunLock(directory, 'r1', async () => 1)).resolves.toBe(1);
  });

  test('of a process that is gone is taken over', async () => {
    // No process has this pid: Linux gives at most 2^22.
    await leftBehind('99999999 00000000-0000-0000-0000-000000000000');
    await expect(withRunLock(directory, 'r1', async () => 1)).resolves.toBe(1);
    expect(await locks()).toEqual([]);
  });

  test('of an earlier process with our own pid is taken over, which happens in every container', async () => {
    await leftBehind(`${process.pid} 00000000-0000-0000-0000-000000000000`);
    await expect(withRunLock(directory, 'r1', async () => 1)).resolves.toBe(1);
  });

  test('of a living process is not', async () => {
    await leftBehind(`${process.ppid} 00000000-0000-0000-0000-000000000000`);
    await expect(withRunLock(directory, 'r1', async () => 1)).rejects.toMatchObject({ name: 'RunMismatch' });
  });

  test('lets exactly one of several in that find it left behind', async () => {
    await leftBehind('99999999 00000000-0000-0000-0000-000000000000');
    let inside = 0;
    let most = 0;
    let refused = 0;
    // Until all others were turned away: one that comes when it is over would rightly be let in.
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await until(() => refused === 4 || most > 1, 'the others that are turned away');
      inside--;
    };
    const one = () =>
      withRunLock(directory, 'r1', work).catch((error: unknown) => {
        refused += 1;
        throw error;
      });
    const all = await Promise.allSettled(Array.from({ length: 5 }, one));
    expect(most).toBe(1);
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});
