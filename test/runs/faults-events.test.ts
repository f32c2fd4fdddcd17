import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readMoves } from '../../lib/cutover/moves.ts';
import { runKeys } from '../../lib/keys.ts';
import { services } from '../../lib/services.ts';
import { postgresUrl } from '../servers/urls.ts';
import { expectExact, makeSource } from './fault-tools.ts';
import {
  type EndpointInput,
  endpointIn,
  expectValidated,
  fewQueries,
  payloadsOf,
  type RunInput,
  type Runs,
  startRuns,
  stores,
} from './world.ts';

/** Bad events get one clear typed error before anything is written; a run started again does no harm. */

let runs: Runs;
let source: EndpointInput;
beforeAll(async () => {
  runs = await startRuns();
  source = makeSource(runs, 50);
});
afterAll(async () => await runs.close());

/** What a run of this event says, once nothing but that has been written. */
async function refusal(event: unknown, target: EndpointInput): Promise<{ error: string; cause: string }> {
  const run = runs.unique('bad');
  const outcome = await runs.engine.run({ run, event, signal: new AbortController().signal });
  if (outcome.status !== 'FAILED') throw new Error(`the run ended ${outcome.status}`);
  const keys = runKeys(run);
  expect(await services().objects.list(keys.prefix)).toEqual([keys.reportPage, keys.report].toSorted());
  expect(new TextDecoder().decode(await services().objects.get(keys.report))).not.toContain('hunter2');
  expect(outcome.cause).not.toContain('hunter2');
  const opened = await runs.open(target);
  await expect(opened.count()).rejects.toMatchObject({ name: 'NotFound' });
  return { error: outcome.error, cause: outcome.cause };
}

describe('a bad event', () => {
  const bad: readonly (readonly [string, (event: RunInput) => unknown, string, RegExp])[] = [
    [
      'an unknown store',
      (event) => ({ ...event, target: { ...event.target, store: 'pinecone' } }),
      'InvalidEvent',
      /there is no store 'pinecone'; there are chroma, lancedb, pgvector, qdrant, files/,
    ],
    ['no source', ({ target }) => ({ target }), 'InvalidEvent', /source is missing/],
    [
      'no collection',
      (event) => ({ ...event, source: { store: 'files', connection: source.connection } }),
      'InvalidEvent',
      /source\.collection is missing \(expected string\)/,
    ],
    [
      'a number for a name',
      (event) => ({ ...event, target: { ...event.target, collection: 7 } }),
      'InvalidEvent',
      /target\.collection is wrong: expected string, received number/,
    ],
    [
      'a text for a number',
      (event) => ({ ...event, parallel: { exporters: 'many' } }),
      'InvalidEvent',
      /parallel\.exporters is wrong: expected (number|int), received string/,
    ],
    ['a field that there is not', (event) => ({ ...event, validation: {} }), 'InvalidEvent', /validation/],
    ['a text instead of an event', () => 'move it', 'InvalidEvent', /expected object, received string/],
    ['nothing', () => null, 'InvalidEvent', /expected object, received null/],
    [
      'a password in a URL',
      (event) => ({
        ...event,
        source: {
          store: 'pgvector',
          connection: { url: 'postgresql://app:hunter2@db.example.com/app' },
          collection: 'words',
        },
      }),
      'InvalidEvent',
      /source\.connection holds a password; put it into a secret/,
    ],
    [
      'a key in a URL',
      (event) => ({
        ...event,
        target: { ...event.target, connection: { url: 'https://q.example.com?api-key=hunter2' } },
      }),
      'InvalidEvent',
      /target\.connection holds a password/,
    ],
    [
      'a secret that is not there',
      (event) => ({ ...event, source: { ...event.source, connection: { secret: 'nobody/knows' } } }),
      'NotFound',
      /nobody\/knows|NOBODY_KNOWS/,
    ],
    [
      'the same collection on both sides',
      (event) => ({ ...event, target: event.source }),
      'InvalidEvent',
      /source and target are the same collection/,
    ],
    [
      'a mapping of a vector that there is not',
      (event) => ({ ...event, mapping: { vectors: { picture: null } } }),
      'InvalidEvent|Incompatible',
      /picture/,
    ],
    [
      'a pointer in a store that has none',
      (event) => ({ ...event, cutover: { pointer: 'live' } }),
      'InvalidEvent|Incompatible',
      /pointer/,
    ],
  ];
  // All at once: an engine's run takes a second to see that its queue is empty.
  const refusals = new Map<string, Promise<{ error: string; cause: string }>>();
  beforeAll(async () => {
    for (const [what, change] of bad) {
      const target = await endpointIn(runs, 'lancedb', 'bad');
      refusals.set(what, refusal(change({ source, target }), target));
    }
    await Promise.allSettled(refusals.values());
  });

  test.each(bad)('with %s is refused before anything is written', async (what, _, error, said) => {
    const refused = await refusals.get(what);
    expect(refused?.error).toMatch(new RegExp(`^(${error})$`));
    expect(refused?.cause).toMatch(said);
  });

  test.each(stores)('with an option that %s does not know is refused on either side, naming it', async (store) => {
    const target = await endpointIn(runs, store, 'bad');
    const options = { wrongOption: true };
    const events = [
      { source, target: { ...target, options } },
      { source: { ...target, options }, target: { ...target, collection: 'other' } },
    ];
    for (const refused of await Promise.all(events.map((event) => refusal(event, target)))) {
      expect(refused.error).toBe('InvalidEvent');
      expect(refused.cause).toMatch(/wrongOption/);
    }
  });

  test.each(stores)('with a source collection that %s does not have is refused, naming it', async (store) => {
    const target = await endpointIn(runs, 'lancedb', 'bad');
    const missing = await endpointIn(runs, store, 'nowhere');
    const refused = await refusal({ source: missing, target }, target);
    expect(refused.error).toBe('NotFound');
    expect(refused.cause).toContain(missing.collection);
    if (store === 'files') expect(existsSync(join(runs.directory, 'files', missing.collection))).toBe(false);
  });

  test.each(stores)(
    'with a %s target that holds records already is refused, and they stay as they are',
    async (store) => {
      const target = await endpointIn(runs, store, 'full');
      expectValidated(await runs.run({ source, target, validate: fewQueries }));
      const before = await payloadsOf(await runs.open(target));
      const { run, outcome } = await runs.run({ source: makeSource(runs, 60), target });
      expect(outcome).toMatchObject({
        status: 'FAILED',
        error: 'TargetNotEmpty',
        cause: expect.stringMatching(
          new RegExp(`'${target.collection}' already holds 50 records .*"into": "existing"`),
        ),
      });
      const keys = runKeys(run);
      expect(await services().objects.list(keys.prefix)).toEqual([keys.reportPage, keys.report].toSorted());
      expect(await payloadsOf(await runs.open(target))).toEqual(before);
    },
  );
});

describe('a run that is started again under its id', () => {
  test('after it has passed changes nothing and passes', async () => {
    const target = await endpointIn(runs, 'pgvector', 'again');
    const first = await runs.run({ source, target, validate: fewQueries });
    expectValidated(first);
    const { run } = first;
    const before = await snapshot(run, target);
    const again = await runs.run({ run, source, target, validate: fewQueries });
    expectValidated(again);
    expect(await snapshot(run, target)).toEqual(before);
    expect(await readMoves(services().objects, run)).toHaveLength(1);
    await expectExact(runs, again, target, 50);
  });

  test('with another event is refused, and its report and target stay', async () => {
    const target = await endpointIn(runs, 'lancedb', 'again');
    const first = await runs.run({ source, target, validate: fewQueries });
    expectValidated(first);
    const { run } = first;
    const before = await snapshot(run, target);
    const elsewhere = await endpointIn(runs, 'lancedb', 'elsewhere');
    for (const other of [
      { source: makeSource(runs, 50), target },
      { source, target: elsewhere },
      { source, target, mapping: { payload: { note: null } } },
    ]) {
      const { outcome, report } = await runs.run({ run, ...other });
      expect(outcome).toMatchObject({
        status: 'FAILED',
        error: 'RunMismatch',
        cause: expect.stringContaining(`run '${run}' was planned for another mode, source, target or mapping`),
      });
      expect(report).toEqual(first.report);
    }
    expect(await snapshot(run, target)).toEqual(before);
    await expect((await runs.open(elsewhere)).count()).rejects.toMatchObject({ name: 'NotFound' });
  });

  /** The shards and markers of a run, and what its target holds. */
  const snapshot = async (run: string, target: EndpointInput): Promise<unknown> => {
    const { objects } = services();
    const { shards, exported, loaded, manifest, moves } = runKeys(run);
    const lists = await Promise.all([shards, exported, loaded].map((prefix) => objects.list(prefix)));
    const bodies = await Promise.all(
      [...lists.flat(), manifest, ...(await objects.list(moves))].map((key) => objects.get(key)),
    );
    const texts = bodies.map((body) => Buffer.from(body ?? []).toString('base64'));
    return { keys: lists, texts, payloads: await payloadsOf(await runs.open(target)) };
  };
});

test('a server that refuses the credentials fails the run at once, and says so', async () => {
  const url = new URL(await postgresUrl());
  url.username = 'nobody_of_this_name';
  const target = await endpointIn(runs, 'lancedb', 'bad');
  const event = { source: { store: 'pgvector', connection: { url: url.href }, collection: 'words' }, target };
  expect(await refusal(event, target)).toMatchObject({
    error: 'AccessDenied',
    cause: expect.stringContaining('nobody_of_this_name'),
  });
});
