import { describe, expect, test } from '@jest/globals';
import { createClient } from '../../lib/client/client.ts';
import type { ClientOptions } from '../../lib/client/options.ts';
import { bucketOf } from '../../lib/cutover/route.ts';
import {
  atOnce,
  bothSides,
  type Doc,
  type Found,
  keptLines,
  type MemorySide,
  memorySide,
  never,
  sum,
  type TestFlag,
  testFlag,
  until,
} from './sides.ts';

interface Given extends Partial<ClientOptions<Doc, number, Found>> {
  readonly a?: MemorySide;
  readonly b?: MemorySide;
  readonly flag?: TestFlag;
}

function makeWorld(given: Given = {}) {
  const docs = { 1: 1, 2: 2, 3: 3 };
  const { a = memorySide(docs), b = memorySide(docs), flag = testFlag(bothSides), ...rest } = given;
  const metrics = keptLines();
  const errors: Error[] = [];
  const client = createClient<Doc, number, Found>({
    flag,
    sides: { 'a:words': a, 'b:words': b },
    source: 'a:words',
    metrics,
    onError: (error) => errors.push(error),
    ...rest,
  });
  return { a, b, flag, metrics, errors, client };
}

const onTarget = { ...bothSides, active: 'b:words', candidate: 'a:words' };
const down = { before: () => Promise.reject(new Error('it is down')) };
const hanging = { before: () => never };
const keys = Array.from({ length: 300 }, (_, at) => `user-${at}`);

describe('reads', () => {
  test('go where the flag and the key say', async () => {
    const { a, b, client } = makeWorld({ flag: testFlag({ ...bothSides, weight: 30 }) });
    for (const key of keys) await client.search(1, { key });
    const share = keys.filter((key) => bucketOf('words', key) < 30).length;
    expect([b.calls.length, a.calls.length]).toEqual([share, keys.length - share]);
    expect(share).toBeGreaterThan(50);
    await client.close();
  });

  test('of a target that fails are answered by the source, and the failure is counted with the target', async () => {
    const { client, metrics, errors } = makeWorld({ flag: testFlag(onTarget), b: memorySide({}, down) });
    expect(await client.search(1, { key: 'user' })).toHaveLength(3);
    expect(await client.fetch(['2'])).toEqual([{ id: '2', value: 2 }]);
    await client.close();
    expect(sum(metrics.lines, 'b:words', 'ReadErrors')).toBe(2);
    expect(sum(metrics.lines, 'a:words', 'Reads')).toBe(2);
    expect(sum(metrics.lines, 'a:words', 'ReadErrors')).toBe(0);
    expect(errors[0]?.message).toBe('b:words did not answer a read, and a:words was asked instead: it is down');
  });

  test('of a target that hangs are answered by the source after the timeout', async () => {
    const { client, metrics } = makeWorld({ flag: testFlag(onTarget), b: memorySide({}, hanging), timeoutMs: 30 });
    const startedAt = performance.now();
    expect(await client.search(1)).toHaveLength(3);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(29);
    await client.close();
    expect(metrics.lines.find(({ place }) => place === 'b:words')?.reads).toEqual([[expect.any(Number), false]]);
  });

  test('of a source that fails are the application’s own: the target may lack records', async () => {
    const { b, client } = makeWorld({ a: memorySide({}, down) });
    await expect(client.search(1)).rejects.toThrow('it is down');
    expect(b.calls).toEqual([]);
    await client.close();
  });

  test('of the one place that is left have nowhere to fall back to', async () => {
    const { a, client } = makeWorld({
      flag: testFlag({ active: 'b:words', candidate: 'b:words', weight: 0 }),
      b: memorySide({}, down),
    });
    await expect(client.search(1)).rejects.toThrow('it is down');
    expect(a.calls).toEqual([]);
    await client.close();
  });

  test('of a place that the application has no side for go to the source, and count as failed there', async () => {
    const a = memorySide({ 1: 1 });
    const { client, metrics, errors } = makeWorld({ flag: testFlag(onTarget), sides: { 'a:words': a } });
    expect(await client.search(1)).toEqual([{ id: '1' }]);
    await client.close();
    expect(sum(metrics.lines, 'b:words', 'ReadErrors')).toBe(1);
    expect(errors[0]?.message).toMatch(/add 'b:words' to the sides of createClient/);
  });

  test('of a flag that names no place the application has are refused with what to do', async () => {
    const { client } = makeWorld({ flag: testFlag({ active: 'x:y', candidate: 'x:y', weight: 0 }) });
    await expect(client.search(1)).rejects.toThrow(
      "the routing flag words names x:y, and this application has sides for a:words, b:words only; add 'x:y' to the sides of createClient, or set the flag right",
    );
    await client.close();
  });
});

describe('a flag store that cannot be reached', () => {
  test('for the whole time leaves reads at the source, without a failure', async () => {
    const flag = testFlag(onTarget);
    flag.isAway = true;
    const { a, client, errors } = makeWorld({ flag });
    for (const key of keys) expect(await client.search(1, { key })).toHaveLength(3);
    expect(a.calls.length).toBe(keys.length);
    expect(errors.map(({ message }) => message)).toEqual([
      'the routing flag words cannot be read, and the source of createClient is used until it can: the flag store is away',
    ]);
    await client.close();
  });

  test('later on leaves them where they were', async () => {
    const { a, b, flag, client, errors } = makeWorld({ flag: testFlag(onTarget), refreshMs: 2 });
    await client.search(1);
    flag.isAway = true;
    await until(() => errors.length > 0, 'a failed read of the flag');
    await client.search(1);
    expect([a.calls.length, b.calls.length]).toEqual([0, 2]);
    expect(errors[0]?.message).toMatch(/its last known value stays/);
    await client.close();
  });

  test('and hangs keeps no read waiting once there is a value, and the first ones 2 seconds at most', async () => {
    const base = testFlag(bothSides);
    let hangs = false;
    let hanging = 0;
    const read = (): Promise<never> => {
      hanging += 1;
      return never;
    };
    const flag = { ...base, read: () => (hangs ? read() : base.read()) };
    const { client } = makeWorld({ flag, refreshMs: 1 });
    await client.search(1);
    hangs = true;
    await until(() => hanging > 0, 'a read of the flag that hangs');
    for (let at = 0; at < 50; at++) expect(await atOnce(client.search(1))).toHaveLength(3);
    await client.close();

    const never2 = makeWorld({ flag: { ...base, read: () => never } });
    const from = performance.now();
    await never2.client.search(1);
    expect(performance.now() - from).toBeGreaterThan(1900);
    expect(never2.errors[0]?.message).toContain('the routing flag words has not answered within 2000 ms');
    expect(await atOnce(never2.client.search(1))).toHaveLength(3);
    await never2.client.close();
  });

  test('and no source is an error that says what to name', async () => {
    const flag = testFlag();
    const [a, b] = [memorySide(), memorySide()];
    const client = createClient<Doc, number, Found>({
      flag,
      sides: { 'a:words': a, 'b:words': b },
      metrics: keptLines(),
      onError: () => {},
    });
    await expect(client.search(1)).rejects.toThrow(
      'the routing flag words was never set, or could not be read yet; name the place to use until then as source of createClient: one of a:words, b:words',
    );
    await client.close();
  });
});

describe('shadow reads', () => {
  const shadowed = (more: object = {}) => testFlag({ ...bothSides, shadow: 100, ...more });

  test('hold both answers against each other after the caller has one', async () => {
    const { client, metrics } = makeWorld({ flag: shadowed(), b: memorySide({ 1: 1, 2: 2, 9: 3 }) });
    await client.search(2);
    await client.close();
    const [line] = metrics.lines.filter(({ place }) => place === 'b:words');
    expect(line?.shadowReads).toEqual([
      { k: 3, overlap: 0.667, activeMs: expect.any(Number), otherMs: expect.any(Number) },
    ]);
    expect(line).toMatchObject({ ShadowReads: 1, ShadowOverlap: [0.667], reads: [] });
  });

  test('are counted with the target, also where the target gave the answer', async () => {
    const slow = { before: () => new Promise<void>((resolve) => setTimeout(resolve, 500)) };
    const { client, metrics } = makeWorld({ flag: shadowed({ weight: 100 }), a: memorySide({ 1: 1 }, slow) });
    await client.search(2);
    await client.close();
    const [line] = metrics.lines.filter(({ ShadowReads }) => ShadowReads === 1);
    expect(line?.place).toBe('b:words');
    const { activeMs = 0, otherMs = Number.NaN } = line?.shadowReads[0] ?? {};
    expect(activeMs).toBeGreaterThan(490);
    expect(otherMs).toBeLessThan(activeMs);
  });

  test('take the share that the flag says', async () => {
    const { client, b } = makeWorld({ flag: shadowed({ shadow: 20 }) });
    for (let at = 0; at < 1000; at++) {
      await client.search(1);
      if (at % 4 === 3) await client.flush();
    }
    expect(b.calls.length).toBeGreaterThan(140);
    expect(b.calls.length).toBeLessThan(260);
    await client.close();
  });

  test('that hang cost the caller nothing, are bounded in number, and what is dropped is counted', async () => {
    const { client, metrics, b } = makeWorld({
      flag: shadowed(),
      b: memorySide({}, hanging),
      maxShadows: 3,
      timeoutMs: 20,
    });
    // No timer comes in between either, so none of the three has been given up yet.
    for (let at = 0; at < 50; at++) expect(await atOnce(client.search(1))).toHaveLength(3);
    expect(client.status().shadowsUnderWay).toBe(3);
    await client.close();
    expect(b.calls.length).toBe(3);
    expect(client.status().shadowsUnderWay).toBe(0);
    expect(sum(metrics.lines, 'b:words', 'ShadowsDropped')).toBe(47);
    expect(sum(metrics.lines, 'b:words', 'ShadowErrors')).toBe(3);
    expect(sum(metrics.lines, 'b:words', 'ReadErrors')).toBe(0);
  });

  test('that fail at once are no failed read of anybody', async () => {
    const b = memorySide();
    const throwing = {
      ...b,
      search: () => {
        throw new Error('not even a promise');
      },
    };
    const { client, metrics, errors } = makeWorld({ flag: shadowed(), b: Object.assign(b, throwing) });
    expect(await client.search(1)).toHaveLength(3);
    await client.close();
    expect(sum(metrics.lines, 'b:words', 'ShadowErrors')).toBe(1);
    expect(errors[0]?.message).toBe('a shadow read of b:words failed; no caller waited for it: not even a promise');
  });

  test('are not sent where the answer came from the source because the target failed', async () => {
    const { client, a } = makeWorld({ flag: shadowed({ weight: 100 }), b: memorySide({}, down) });
    await client.search(1);
    await client.flush();
    expect(a.calls).toEqual(['search']);
    await client.close();
  });
});
