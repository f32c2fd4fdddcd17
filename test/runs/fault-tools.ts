import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GetQueueAttributesCommand, type Message, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { expect } from '@jest/globals';
import { runKeys } from '../../lib/keys.ts';
import { readLoaded } from '../../lib/manifest.ts';
import { getJson } from '../../lib/objects.ts';
import { manifestSchema } from '../../lib/run-files.ts';
import { services } from '../../lib/services.ts';
import type { EndpointInput, Result, Runs } from './world.ts';

/** What the tests of faults share: sources of a chosen content, and looks at what a run left behind. */

/** A folder of JSON lines with records 1 to `count`, each altered by `change`. */
export function makeSource(
  runs: Runs,
  count: number,
  change: (record: Record<string, unknown>, id: number) => Record<string, unknown> = (record) => record,
): EndpointInput {
  const collection = runs.unique('words');
  const path = join(runs.directory, 'sources');
  writeSource(join(path, collection), count, change);
  return { store: 'files', connection: { path }, collection };
}

export function writeSource(
  folder: string,
  count: number,
  change: (record: Record<string, unknown>, id: number) => Record<string, unknown> = (record) => record,
): void {
  mkdirSync(folder, { recursive: true });
  const lines = Array.from({ length: count }, (_, at) => {
    const id = at + 1;
    const embedding = [0, 1, 2, 3].map((axis) => Math.fround(Math.sin(id * (axis + 1))));
    return JSON.stringify(change({ id, word: `word ${id}`, note: `note ${id}`, embedding }, id));
  });
  writeFileSync(join(folder, 'words.jsonl'), `${lines.join('\n')}\n`);
}

/** The engine's queue, asked as any client of SQS would. */
export function queueClient(): SQSClient {
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  return new SQSClient({ endpoint: process.env['VECFERRY_SQS_ENDPOINT'] ?? '', region: 'local', credentials });
}

/** Messages that importers have at this moment. */
export async function messagesInFlight(): Promise<number> {
  const client = queueClient();
  const QueueUrl = process.env['VECFERRY_QUEUE_URL'] ?? '';
  const { Attributes = {} } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
  client.destroy();
  return Number(Attributes['ApproximateNumberOfMessagesNotVisible']);
}

/** The messages of a run among the dead letters, also those that a look of the run hides at this moment. */
export async function deadLettersOf(run: string): Promise<readonly Message[]> {
  const client = queueClient();
  const QueueUrl = process.env['VECFERRY_DEAD_LETTER_URL'] ?? '';
  const { Attributes = {} } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
  const total =
    Number(Attributes['ApproximateNumberOfMessages']) + Number(Attributes['ApproximateNumberOfMessagesNotVisible']);
  const found = new Map<string, Message>();
  for (const end = Date.now() + 30_000; found.size < total && Date.now() < end; ) {
    const request = { QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 1, MessageAttributeNames: ['All'] };
    const { Messages = [] } = await client.send(new ReceiveMessageCommand(request));
    for (const message of Messages) found.set(message.MessageId ?? '', message);
    await sleep(50);
  }
  client.destroy();
  expect(found.size).toBe(total);
  return [...found.values()].filter(({ Body = '' }) => Body.includes(`"${run}"`));
}

/** Every record was exported once, loaded once and counted once; nothing failed for good. */
export async function expectExact(runs: Runs, { run, report }: Result, target: EndpointInput, records: number) {
  const { objects } = services();
  const manifest = await getJson(objects, runKeys(run).manifest, manifestSchema);
  expect(manifest?.records).toBe(records);
  const loaded = await readLoaded(objects, run);
  expect(loaded.map(({ shard }) => shard)).toEqual(manifest?.shards.map(({ shard }) => shard));
  expect(loaded.reduce((sum, { written }) => sum + written, 0)).toBe(records);
  expect(await (await runs.open(target)).count()).toBe(records);
  expect(report?.compare).toMatchObject({ equal: records, changed: 0, extra: 0, duplicates: 0 });
  expect(report?.counts).toMatchObject({ source: records, manifest: records, target: records, agree: true });
  expect(await objects.list(runKeys(run).failed)).toEqual([]);
  expect(await deadLettersOf(run)).toEqual([]);
}
