import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SendMessageCommand, SetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { forgetVerdict } from '../../lib/forget.ts';
import { loadedKey, runKeys, shardKey } from '../../lib/keys.ts';
import { readFailures } from '../../lib/manifest.ts';
import { services } from '../../lib/services.ts';
import { deadLettersOf, expectExact, makeSource, queueClient, writeSource } from './fault-tools.ts';
import { type EndpointInput, endpointIn, expectValidated, fewQueries, type Runs, startRuns, stores } from './world.ts';

/** Messages that come twice, shards that are damaged, records that no one takes. */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());

/** Where an object of a run lies: the engine keeps them as files. */
const fileOf = (key: string): string =>
  services()
    .objects.locate(key)
    .replace(/^file:.*/, fileURLToPath);
const queueUrl = (): string => process.env['VECFERRY_QUEUE_URL'] ?? '';
const message = (run: string, shard: string): string =>
  JSON.stringify({ version: 1, run, shard, attempt: 1, offset: 0 });
const inShards = { parallel: { shardMiB: 0.01 }, validate: fewQueries };

/** Calls `found` with each shard as soon as its marker lies in the run's folder, until `done`. */
async function watchShards(run: string, isDone: () => boolean, found: (shard: string) => Promise<void>): Promise<void> {
  const folder = fileOf(runKeys(run).exported);
  const seen = new Set<string>();
  while (!isDone()) {
    const names = existsSync(folder) ? readdirSync(folder).filter((name) => /^[\d-]+\.json$/.test(name)) : [];
    for (const name of names.filter((each) => !seen.has(each))) {
      seen.add(name);
      await found(name.replace('.json', ''));
    }
    await sleep(1);
  }
}

describe('delivered twice', () => {
  test.each(stores)(
    'every message again while the run is on, and then two importers on each shard at once, into %s',
    async (store) => {
      const source = makeSource(runs, 300);
      const target = await endpointIn(runs, store, 'twice');
      const run = runs.unique('run');
      const client = queueClient();
      let isDone = false;
      let sent = 0;
      const watching = watchShards(
        run,
        () => isDone,
        async (shard) => {
          await client.send(new SendMessageCommand({ QueueUrl: queueUrl(), MessageBody: message(run, shard) }));
          sent += 1;
        },
      );
      const result = await runs.run({ run, source, target, ...inShards });
      isDone = true;
      await watching;
      client.destroy();
      expectValidated(result);
      expect(sent).toBeGreaterThan(1);
      await expectExact(runs, result, target, 300);

      // A marker that was lost: both importers write the whole shard, side by side.
      const shards = readdirSync(fileOf(runKeys(run).loaded)).map((name) => name.replace('.json', ''));
      for (const shard of shards) await services().objects.delete(loadedKey(run, shard));
      const deliver = (shard: string) =>
        runs.engine.invoke('import-shard', {
          Records: [{ messageId: shard, body: message(run, shard), attributes: { ApproximateReceiveCount: '1' } }],
        });
      const answers = await Promise.all([...shards, ...shards].map(deliver));
      for (const answer of answers) expect(answer).toEqual({ batchItemFailures: [] });
      expectValidated(await runs.run({ run, source, target, ...inShards }));
      await expectExact(runs, result, target, 300);
    },
  );
});

describe('a damaged shard', () => {
  /** The import queue hands over messages of this run no earlier than `seconds` after they were sent. */
  const delayMessages = async (seconds: number): Promise<void> => {
    const client = queueClient();
    const Attributes = { DelaySeconds: String(seconds) };
    await client.send(new SetQueueAttributesCommand({ QueueUrl: queueUrl(), Attributes }));
    client.destroy();
  };
  const damages: Readonly<Record<string, (file: string, other: string) => void>> = {
    altered: (file) => {
      const bytes = readFileSync(file);
      bytes[200] = (bytes[200] ?? 0) ^ 1;
      writeFileSync(file, bytes);
    },
    'cut short': (file) => writeFileSync(file, readFileSync(file).subarray(0, 1000)),
    'replaced by another of the same run': (file, other) => writeFileSync(file, readFileSync(other)),
  };
  let clean: EndpointInput;
  beforeAll(() => {
    clean = makeSource(runs, 300);
  });

  test.each(Object.entries(damages))(
    '%s between export and import is named, costs no other shard, and is mended by starting the run again',
    async (_, damage) => {
      const target = await endpointIn(runs, 'lancedb', 'damaged');
      const run = runs.unique('run');
      const event = { run, source: clean, target, ...inShards };
      await delayMessages(1);
      let isDone = false;
      const watching = watchShards(
        run,
        () => isDone,
        async (shard) => {
          const other = fileOf(shardKey(run, '00000-000'));
          if (shard === '00001-000') damage(fileOf(shardKey(run, shard)), other);
        },
      );
      const { outcome } = await runs.run(event);
      isDone = true;
      await watching;
      await delayMessages(0);
      expect(outcome).toMatchObject({
        status: 'FAILED',
        error: 'ImportFailed',
        cause: expect.stringMatching(
          /^1 of \d+ shards .*00001-000.parquet (is not what was exported|was altered|is cut short)/,
        ),
      });
      expect((await deadLettersOf(run)).map(({ Body }) => JSON.parse(Body ?? '').shard)).toEqual(['00001-000']);
      const shards = readdirSync(fileOf(runKeys(run).shards)).length;
      expect(readdirSync(fileOf(runKeys(run).loaded))).toHaveLength(shards - 1);
      const again = await runs.run(event);
      expectValidated(again);
      expect(again.report?.compare).toMatchObject({ equal: 300, extra: 0 });
      expect(await (await runs.open(target)).count()).toBe(300);
    },
  );

  test.each(Object.entries(damages))(
    '%s after the run has ended is found by name, and the run started again exports that one anew',
    async (_, damage) => {
      const target = await endpointIn(runs, 'lancedb', 'damaged');
      const first = await runs.run({ source: clean, target, ...inShards });
      expectValidated(first);
      const { run } = first;
      const files = readdirSync(fileOf(runKeys(run).shards)).map((name) => `${fileOf(runKeys(run).shards)}/${name}`);
      const before = files.map((file) => ({ bytes: readFileSync(file), time: statSync(file).mtimeMs }));
      damage(files[1] ?? '', files[0] ?? '');
      // What was compared and searched is not done again unless it is forgotten.
      const { objects } = services();
      await forgetVerdict(objects, run);
      for (const key of await objects.list(runKeys(run).neighbours)) await objects.delete(key);
      for (const name of ['compare-shard', 'find-neighbours']) {
        await expect(runs.engine.invoke(name, { run, shard: '00001-000' })).rejects.toMatchObject({
          name: 'ShardDamaged',
          message: expect.stringContaining('00001-000.parquet'),
        });
      }
      const again = await runs.run({ run, source: clean, target, ...inShards });
      expectValidated(again);
      await expectExact(runs, again, target, 300);
      for (const [at, file] of files.entries()) {
        expect(readFileSync(file).equals(before[at]?.bytes ?? Buffer.of())).toBe(true);
        if (at !== 1) expect(statSync(file).mtimeMs).toBe(before[at]?.time);
      }
    },
  );
});

describe('a poison record', () => {
  // PostgreSQL holds no U+0000 in text or jsonb.
  const poisoned = (record: Record<string, unknown>, id: number): Record<string, unknown> =>
    id === 137 ? { ...record, note: 'a\u0000b' } : record;

  test('fails the run, which names it; the others are loaded; its message is among the dead letters', async () => {
    const source = makeSource(runs, 300, poisoned);
    const target = await endpointIn(runs, 'pgvector', 'poison');
    const { run, outcome, report } = await runs.run({ source, target, ...inShards });
    expect(outcome).toMatchObject({ status: 'FAILED', error: 'ImportFailed' });
    const failures = [...(await readFailures(services().objects, run)).values()];
    expect(failures).toMatchObject([{ error: 'RecordRefused', ids: ['137'], final: true }]);
    const shard = failures[0]?.shard ?? '';
    expect(report).toMatchObject({
      verdict: 'failed',
      failure: { error: 'ImportFailed', message: expect.stringMatching(new RegExp(`${shard}: .*137`, 's')) },
    });
    const [letter] = await deadLettersOf(run);
    expect(JSON.parse(letter?.Body ?? '')).toMatchObject({ run, shard });
    expect(letter?.MessageAttributes?.['reason']?.StringValue).toMatch(/refuses 1 record/);
    const loaded = await runs.open(target);
    expect(await loaded.count()).toBe(299);
    expect((await loaded.fetch(['136', '137', '138'])).ids.toSorted()).toEqual(['136', '138']);

    // What a person does next: leave the field out, or mend the source; each a run of its own.
    const other = await endpointIn(runs, 'pgvector', 'poison');
    const without = await runs.run({ source, target: other, mapping: { payload: { note: null } }, ...inShards });
    expect(expectValidated(without).compare).toMatchObject({ equal: 300 });
    writeSource(`${source.connection?.['path']}/${source.collection}`, 300);
    const last = await endpointIn(runs, 'pgvector', 'poison');
    const mended = await runs.run({ source, target: last, ...inShards });
    expectValidated(mended);
    await expectExact(runs, mended, last, 300);
  });
});
