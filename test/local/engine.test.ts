import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Engine, startEngine } from '../../infra/local/engine.ts';
import { loadDeployment } from '../../infra/local/synthesize.ts';
import { runStatus } from '../../lib/status.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';

/** The synthesized definition and the functions of functions/, on the reference store. */

const directory = mkdtempSync(join(tmpdir(), 'vecferry-engine-'));
const connection = { path: 'engine-test' };
const ids = Array.from({ length: 500 }, (_, i) => String(1000 + i));
let engine: Engine;

const open = (collection: string): Promise<Store> => memory.open({ connection, collection, options: {} });
const eventTo = (collection: string, more: Record<string, unknown> = {}) => ({
  source: { store: 'memory', connection, collection: 'articles' },
  target: { store: 'memory', connection, collection },
  parallel: { shardMiB: 0.001 },
  ...more,
});
const never = new AbortController().signal;

beforeAll(async () => {
  const source = await open('articles');
  await source.prepare(makeSchema());
  await source.write(makeBatch({ ids }), { position: { run: 'seed', shard: '00000-000', offset: 0 }, mode: 'upsert' });
  engine = await startEngine({ directory, deployment: await loadDeployment(directory) });
});
afterAll(async () => {
  await engine.close();
});

describe('the embedded engine', () => {
  test('runs the states in the order of the definition, from the plan to the cutover', async () => {
    const states: string[] = [];
    const outcome = await engine.run({
      run: 'whole',
      event: eventTo('whole'),
      signal: never,
      onState: ({ type, state }) => void (type === 'entered' && states.push(state)),
    });
    expect(outcome).toMatchObject({ status: 'SUCCEEDED', output: { run: 'whole', report: { passed: true } } });
    expect(await (await open('whole')).count()).toBe(ids.length);
    const order = ['Plan the run', 'Prepare the target', 'Export every range', 'Export a range', 'Seal the manifest'];
    const last = [
      'Await the import',
      'Build the index',
      'Compare a shard',
      'Measure recall',
      'Write the report',
      'Cut over',
    ];
    const first = [...order, ...last].map((name) => states.indexOf(name));
    expect(first).toEqual([...first].sort((a, b) => a - b));
    expect(first).not.toContain(-1);
  });

  test('ends a run under the name of the error that its plan was refused with', async () => {
    const outcome = await engine.run({ run: 'second', event: eventTo('whole'), signal: never });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'TargetNotEmpty' });
  });

  test('stops where it is told to, and goes on from there to the same end', async () => {
    const stop = new AbortController();
    const stopped = await engine.run({
      run: 'stopped',
      event: eventTo('stopped'),
      signal: stop.signal,
      onState: ({ state, type }) => void (state === 'Export a range' && type === 'exited' && stop.abort()),
    });
    expect(stopped).toEqual({ status: 'ABORTED' });
    const halfway = await runStatus({ objects: engine.objects, run: 'stopped' });
    expect(halfway.report).toBeUndefined();
    const outcome = await engine.run({ run: 'stopped', event: eventTo('stopped'), signal: never });
    expect(outcome).toMatchObject({ status: 'SUCCEEDED', output: { report: { passed: true } } });
    expect(await (await open('stopped')).count()).toBe(ids.length);
  });

  test('cuts over nothing where the event asks for none, and does when called by hand', async () => {
    const outcome = await engine.run({ run: 'later', event: eventTo('later', { cutover: null }), signal: never });
    expect(outcome.status).toBe('SUCCEEDED');
    const before = await runStatus({ objects: engine.objects, run: 'later' });
    expect(before.lastMove).toBeUndefined();
    await expect(engine.invoke('cut-over', { run: 'later' })).resolves.toMatchObject({ action: 'cutover' });
  });

  test('fails a function called with what it does not take, under a typed error', async () => {
    await expect(engine.invoke('seal', { nonsense: 1 })).rejects.toMatchObject({ name: 'InvalidEvent' });
  });
});
