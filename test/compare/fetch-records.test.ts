import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { fetchRecords } from '../../lib/compare/fetch-records.ts';
import { files } from '../../lib/stores/files.ts';

const ids = Array.from({ length: 1000 }, (_, at) => String(at + 1));
const line = (id: string): string => `{"id":${id},"embedding":[1,2,3,4]}`;

/** A folder of JSON lines, and how often it was asked. */
async function openFolder(lines: readonly string[]) {
  const path = mkdtempSync(join(tmpdir(), 'vecferry-test-'));
  mkdirSync(join(path, 'words'));
  writeFileSync(join(path, 'words', 'words.jsonl'), `${lines.join('\n')}\n`);
  const store = await files.open({ connection: { path }, collection: 'words', options: {} });
  let calls = 0;
  return {
    fetch: async (wanted: readonly string[]) => {
      calls++;
      return await store.fetch(wanted);
    },
    calls: () => calls,
  };
}

describe('fetching records by id', () => {
  test('gives up at once on a file with a line that nobody can read, for it would be read a thousand times', async () => {
    const folder = await openFolder([...ids.map(line), '{"id": 7, "embed']);
    const { records, unreadable } = await fetchRecords(folder, ids);
    expect(records.size).toBe(0);
    expect(unreadable.size).toBe(1000);
    expect(unreadable.get('1')).toMatch(/^line 1001 of .*words\.jsonl/);
    expect(folder.calls()).toBeLessThan(5);
  });

  test('says which ids are there more than once, because one of them would hide the other', async () => {
    const folder = await openFolder([...ids, '7'].map(line));
    const { records, doubled } = await fetchRecords(folder, ids);
    expect(records.size).toBe(1000);
    expect([...doubled]).toEqual(['7']);
  });
});
