import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { seededRandom } from '../../../lib/sample.ts';

/** A run that misses its goal, tuned and proved from the command line; the target is PostgreSQL in a directory, with an HNSW index. */

const work = mkdtempSync(join(tmpdir(), 'vecferry-tune-'));

function vecferry(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['infra/local/vecferry.mjs', '--dir', join(work, 'kept'), ...args], {
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

const event = JSON.stringify({
  source: { store: 'files', connection: { path: join(work, 'source') }, collection: 'records.jsonl' },
  target: {
    store: 'pgvector',
    connection: { path: join(work, 'target') },
    collection: 'records',
    // So few candidates that a search for ten finds at most four.
    options: { efSearch: 4 },
  },
  mapping: { vectors: { embedding: { index: { kind: 'hnsw', m: 8, efConstruction: 32 } } } },
  validate: { recall: { k: 10, queries: 100, atLeast: 0.9, depths: [] } },
  cutover: null,
});

beforeAll(async () => {
  await mkdir(join(work, 'source'));
  const random = seededRandom(5);
  const lines = Array.from({ length: 3000 }, (_, i) =>
    JSON.stringify({ id: i + 1, embedding: Array.from({ length: 16 }, () => random() - 0.5) }),
  );
  await writeFile(join(work, 'source', 'records.jsonl'), `${lines.join('\n')}\n`);
});

test('tune shows the curve, says what the application has to set, and validate proves the run with it', async () => {
  const missed = await vecferry(['run', event, '--run', 'r1']);
  expect(missed.code).toBe(5);
  expect(missed.err).toMatch(/recall@10 of the target is \d/);

  const { code, out, err } = await vecferry(['tune', 'r1']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^set sampled, vector embedding: recall@10, at least 90.00% asked for$/m);
  expect(out).toMatch(
    /^ {2}\d\d\.\d\d% +\d+\.\d\d% to \d+\.\d\d% +[\d.]+ ms +[\d.]+ ms +efSearch 4, no iterativeScan$/m,
  );
  expect(out).toMatch(/efSearch \d+, no iterativeScan \*$/m);
  const [, found] = /^sampled: efSearch (\d+),.* for the application to set: SET hnsw.ef_search = \1 /m.exec(out) ?? [];
  expect(Number(found)).toBeGreaterThan(10);
  expect(out).toMatch(/^not yet +Could not validate/m);

  const none = await vecferry(['tune', 'r1', '--max-p95', '0.001']);
  expect(none.out).toMatch(/No setting that was tried holds 90\.00% within/);
  expect(none.out).not.toMatch(/iterativeScan \*$/m);
  expect(none.code).toBe(5);

  const search = `{"efSearch":${found}}`;
  expect(out).toContain('report ');
  const proved = await vecferry(['validate', 'r1', '--search', search]);
  expect(proved).toMatchObject({ code: 0, err: '' });
  expect(proved.out).toMatch(/^done +Validated/m);
  expect((await vecferry(['tune', 'r1'])).out).toMatch(/^nothing to tune/m);
  expect((await vecferry(['tune', 'r1', '--at-least', '1.5'])).code).toBe(2);
  const empty = await vecferry(['tune', 'r1', '--at-least', '']);
  expect([empty.code, empty.err]).toEqual([2, expect.stringMatching(/^InvalidEvent: --at-least '' is not valid/)]);
  expect((await vecferry(['tune', 'nowhere'])).code).toBe(2);
  expect((await vecferry(['validate', 'r1', '--search', '{"rescore":true}'])).err).toMatch(/does not heed rescore/);
  expect((await vecferry(['validate', event, '--search', search])).err).toMatch(/--search goes with the id of a run/);
});
