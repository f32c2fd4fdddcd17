import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createClient } from '../../lib/client/client.ts';
import { fileFlag } from '../../lib/client/file-flag.ts';
import { checkFlag, parseFlagText } from '../../lib/client/flag-text.ts';
import { fileFlags, flagSchema } from '../../lib/cutover/flag.ts';
import { bothSides, type Doc, type Found, keptLines, memorySide, testFlag, until } from './sides.ts';

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vecferry-test-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

const clientOf = (flag: Parameters<typeof createClient<Doc, number, Found>>[0]['flag'], errors: Error[] = []) =>
  createClient<Doc, number, Found>({
    flag,
    sides: { 'a:words': memorySide(), 'b:words': memorySide() },
    source: 'a:words',
    metrics: keptLines(),
    refreshMs: 2,
    onError: (error) => errors.push(error),
  });

describe('the flag as the client reads it', () => {
  test('is what the schema of runs says, without the schema’s package', () => {
    const odd = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.double(),
      fc.constant(null),
      fc.constant(undefined),
      fc.array(fc.string(), { maxLength: 3 }),
    );
    const value = fc.record({
      active: fc.oneof({ weight: 8, arbitrary: fc.string() }, odd),
      candidate: fc.oneof({ weight: 8, arbitrary: fc.string() }, odd),
      weight: fc.oneof({ weight: 8, arbitrary: fc.double({ min: 0, max: 100 }) }, odd),
      shadow: fc.oneof({ weight: 8, arbitrary: fc.option(fc.nat(100), { nil: undefined }) }, odd),
      writes: fc.oneof({ weight: 4, arbitrary: fc.array(fc.string(), { minLength: 1, maxLength: 2 }) }, odd),
      run: fc.oneof({ weight: 4, arbitrary: fc.option(fc.string(), { nil: undefined }) }, odd),
    });
    let accepted = 0;
    fc.assert(
      fc.property(value, (flag) => {
        const parsed = flagSchema.safeParse(flag);
        if (!parsed.success) expect(() => checkFlag(flag, 'f')).toThrow(/^the routing flag f /);
        else {
          accepted += 1;
          expect(checkFlag(flag, 'f')).toEqual(parsed.data);
        }
      }),
      { numRuns: 2000 },
    );
    expect(accepted).toBeGreaterThan(100);
  });

  test('ignores fields that a later release may add', () => {
    expect(checkFlag({ ...bothSides, colour: 'green' }, 'f')).toEqual(bothSides);
  });

  test.each([
    [
      '{"active": "a:b"',
      'the routing flag f is not JSON; set it to {"active": …, "candidate": …, "weight": 0}, and the "writes" and "run" that it had',
    ],
    [
      '[]',
      'the routing flag f is not a JSON object; set it to {"active": …, "candidate": …, "weight": 0}, and the "writes" and "run" that it had',
    ],
    [
      '{"active": "a:b", "candidate": "a:b", "weight": 101}',
      'the routing flag f has weight 101, and takes a number from 0 to 100; set it to {"active": …, "candidate": …, "weight": 0}, and the "writes" and "run" that it had',
    ],
    [
      '{"active": "a:b", "weight": 1}',
      'the routing flag f has candidate left out, and takes a place, store:collection; set it to {"active": …, "candidate": …, "weight": 0}, and the "writes" and "run" that it had',
    ],
  ])('refuses %s, and says how it should be', (text, message) => {
    expect(() => parseFlagText(text, 'f')).toThrow(message);
  });
});

describe('a flag in a file', () => {
  test('is the one that runs write, and is seen within its refresh', async () => {
    const flags = fileFlags(directory);
    const client = clientOf(fileFlag(directory, 'words'));
    await client.search(1);
    expect(client.status().flag).toBeUndefined();
    await flags.write('words', bothSides);
    await until(() => client.status().flag?.run === 'run-1', 'the flag');
    await client.close();
  });

  test.each(['{"active": "b:wo', '', 'null', '{"active": 5}'])(
    'that is damaged (%s) leaves the last known value, and is reported once',
    async (text) => {
      const errors: Error[] = [];
      await fileFlags(directory).write('words', bothSides);
      const client = clientOf(fileFlag(directory, 'words'), errors);
      await client.search(1);
      await writeFile(join(directory, 'words.json'), text);
      await until(() => errors.length > 0, 'the report');
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(client.status().flag).toEqual(bothSides);
      expect(errors).toHaveLength(1);
      expect(errors[0]?.message).toMatch(
        /^the routing flag words cannot be read, and its last known value stays until it can: /,
      );
      await client.close();
    },
  );
});

describe('the cache of the flag', () => {
  test('is read again after refreshMs and not for each call', async () => {
    const flag = testFlag(bothSides);
    const client = createClient<Doc, number, Found>({
      flag,
      sides: { 'a:words': memorySide(), 'b:words': memorySide() },
      metrics: keptLines(),
    });
    for (let at = 0; at < 100; at++) {
      await client.search(at);
      await client.upsert([{ id: '1', value: at }]);
    }
    expect(flag.reads).toBe(1);
    await client.close();
  });

  test('takes no older answer for a newer one, when answers overtake each other', async () => {
    const answers: ((flag: typeof bothSides) => void)[] = [];
    let first = true;
    const flag = {
      name: 'words',
      read: () => {
        if (first) {
          first = false;
          return Promise.resolve(bothSides);
        }
        return new Promise<typeof bothSides>((resolve) => answers.push(resolve));
      },
    };
    const time = { ms: 0 };
    const client = createClient<Doc, number, Found>({
      flag,
      sides: { 'a:words': memorySide(), 'b:words': memorySide() },
      metrics: keptLines(),
      clock: () => ({ wallMs: time.ms, steadyMs: time.ms }),
      onError: () => {},
    });
    await client.search(1);
    time.ms = 5001;
    await client.search(1);
    // The first of both hangs until nobody waits for it, then a second one is asked and answers at once.
    await until(() => answers.length === 1, 'a first question');
    await new Promise((resolve) => setTimeout(resolve, 2100));
    time.ms = 12_000;
    await client.search(1);
    await until(() => answers.length === 2, 'a second question');
    answers[1]?.({ ...bothSides, weight: 50 });
    await until(() => client.status().flag?.weight === 50, 'the newer answer');
    answers[0]?.({ ...bothSides, weight: 10 });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(client.status().flag?.weight).toBe(50);
    await client.close();
  });
});
