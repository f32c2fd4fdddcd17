import { describe, expect, test } from '@jest/globals';
import { createClient } from '../../lib/client/client.ts';
import { memoryRepairs } from '../../lib/client/memory-repairs.ts';
import { bothSides, type Doc, type Found, keptLines, memorySide, sum, testFlag, until } from './sides.ts';
import { failing, makeWorld, oneSide } from './world.ts';

describe('writes', () => {
  test('go to both places while the flag names two, and to one while it names one', async () => {
    const { a, b, flag, client } = makeWorld({ refreshMs: 1 });
    await client.upsert([{ id: '1', value: 1 }]);
    expect([...a.docs]).toEqual([['1', 1]]);
    expect([...b.docs]).toEqual([['1', 1]]);
    flag.set({ active: 'a:words', candidate: 'a:words', weight: 0 });
    await until(() => client.status().flag?.writes === undefined, 'the new flag');
    await client.upsert([{ id: '2', value: 2 }]);
    expect(b.docs.has('2')).toBe(false);
    await client.close();
  });

  test('go to the source of createClient while the flag was never set', async () => {
    const { a, b, client } = makeWorld({ flag: testFlag() });
    await client.upsert([{ id: '1', value: 1 }]);
    expect([a.docs.size, b.docs.size]).toEqual([1, 0]);
    await client.close();
  });

  test('a delete leaves a tombstone before it touches the source, so an import that is under way cannot bring the record back', async () => {
    const order: string[] = [];
    const a = memorySide({ 1: 1 }, { before: (call) => void order.push(call) });
    const { client, b } = makeWorld({
      a,
      ledger: { addTombstones: async (run, ids) => void order.push(`tombstone ${run} ${ids}`) },
    });
    await client.delete(['1']);
    expect(order.slice(0, 2)).toEqual(['tombstone run-1 1', 'delete']);
    expect([a.docs.size, b.docs.size]).toEqual([0, 0]);
    await client.close();
  });

  test('a delete without its tombstone is refused, and nothing is deleted', async () => {
    const ledger = {
      addTombstones: async () => {
        throw new Error('the ledger is full');
      },
    };
    const failed = makeWorld({ a: memorySide({ 1: 1 }), ledger });
    await expect(failed.client.delete(['1'])).rejects.toThrow('the ledger is full');
    expect(failed.a.docs.size).toBe(1);
    await failed.client.close();
    const flag = testFlag(bothSides);
    const [a, b] = [memorySide({ 1: 1 }), memorySide({ 1: 1 })];
    const bare = createClient<Doc, number, Found>({
      flag,
      sides: { 'a:words': a, 'b:words': b },
      metrics: keptLines(),
    });
    await expect(bare.delete(['1'])).rejects.toThrow(/^run 'run-1' is under way, .* give createClient the ledger/);
    expect([a.docs.size, b.docs.size]).toEqual([1, 1]);
    await bare.close();
  });

  test('a failed source is the caller’s error, and what it may have taken all the same is mended', async () => {
    let isDown = true;
    const a = memorySide(
      {},
      {
        after: (call) => {
          if (call === 'upsert' && isDown) throw new Error('the connection broke');
        },
      },
    );
    const { b, client, metrics } = makeWorld({ a });
    await expect(client.upsert([{ id: '1', value: 1 }])).rejects.toThrow('the connection broke');
    isDown = false;
    expect(b.calls).toEqual([]);
    await client.flush();
    expect([...b.docs]).toEqual([['1', 1]]);
    expect(sum(metrics.lines, 'a:words', 'WriteErrors')).toBe(1);
    await client.close();
  });

  test('a failed second write is acknowledged once it is noted, and mended until it is done', async () => {
    let isDown = true;
    const b = memorySide(
      {},
      {
        before: (call) => {
          if (call !== 'fetch' && isDown) throw new Error('b is down');
        },
      },
    );
    const { client, errors, metrics } = makeWorld({ b });
    await client.upsert([{ id: '1', value: 1 }]);
    expect(client.status().repairsWaiting).toBe(1);
    expect(errors[0]?.message).toBe('b:words did not take a write of 1 ids, which is mended later: b is down');
    await client.flush();
    expect(client.status().repairsWaiting).toBe(1);
    isDown = false;
    await until(() => client.status().repairsWaiting === 0, 'the repair by itself');
    expect([...b.docs]).toEqual([['1', 1]]);
    await until(() => metrics.lines.some(({ RepairsWaiting }) => RepairsWaiting === 0), 'the level by itself');
    await client.close();
    expect(sum(metrics.lines, 'b:words', 'SecondWriteErrors')).toBe(1);
    expect(metrics.lines.flatMap(({ RepairsWaiting }) => RepairsWaiting ?? []).at(-1)).toBe(0);
  });

  test('are not acknowledged when what the second place lacks cannot be noted', async () => {
    const full = { ...memoryRepairs(), capacity: 10, size: 0 };
    const repairs = {
      ...full,
      add: async () => {
        throw new Error('the disk is full');
      },
    };
    const { client } = makeWorld({ b: memorySide({}, failing('upsert')), repairs });
    await expect(client.upsert([{ id: '1', value: 1 }])).rejects.toThrow('the disk is full');
    await client.close();
  });

  test('a full repair queue refuses the write before either side has it', async () => {
    const { a, b, client, errors } = makeWorld({
      b: memorySide({}, failing('upsert')),
      repairs: memoryRepairs({ capacity: 3 }),
    });
    for (const id of ['1', '2', '3']) await client.upsert([{ id, value: 1 }]);
    a.calls.length = 0;
    const refused = client.upsert([{ id: '4', value: 1 }]);
    await expect(refused).rejects.toMatchObject({ name: 'RepairQueueFull', retryable: true });
    await expect(refused).rejects.toThrow(/3 of 3 ids wait for repair already.*nothing was written; repeat it/);
    expect(a.docs.has('4') || b.docs.has('4')).toBe(false);
    expect(a.calls).not.toContain('upsert');
    await expect(client.close()).rejects.toThrow(/^3 records were still to be mended/);
    expect(errors.length).toBeGreaterThan(0);
  });

  test('a second place that hangs costs the caller its timeout and no more; what arrives late puts no older value over a newer one', async () => {
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    let hangs = 1;
    const b = memorySide({}, { before: (call) => (call === 'upsert' && hangs-- > 0 ? gate : undefined) });
    const { a, client } = makeWorld({ b, secondWriteTimeoutMs: 20 });
    await client.upsert([{ id: '1', value: 1 }]);
    await client.upsert([{ id: '1', value: 2 }]);
    await client.flush();
    // Were the newer value there already, the older one would now come on top of it.
    expect([...b.docs]).toEqual([]);
    open();
    await until(() => client.status().repairsWaiting === 0, 'the repair');
    expect([...b.docs]).toEqual([...a.docs]);
    await client.close();
  });

  test('another process that wrote meanwhile is noticed after the acknowledgement, and both sides end alike', async () => {
    const a = memorySide();
    const b = memorySide(
      {},
      {
        before: (call) => {
          if (call === 'upsert' && a.docs.get('1') === 1) a.docs.set('1', 2);
        },
      },
    );
    const { client } = makeWorld({ a, b });
    await client.upsert([{ id: '1', value: 1 }]);
    await client.flush();
    expect(b.docs.get('1')).toBe(2);
    await client.close();
  });

  test('a second place that the application has no side for is a failed second write', async () => {
    const a = memorySide();
    const { client, errors, metrics } = makeWorld({ sides: { 'a:words': a } });
    await client.upsert([{ id: '1', value: 1 }]);
    expect(client.status().repairsWaiting).toBe(1);
    expect(errors[0]?.message).toMatch(/names b:words, and this application has sides for a:words only; add 'b:words'/);
    await expect(client.close()).rejects.toThrow();
    expect(sum(metrics.lines, 'b:words', 'SecondWriteErrors')).toBe(1);
  });

  test('a first place that the application has no side for is an error that says so', async () => {
    const { client } = makeWorld({ sides: { 'b:words': memorySide() } });
    await expect(client.upsert([{ id: '1', value: 1 }])).rejects.toThrow(
      "the routing flag words names a:words, and this application has sides for b:words only; add 'a:words' to the sides of createClient, or set the flag right",
    );
    await client.close();
  });

  test('of one id go one after the other within a process', async () => {
    const a = memorySide({}, { before: () => new Promise((resolve) => setTimeout(resolve, Math.random() * 3)) });
    const { b, client } = makeWorld({ a });
    await Promise.all(
      Array.from({ length: 20 }, (_, value) =>
        client.upsert([
          { id: '1', value },
          { id: `x${value % 3}`, value },
        ]),
      ),
    );
    expect(a.docs.get('1')).toBe(19);
    expect([...b.docs]).toEqual([...a.docs]);
    await client.close();
  });
});

describe('a flag that is older than writes trust it', () => {
  const clock = () => {
    const time = { ms: 0, now: () => ({ wallMs: time.ms, steadyMs: time.ms }) };
    return time;
  };

  test('makes them go to the first place and be noted; mended once the flag is back and names two', async () => {
    const time = clock();
    const { a, b, flag, client } = makeWorld({ clock: time.now, flag: testFlag(oneSide) });
    await client.upsert([{ id: '1', value: 1 }]);
    flag.isAway = true;
    time.ms = 10_001;
    await client.upsert([{ id: '2', value: 2 }]);
    expect([a.docs.has('2'), b.docs.has('2'), client.status().repairsWaiting]).toEqual([true, false, 1]);
    flag.isAway = false;
    flag.set(bothSides);
    await client.flush();
    expect([...b.docs]).toEqual([['2', 2]]);
    expect(client.status().repairsWaiting).toBe(0);
    await client.close();
  });

  test('forgets them when it is back and names one place', async () => {
    const time = clock();
    const { b, flag, client } = makeWorld({ clock: time.now, flag: testFlag(oneSide) });
    await client.upsert([{ id: '1', value: 1 }]);
    flag.isAway = true;
    time.ms = 10_001;
    await client.upsert([{ id: '2', value: 2 }]);
    flag.isAway = false;
    await client.flush();
    expect(client.status().repairsWaiting).toBe(0);
    expect(b.calls).toEqual([]);
    await client.close();
  });

  test('a delete of that time gets its tombstone before it is mended, since an import may have begun', async () => {
    const time = clock();
    const { b, flag, client, ledger } = makeWorld({
      a: memorySide({ 1: 1 }),
      b: memorySide({ 1: 1 }),
      clock: time.now,
      flag: testFlag(oneSide),
    });
    await client.fetch(['1']);
    flag.isAway = true;
    time.ms = 10_001;
    await client.delete(['1']);
    flag.isAway = false;
    flag.set(bothSides);
    await client.flush();
    expect([...(ledger.tombstones.get('run-1') ?? [])]).toEqual(['1']);
    expect(b.docs.size).toBe(0);
    await client.close();
  });

  test('a write that the source took its time with counts by the flag as it is then: it cannot slip past an export', async () => {
    const time = clock();
    const flagNow = testFlag(oneSide);
    const a = memorySide(
      {},
      {
        before: (call) => {
          if (call !== 'upsert') return;
          time.ms = 20_000;
          flagNow.set(bothSides);
        },
      },
    );
    const { b, client } = makeWorld({ a, clock: time.now, flag: flagNow });
    await client.upsert([{ id: '1', value: 1 }]);
    expect([...b.docs]).toEqual([['1', 1]]);
    await client.close();
  });

  test('writes that a finished run left on the other side are reported, and not copied over what is newer', async () => {
    const time = clock();
    const { a, b, flag, client, errors } = makeWorld({ b: memorySide({ 2: 99 }), clock: time.now });
    await client.fetch(['1']);
    flag.isAway = true;
    time.ms = 10_001;
    await client.upsert([{ id: '2', value: 2 }]);
    flag.isAway = false;
    flag.set({ active: 'b:words', candidate: 'b:words', weight: 0 });
    await client.flush();
    expect([a.docs.get('2'), b.docs.get('2')]).toEqual([2, 99]);
    expect(errors.at(-1)?.message).toMatch(/^1 records were last written to a:words, .*b:words may lack these writes/);
    expect(errors.at(-1)).toMatchObject({ ids: ['2'] });
    await client.close();
  });
});

test('close() ends everything that goes on in the background', async () => {
  const { client, flag } = makeWorld({ refreshMs: 1 });
  await client.upsert([{ id: '1', value: 1 }]);
  await client.close();
  const { reads } = flag;
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(flag.reads).toBe(reads);
});
