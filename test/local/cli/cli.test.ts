import { existsSync, mkdtempSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { until } from '../../until.ts';
import { type Answer, callCommand, commandLine, writeRecords } from './command-line.ts';

/** The command line as its users meet it: a process, its exit code, and what it prints. */

const work = mkdtempSync(join(tmpdir(), 'vecferry-cli-'));
const kept = join(work, 'kept');
const vecferry = commandLine(kept);

/** Records in a folder, going into a LanceDB of its own; small shards, so that there are several. */
const event = (target: string, more: Record<string, unknown> = {}) =>
  JSON.stringify({
    source: { store: 'files', connection: { path: join(work, 'source') }, collection: 'records.jsonl' },
    target: { store: 'lancedb', connection: { path: join(work, target) }, collection: 'records' },
    parallel: { shardMiB: 0.05 },
    validate: { recall: { k: 3, queries: 20, atLeast: 0.5 } },
    // Until it is finished a flag belongs to the run that has moved it.
    cutover: { flag: target },
    ...more,
  });
const records = 3000;
/** The same records but the last. */
const fewer = { store: 'files', connection: { path: join(work, 'source') }, collection: 'fewer.jsonl' };

/** Two runs that later tests look at, told for people and for programs. The first synthesizes the stack, where nobody did. */
let plain: Answer;
let moved: Answer;
beforeAll(async () => {
  await writeRecords(join(work, 'source'), 'records.jsonl', records);
  await writeRecords(join(work, 'source'), 'fewer.jsonl', records - 1);
  plain = await vecferry(['run', event('plain'), '--run', 'plain']);
  moved = await vecferry(['--json', 'run', event('moved'), '--run', 'moved']);
});

describe('vecferry run', () => {
  test('moves, validates and cuts over, and says so in plain lines where there is no terminal', () => {
    const { code, out, err } = plain;
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^export +3,000 of 3,000 records/m);
    // Said by the store: nothing was built.
    expect(out).toMatch(/^index +3,000 records are searched exactly/m);
    expect(out).toMatch(/^done +Validated.*3,000 records compared and equal/m);
    expect(out).toMatch(/^readers +cut over to the target/m);
    expect(out.split('\n').length).toBeLessThan(15);
  });

  test('prints one JSON object a line with --json, ending with the result', () => {
    const { code, events } = moved;
    expect(code).toBe(0);
    const types = new Set(events().map(({ type }) => type));
    expect([...types].sort()).toEqual(['moved', 'progress', 'result', 'started', 'state']);
    expect(events().at(-1)).toMatchObject({
      type: 'result',
      run: 'moved',
      status: 'succeeded',
      report: expect.any(String),
    });
    const done = events().filter((each) => each.type === 'progress' && each['state'] === 'done');
    expect(new Set(done.map((each) => each['stage']))).toEqual(
      new Set(['export', 'import', 'index', 'compare', 'recall', 'cutover']),
    );
  });

  test('stops cleanly at Ctrl-C, and the same command goes on without exporting a shard twice', async () => {
    const args = ['--json', 'run', event('stopped'), '--run', 'stopped'];
    let isStopped = false;
    const first = await vecferry(args, {
      onLine: (line, kill) => {
        const { type, state, status } = JSON.parse(line);
        if (isStopped || type !== 'state' || state !== 'Await the import' || status !== 'entered') return;
        isStopped = true;
        kill();
      },
    });
    expect({ code: first.code, last: first.events().at(-1) }).toMatchObject({
      code: 130,
      last: { status: 'interrupted' },
    });
    const shards = join(kept, 'runs', 'stopped', 'exported');
    const before = await readdir(shards);
    expect(before.length).toBeGreaterThan(1);

    const second = await vecferry(args);
    expect(second.events().at(-1)).toMatchObject({ status: 'succeeded' });
    expect(second.code).toBe(0);
    expect(await readdir(shards)).toEqual(before);
    const report = JSON.parse(await readFile(join(kept, 'runs', 'stopped', 'report.json'), 'utf8'));
    expect(report).toMatchObject({ verdict: 'validated', compare: { equal: records } });
  });

  test('tells people how to go on after Ctrl-C, and leaves no lock', async () => {
    const planned = join(kept, 'runs', 'told', 'plan.json');
    const { code, out, err } = await vecferry(['run', event('told'), '--run', 'told'], {
      onLine: (line, kill) => void (line.startsWith('run ') && until(() => existsSync(planned), 'the plan').then(kill)),
    });
    expect({ code, out, err }).toMatchObject({ code: 130, err: expect.not.stringContaining('killed by its test') });
    expect(out).toMatch(/Go on with: vecferry --dir \S+ run .* --run told/);
    expect(await readdir(join(kept, 'locks'))).toEqual([]);
  });

  test('takes the event from standard input', async () => {
    const { code, events } = await vecferry(['--json', 'run', '-'], { input: event('stdin', { dryRun: true }) });
    expect(code).toBe(0);
    expect(events().at(-1)).toMatchObject({ type: 'result', status: 'succeeded' });
  });
});

describe('vecferry after a run', () => {
  test('shows its status, validates it again, rolls it back, and cuts it over again', async () => {
    const status = await vecferry(['--json', 'status', 'moved']);
    expect(status.events()).toMatchObject([{ type: 'status', run: 'moved', records, lastMove: { action: 'cutover' } }]);
    const back = await vecferry(['--json', 'rollback', 'moved']);
    expect(back.events()).toMatchObject([{ type: 'moved', action: 'rollback', from: 'lancedb:records' }]);
    const again = await vecferry(['cutover', 'moved']);
    expect({ code: again.code, out: again.out }).toEqual({
      code: 0,
      out: expect.stringContaining('cut over to the target'),
    });
    expect((await vecferry(['validate', 'moved'])).code).toBe(0);
  });

  test('finds what was lost since when it validates again, and says so by its exit code', async () => {
    await rm(join(work, 'plain'), { recursive: true });
    await vecferry(['run', event('plain', { source: fewer, cutover: null }), '--run', 'fewer']);
    const { code, err } = await vecferry(['validate', 'plain']);
    expect({ code, err }).toEqual({ code: 5, err: expect.stringMatching(/^ValidationFailed: /) });
  });

  test('holds the two collections of an event against each other, whatever moved them, and moves nothing', async () => {
    const shards = join(work, 'moved', 'records.lance');
    const before = await readdir(shards, { recursive: true });
    const { code, out } = await vecferry([
      'validate',
      event('moved', { live: true, cutover: { flag: 'records', canary: {} } }),
      '--run',
      'held',
    ]);
    expect({ code, out }).toEqual({
      code: 0,
      out: expect.stringMatching(
        /^done +Validated: files records\.jsonl and lancedb records hold the same 3,000 records\./m,
      ),
    });
    expect(out).not.toMatch(/^(import|index|readers)/m);
    expect(await readdir(shards, { recursive: true })).toEqual(before);
    expect((await vecferry(['validate', 'held'])).code).toBe(0);
    const { code: refused, err } = await vecferry(['cutover', 'held']);
    expect({ refused, err }).toEqual({
      refused: 2,
      err: expect.stringMatching(/moved nothing, so it cuts nothing over/),
    });
  });

  test('names what only one of two collections holds', async () => {
    const { code, err } = await vecferry(['validate', '-', '--run', 'unlike'], {
      input: event('moved', { source: fewer }),
    });
    expect({ code, err }).toEqual({
      code: 5,
      err: expect.stringMatching(/^ValidationFailed: Failed, .*holds 1 record that the source does not hold/),
    });
    // A script is told where the report lies, above all of a run that failed.
    const { events } = await vecferry(['--json', 'validate', 'unlike']);
    expect(events().slice(-2)).toMatchObject([
      { type: 'result', run: 'unlike', status: 'failed', report: expect.stringMatching(/unlike.report\.json$/) },
      { type: 'error', error: 'ValidationFailed', exitCode: 5 },
    ]);
  });

  test('inspects a shard', async () => {
    const [shard = ''] = await readdir(join(kept, 'runs', 'plain', 'shards'));
    const { events } = await vecferry(['--json', 'inspect', join(kept, 'runs', 'plain', 'shards', shard)]);
    expect(events()).toMatchObject([
      { type: 'shard', run: 'plain', records: expect.any(Number), checksum: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
  });
});

describe('vecferry plan and stores', () => {
  test('plans without writing to the target', async () => {
    const { code, events } = await vecferry(['--json', 'plan', event('planned')]);
    expect({ code, events: events() }).toMatchObject({
      code: 0,
      events: [{ type: 'plan', records, estimate: { records } }],
    });
    // Opening LanceDB makes its directory; a table would be another one in it.
    expect(await readdir(join(work, 'planned'))).toEqual([]);
  });

  test('lists every store with what it can hold', async () => {
    const { events } = await vecferry(['--json', 'stores']);
    const names = events().map((each) => each['name']);
    expect(names).toEqual(expect.arrayContaining(['pgvector', 'qdrant', 'chroma', 'lancedb', 'files', 'memory']));
  });
});

describe('vecferry gives one message and an exit code for', () => {
  const cases: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ['an event that is a list', ['run', '[]'], 2, /^InvalidEvent: the event is not valid/],
    ['an event that is not JSON', ['run', '{"source"'], 2, /^InvalidEvent: the argument is not JSON/],
    [
      'an event without a target',
      ['run', '{"source":{"store":"memory","collection":"a"}}'],
      2,
      /^InvalidEvent: .*target/,
    ],
    ['an unknown command', ['fly'], 2, /^InvalidEvent: unknown command 'fly'/],
    ['no command', [], 2, /^InvalidEvent: name a command/],
    ['a run that is not there', ['status', 'nope'], 2, /^NotFound: there is no run 'nope'/],
    ['a bad run id', ['status', '../x'], 2, /^InvalidEvent: the run id is not valid/],
    ['a run to validate on a stack', ['validate', 'moved', '--stack', 'S'], 2, /^InvalidEvent: .*go with an event/],
    ['a shard that is not there', ['inspect', 'nope.parquet'], 2, /^NotFound: there is no file 'nope\.parquet'/],
  ];
  // As processes: in jest what the file system throws is no Error of the code that reads it.
  const ofFiles: typeof cases = [
    [
      'an event that is not there',
      ['run', 'events/nope.json'],
      2,
      /^InvalidEvent: there is no event 'events\/nope\.json'/,
    ],
    ['a folder in place of an event', ['run', 'events'], 2, /^InvalidEvent: 'events' cannot be read \(EISDIR\)/],
    ['an event to validate that is not there', ['validate', 'events/nope.json'], 2, /^InvalidEvent: there is no event/],
  ];
  const expectRefused = ({ code, out, err }: Answer, expected: number, message: RegExp): void => {
    expect({ code, out, err }).toEqual({ code: expected, out: '', err: expect.stringMatching(message) });
    expect(err.trimEnd().split('\n')).toHaveLength(1);
  };
  test.each(cases)('%s', async (_, args, expected, message) => {
    expectRefused(await callCommand(['--dir', kept, ...args]), expected, message);
  });
  test.each(ofFiles)('%s', async (_, args, expected, message) => {
    expectRefused(await vecferry(args), expected, message);
  });
  test('whoever calls it as a process: its exit code is the process’s, and what the engine says is told too', async () => {
    expectRefused(await vecferry(['fly']), 2, /^InvalidEvent: unknown command 'fly'/);
    expectRefused(await vecferry(['cutover', 'nope']), 2, /^NotFound/);
    expectRefused(await vecferry(['validate', 'nope']), 2, /^NotFound/);
  });

  test('two collections of which one is not there, which is not made', async () => {
    const { code, err } = await vecferry(['validate', event('absent'), '--run', 'absent']);
    expect({ code, err }).toEqual({ code: 2, err: expect.stringMatching(/^NotFound: .*records/) });
    expect(await readdir(join(work, 'absent'))).toEqual([]);
  });

  test('a place for runs that cannot be written to', async () => {
    const place = join(work, 'source', 'records.jsonl');
    const { code, err } = await vecferry(['--dir', place, 'plan', event('nowhere')]);
    expect({ code, err }).toEqual({ code: 2, err: expect.stringMatching(/ENOTDIR.*--dir\n$/) });
  });

  test('a store that is away, within seconds: somebody waits for the plan', async () => {
    const away = { store: 'chroma', connection: { url: 'http://127.0.0.1:1' }, collection: 'records' };
    const timed = async (given: string) => {
      const began = performance.now();
      return { ...(await vecferry(['plan', given])), ms: performance.now() - began };
    };
    const there = await timed(event('there'));
    const { code, out, err, ms } = await timed(event('away', { source: away }));
    expect({ code, out, err }).toEqual({
      code: 4,
      out: '',
      err: expect.stringMatching(/^StoreUnavailable: .*check the url/),
    });
    // One that waits for the store takes half a minute, where a plan takes less than one second.
    expect(ms).toBeLessThan(10 * there.ms);
  });

  test('a target that holds records already; the status of that run, which has no plan, says that its report says why', async () => {
    const refused = await vecferry(['run', event('moved'), '--run', 'refused']);
    expect({ code: refused.code, err: refused.err }).toEqual({
      code: 3,
      err: expect.stringMatching(/^TargetNotEmpty: .*\n$/),
    });
    const { code, err } = await callCommand(['--dir', kept, 'status', 'refused']);
    expect({ code, err }).toEqual({
      code: 2,
      err: expect.stringMatching(/^NotFound: run 'refused' ended .*report\.html says why/),
    });
  });

  test('a run started again with another event', async () => {
    const { code, err } = await vecferry(['run', event('another'), '--run', 'moved']);
    expect({ code, err }).toEqual({ code: 3, err: expect.stringMatching(/^RunMismatch: /) });
  });

  test('a shard that was altered', async () => {
    const path = join(work, 'altered.parquet');
    await writeFile(path, 'PAR1 nothing PAR1');
    const { code, err } = await callCommand(['inspect', path]);
    expect({ code, err }).toEqual({ code: 4, err: expect.stringMatching(/^ShardDamaged: /) });
  });

  test('a failure with --json, as an event', async () => {
    const { code, events } = await callCommand(['--json', '--dir', kept, 'status', 'nope']);
    expect(events()).toEqual([{ type: 'error', error: 'NotFound', message: expect.any(String), exitCode: 2 }]);
    expect(code).toBe(2);
  });
});
