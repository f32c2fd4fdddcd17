import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { LeftByShard } from './validation-memory-process.ts';

/** Bytes that a shard may leave behind: its entry in a list of shards, code compiled meanwhile. Measured: up to 2 kB. */
const allowed = 8_000;

describe('validation holds one shard at a time, so its memory does not grow with the collection', () => {
  let left: LeftByShard;
  beforeAll(async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['test/validation-memory-process.ts'], {
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    left = JSON.parse(stdout);
  });

  test('comparing a shard leaves nothing of its records behind', () => {
    expect(left.compare).toBeLessThan(allowed);
  });

  test('finding neighbours in a shard leaves nothing of its records behind', () => {
    expect(left.neighbours).toBeLessThan(allowed);
  });

  test('a step that held the records of every shard, or only their ids, would be seen', () => {
    expect(left.records).toBeGreaterThan(4 * allowed);
    expect(left.ids).toBeGreaterThan(1.5 * allowed);
  });
});
