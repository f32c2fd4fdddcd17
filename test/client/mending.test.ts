import { describe, expect, test } from '@jest/globals';
import { type Doc, memorySide, until } from './sides.ts';
import { failing, makeWorld } from './world.ts';

describe('while double writes begin', () => {
  test('what another copy, which has not seen it yet, writes to the source alone is mended once its lease is over', async () => {
    const time = { ms: 0 };
    const clock = () => ({ wallMs: time.ms, steadyMs: time.ms });
    const { a, b, client } = makeWorld({ leaseMs: 300, clock });
    await client.upsert([{ id: '1', value: 1 }]);
    await client.flush();
    a.docs.set('1', 2);
    expect([b.docs.get('1'), client.status().checksWaiting]).toEqual([1, 1]);
    time.ms = 299;
    await client.flush();
    expect(b.docs.get('1')).toBe(1);
    time.ms = 300;
    await until(() => b.docs.get('1') === 2, 'the repair');
    expect(client.status().checksWaiting).toBe(0);
    await client.close();
  });

  test('and once it is over, writes are mended only where there is a reason', async () => {
    const time = { ms: 0 };
    const { a, client } = makeWorld({ leaseMs: 20, clock: () => ({ wallMs: time.ms, steadyMs: time.ms }) });
    await client.search(1);
    time.ms = 40;
    await client.upsert([{ id: '1', value: 1 }]);
    await client.flush();
    expect(a.calls).toEqual(['search', 'upsert', 'fetch']);
    await client.close();
  });
});

describe('mending', () => {
  test('a record that the second place refuses keeps no other waiting', async () => {
    let isDown = true;
    const b = memorySide();
    const upsert = b.upsert.bind(b);
    const refusing = {
      ...b,
      upsert: async (records: readonly Doc[]) => {
        if (isDown || records.some(({ id }) => id === '77')) throw new Error('record 77 is refused');
        await upsert(records);
      },
    };
    const { a, client } = makeWorld({ b: refusing });
    const ids = Array.from({ length: 200 }, (_, at) => String(at));
    await Promise.all(ids.map((id) => client.upsert([{ id, value: Number(id) }])));
    isDown = false;
    await client.flush();
    expect(client.status().repairsWaiting).toBe(1);
    expect(b.docs.size).toBe(199);
    expect(a.docs.size).toBe(200);
    await expect(client.close()).rejects.toMatchObject({ ids: ['77'] });
  });

  test('a second place that is away is left alone after three calls, and tried again later', async () => {
    const b = memorySide({}, { before: () => Promise.reject(new Error('away')) });
    const { client } = makeWorld({ b });
    await Promise.all(Array.from({ length: 100 }, (_, at) => client.upsert([{ id: String(at), value: at }])));
    b.calls.length = 0;
    await client.flush();
    expect(b.calls.length).toBeLessThanOrEqual(6);
    await expect(client.close()).rejects.toThrow();
  });

  test('repairs for somebody else are handed over with the run, and wait here while that fails', async () => {
    const sent: [string, readonly string[]][] = [];
    let isDown = false;
    const repairs = {
      kind: 'sink' as const,
      send: async (run: string, ids: readonly string[]) => {
        if (isDown) throw new Error('the queue is away');
        sent.push([run, ids]);
      },
    };
    const b = memorySide({}, failing('upsert'));
    const { client, a } = makeWorld({ b, repairs });
    await client.upsert([{ id: '1', value: 1 }]);
    expect(sent).toEqual([['run-1', ['1']]]);
    isDown = true;
    await expect(client.upsert([{ id: '2', value: 2 }])).rejects.toThrow('the queue is away');
    expect(a.docs.has('2')).toBe(true);
    isDown = false;
    await client.close();
  });
});
