import { type ChildProcess, spawn } from 'node:child_process';
import { appendFile, mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createClient } from '../../lib/client/client.ts';
import { fileRepairs } from '../../lib/client/file-repairs.ts';
import { bothSides, type Doc, type Found, keptLines, memorySide, testFlag, until } from './sides.ts';

let directory = '';
let path = '';
const children: ChildProcess[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vecferry-test-'));
  path = join(directory, 'journal', 'repairs.jsonl');
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(directory, { recursive: true });
});

type Step = 'restart' | { readonly add: readonly string[] } | { readonly done: number };

const idsOf = (repairs: ReturnType<typeof fileRepairs>): readonly string[] =>
  repairs.peek(repairs.size).map(({ id }) => id);

/** Another process that adds ids to the journal, one after the other, and says each that was kept. */
function startWriter(): { child: ChildProcess; kept: string[]; errors: () => string; ended: Promise<void> } {
  const module = new URL('../../lib/client/file-repairs.ts', import.meta.url).href;
  const script = `
    const { fileRepairs } = await import(${JSON.stringify(module)});
    const repairs = fileRepairs({ path: ${JSON.stringify(path)} });
    for (let at = 0; ; at++) {
      await repairs.add([String(at), 'x'.repeat(200) + at], 'a:words');
      process.stdout.write(at + '\\n');
    }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { env: { PATH: '' } });
  children.push(child);
  const kept: string[] = [];
  let [rest, errors] = ['', ''];
  child.stdout.on('data', (data) => {
    const lines = `${rest}${data}`.split('\n');
    rest = lines.pop() ?? '';
    kept.push(...lines);
  });
  child.stderr.on('data', (data) => {
    errors += data;
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  return { child, kept, errors: () => errors, ended };
}

describe('repairs in a file', () => {
  test('are there again after a restart, without those that were mended', async () => {
    const one = fileRepairs({ path });
    await one.add(['1', '2', '3'], 'a:words');
    await one.add(['4'], 'b:words');
    await one.done(one.peek(2));
    await one.close();
    const two = fileRepairs({ path });
    expect(two.peek(10).map(({ id, place }) => [id, place])).toEqual([
      ['3', 'a:words'],
      ['4', 'b:words'],
    ]);
    await two.close();
  });

  test('stay when they came again while they were being mended', async () => {
    const one = fileRepairs({ path });
    await one.add(['1', '2'], 'a:words');
    const peeked = one.peek(2);
    await one.add(['2'], 'a:words');
    await one.done(peeked);
    expect(idsOf(one)).toEqual(['2']);
    await one.close();
    const two = fileRepairs({ path });
    expect(idsOf(two)).toEqual(['2']);
    await two.close();
  });

  test('hold what a queue in memory holds, whatever comes, and after any restart', async () => {
    const id = fc.constantFrom('1', '2', '3', 'ü"\n', '');
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.record({ add: fc.array(id, { maxLength: 3 }) }),
      fc.record({ done: fc.nat(3) }),
      fc.constant('restart' as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
        await rm(path, { force: true });
        let repairs = fileRepairs({ path });
        const wanted = new Set<string>();
        const take = async (each: Exclude<Step, 'restart'>): Promise<void> => {
          if ('add' in each) {
            await repairs.add(each.add, 'a:words');
            for (const id of each.add) wanted.add(id);
            return;
          }
          const peeked = repairs.peek(each.done);
          await repairs.done(peeked);
          for (const { id } of peeked) wanted.delete(id);
        };
        for (const each of steps) {
          if (each !== 'restart') await take(each);
          else {
            await repairs.close();
            repairs = fileRepairs({ path });
          }
          expect(new Set(idsOf(repairs))).toEqual(wanted);
        }
        await repairs.close();
      }),
      { numRuns: 30 },
    );
  });

  test('survive a process that is killed while it writes: all that it acknowledged is there', async () => {
    const writer = startWriter();
    await until(() => writer.kept.length >= 20, 'a twentieth id that is kept');
    writer.child.kill('SIGKILL');
    await writer.ended;
    // As a kill in the middle of a line leaves it.
    await appendFile(path, '{"add":["half');
    const repairs = fileRepairs({ path });
    const there = new Set(idsOf(repairs));
    expect(writer.kept.filter((id) => !there.has(id))).toEqual([]);
    expect(there.has('half')).toBe(false);
    await repairs.add(['later'], 'a:words');
    await repairs.close();
    const again = fileRepairs({ path });
    expect(idsOf(again)).toContain('later');
    await again.close();
  });

  test('belong to one process: another one is told who has them and what to do', async () => {
    const mine = fileRepairs({ path });
    const writer = startWriter();
    await writer.ended;
    expect(writer.errors()).toContain(
      `the repair journal ${path} is in use by process ${process.pid}; give each process a journal of its own, or delete ${path}.lock when no application uses it any more`,
    );
    expect(() => fileRepairs({ path })).toThrow(/which is this one/);
    await mine.close();
    await fileRepairs({ path }).close();
  });

  test('are taken over from a process that has ended, also where it had our number, as in a container', async () => {
    await fileRepairs({ path }).close();
    for (const holder of [String(process.pid), '999999999', 'nonsense']) {
      await writeFile(`${path}.lock`, holder);
      await fileRepairs({ path }).close();
    }
  });

  test('are not taken from a process that has made its lock and not written its number yet', async () => {
    await fileRepairs({ path }).close();
    await writeFile(`${path}.lock`, '');
    expect(() => fileRepairs({ path })).toThrow(/is in use by a process that has just begun/);
    // One that was killed there left it empty for good.
    for (const ms of [-120_000, 3_600_000]) {
      await writeFile(`${path}.lock`, '');
      // After a clock was set back, too.
      const then = new Date(Date.now() + ms);
      await utimes(`${path}.lock`, then, then);
      await fileRepairs({ path }).close();
    }
  });

  test('are compacted, so that a journal grows with what waits and not with what was', async () => {
    const repairs = fileRepairs({ path });
    const ids = Array.from({ length: 1000 }, (_, at) => `id-${at}`);
    for (let times = 0; times < 20; times++) {
      await repairs.add(ids, 'a:words');
      await repairs.done(repairs.peek(1000));
    }
    await repairs.add(['last'], 'a:words');
    expect((await stat(path)).size).toBeLessThan(200_000);
    await repairs.close();
    const again = fileRepairs({ path });
    expect(idsOf(again)).toEqual(['last']);
    expect(await readFile(path, 'utf8')).toBe('{"add":["last"],"place":"a:words"}\n');
    await again.close();
  });

  test('that were altered are refused with the line, since ids may be missing', async () => {
    const one = fileRepairs({ path });
    await one.add(['1'], 'a:words');
    await one.close();
    await writeFile(path, `${await readFile(path, 'utf8')}{"add":[1],"place":"a"}\n{"done":["1"]}\n`);
    expect(() => fileRepairs({ path })).toThrow(/^line 2 of the repair journal .* validate the run/);
  });

  test('are mended by the next process of the application', async () => {
    const a = memorySide();
    const make = (b: ReturnType<typeof memorySide>) =>
      createClient<Doc, number, Found>({
        flag: testFlag(bothSides),
        sides: { 'a:words': a, 'b:words': b },
        repairs: fileRepairs({ path }),
        metrics: keptLines(),
        onError: () => {},
      });
    const first = make(memorySide({}, { before: () => Promise.reject(new Error('down')) }));
    await first.upsert([{ id: '1', value: 1 }]);
    await first.close();
    const b = memorySide();
    const second = make(b);
    await second.flush();
    expect([...b.docs]).toEqual([['1', 1]]);
    await second.close();
  });
});
