import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { Ajv } from 'ajv';
import fc from 'fast-check';
import { fileLedger } from '../../lib/client/file-ledger.ts';
import { fileMetrics } from '../../lib/client/file-metrics.ts';
import type { MetricLine, MetricSink } from '../../lib/client/metric-line.ts';
import { type Metrics, makeMetrics } from '../../lib/client/metrics.ts';
import { runKeys } from '../../lib/keys.ts';
import { tombstoneSchema } from '../../lib/live/live-files.ts';
import { openFileObjects } from '../../lib/objects-files.ts';
import { keptLines, sum, until } from './sides.ts';

/**
 * What CloudWatch takes, as its specification says in words and in its JSON schema:
 * docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
const name = { type: 'string', minLength: 1, maxLength: 1024 };
const isEmf = new Ajv().compile({
  type: 'object',
  required: ['_aws'],
  properties: {
    _aws: {
      type: 'object',
      required: ['Timestamp', 'CloudWatchMetrics'],
      properties: {
        Timestamp: { type: 'integer' },
        CloudWatchMetrics: {
          type: 'array',
          items: {
            type: 'object',
            required: ['Namespace', 'Dimensions', 'Metrics'],
            properties: {
              Namespace: name,
              Dimensions: {
                type: 'array',
                minItems: 1,
                items: { type: 'array', minItems: 1, maxItems: 30, items: { ...name, maxLength: 250 } },
              },
              Metrics: {
                type: 'array',
                minItems: 1,
                maxItems: 100,
                items: {
                  type: 'object',
                  required: ['Name'],
                  properties: {
                    Name: name,
                    Unit: { enum: ['Count', 'Milliseconds', 'None'] },
                    StorageResolution: { enum: [1, 60] },
                  },
                  additionalProperties: false,
                },
              },
            },
            additionalProperties: false,
          },
        },
      },
      additionalProperties: false,
    },
  },
});

/** Each target member that the line names must be there: texts for dimensions, numbers or 1 to 100 of them for metrics. */
function expectEmf(line: MetricLine): void {
  expect(isEmf(line) || isEmf.errors).toBe(true);
  expect(Buffer.byteLength(JSON.stringify(line))).toBeLessThan(256 * 1024);
  const root = new Map<string, unknown>(Object.entries(line));
  for (const { Dimensions, Metrics } of line._aws.CloudWatchMetrics) {
    for (const dimension of Dimensions.flat()) expect(String(root.get(dimension)).length).toBeGreaterThan(0);
    expect(new Set(Metrics.map((metric) => metric.Name)).size).toBe(Metrics.length);
    for (const { Name } of Metrics) {
      const values = [root.get(Name)].flat();
      expect(values.length).toBeGreaterThan(0);
      expect(values.length).toBeLessThanOrEqual(100);
      expect(values.every((value) => Number.isFinite(value))).toBe(true);
    }
  }
}

const ms = fc.double({ min: 0, max: 1e5, noNaN: true });
const happening = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('read' as const), ms, ok: fc.boolean() }) },
  fc.record({ kind: fc.constant('shadow' as const), ms, overlap: fc.constantFrom(0, 0.5, 1) }),
  fc.record({ kind: fc.constant('count' as const) }),
  fc.record({ kind: fc.constant('waiting' as const), ids: fc.nat(5) }),
  fc.record({ kind: fc.constant('flush' as const) }),
);

type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

async function tell(metrics: Metrics, each: Happening): Promise<void> {
  if (each.kind === 'read') metrics.read('b:words', each.ms, each.ok);
  if (each.kind === 'shadow')
    metrics.shadow('b:words', { k: 10, overlap: each.overlap, activeMs: each.ms, otherMs: 1 });
  if (each.kind === 'count') metrics.count('Writes', 'b:words');
  if (each.kind === 'waiting') metrics.repairsWaiting('b:words', each.ids);
  if (each.kind === 'flush') await metrics.flush();
}

describe('metrics', () => {
  test('are lines that CloudWatch takes, and their sums are what happened, in order of time', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { maxLength: 600, size: 'max' }), async (happenings) => {
        const sink = keptLines();
        const metrics = makeMetrics({ flag: 'words', sink, onError: () => {} });
        for (const each of happenings) await tell(metrics, each);
        await metrics.close();
        const { lines } = sink;
        for (const line of lines) expectEmf(line);
        const reads = happenings.flatMap((each) => (each.kind === 'read' ? [each] : []));
        const shadows = happenings.flatMap((each) => (each.kind === 'shadow' ? [each] : []));
        expect(sum(lines, 'b:words', 'Reads')).toBe(reads.length);
        expect(sum(lines, 'b:words', 'ReadErrors')).toBe(reads.filter(({ ok }) => !ok).length);
        expect(lines.flatMap((line) => line.reads.map(([, ok]) => ok))).toEqual(reads.map(({ ok }) => ok));
        const latencies = lines.flatMap((line) => line.ReadLatency ?? []);
        expect(latencies).toEqual(lines.flatMap((line) => line.reads.flatMap(([took, ok]) => (ok ? [took] : []))));
        expect(sum(lines, 'b:words', 'ShadowReads')).toBe(shadows.length);
        expect(lines.flatMap((line) => line.ShadowOverlap ?? [])).toEqual(shadows.map(({ overlap }) => overlap));
        expect(sum(lines, 'b:words', 'Writes')).toBe(happenings.filter(({ kind }) => kind === 'count').length);
        const levels = happenings.flatMap((each) => (each.kind === 'waiting' ? [each.ids] : []));
        expect(lines.flatMap((line) => line.RepairsWaiting ?? []).at(-1) ?? 0).toBe(levels.at(-1) ?? 0);
      }),
      { numRuns: 60 },
    );
  });

  test('say when the earliest of what they tell of began, a read or both halves of a shadow read', async () => {
    const sink = keptLines();
    const metrics = makeMetrics({ flag: 'words', sink, onError: () => {} });
    const from = Date.now();
    metrics.read('a:words', 3, true);
    metrics.read('b:words', 5000, false);
    metrics.read('b:words', 3, true);
    await metrics.flush();
    metrics.shadow('b:words', { k: 1, overlap: 1, activeMs: 4000, otherMs: 3000 });
    await metrics.close();
    const tookMs = Date.now() - from;
    for (const [at, ms] of [3, 5000, 7000].entries()) {
      // A read of `ms` that was told of between both looks at the clock; a started millisecond is a whole one.
      const late = (sink.lines[at]?.begunAt ?? 0) - (from - ms);
      expect(late).toBeGreaterThanOrEqual(-1);
      expect(late).toBeLessThanOrEqual(tookMs);
    }
    expect(sink.lines).toHaveLength(3);
  });

  test('are written after a second without anybody asking', async () => {
    const sink = keptLines();
    const metrics = makeMetrics({ flag: 'words', sink, onError: () => {} });
    metrics.read('a:words', 1, true);
    const told = performance.now();
    await until(() => sink.lines.length > 0, 'a line');
    expect(performance.now() - told).toBeGreaterThan(900);
    expect(sink.lines).toHaveLength(1);
    await metrics.close();
  });

  test('that a sink does not take are reported, and later ones still go there', async () => {
    const kept = keptLines();
    let isFull = true;
    const sink: MetricSink = {
      write: (lines) => {
        if (isFull) throw new Error('the disk is full');
        kept.write(lines);
      },
    };
    const errors: Error[] = [];
    const metrics = makeMetrics({ flag: 'words', sink, onError: (error) => errors.push(error) });
    metrics.read('a:words', 1, true);
    await metrics.flush();
    expect(errors[0]?.message).toMatch(
      /^1 lines of metrics could not be written and are lost: the disk is full; see to/,
    );
    isFull = false;
    metrics.read('a:words', 1, true);
    await metrics.close();
    expect(kept.lines).toHaveLength(1);
  });

  test('in files are one file a client and hour, below the flag’s name', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'vecferry-test-'));
    const sinks = [fileMetrics(directory), fileMetrics(directory)];
    for (const sink of sinks) {
      const metrics = makeMetrics({ flag: 'words', sink, onError: () => {} });
      metrics.read('a:words', 1.25, true);
      await metrics.flush();
      metrics.read('b:words', 2, false);
      await metrics.close();
    }
    const files = await readdir(join(directory, 'words'));
    expect(files).toHaveLength(2);
    const hour = new Date().toISOString().slice(0, 13);
    for (const file of files) {
      expect(file).toMatch(new RegExp(`^\\d{4}-\\d\\d-\\d\\dT\\d\\d-${process.pid}-[0-9a-f-]{36}\\.jsonl$`));
      expect(file.slice(0, 13) <= hour).toBe(true);
      const text = await readFile(join(directory, 'words', file), 'utf8');
      const lines = text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(lines.map(({ place, reads }) => [place, reads])).toEqual([
        ['a:words', [[1.25, true]]],
        ['b:words', [[2, false]]],
      ]);
    }
    await rm(directory, { recursive: true });
  });
});

test('tombstones of this machine lie where a run looks for them, one object a delete', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vecferry-test-'));
  const ledger = fileLedger(directory);
  await Promise.all([ledger.addTombstones('run-1', ['1', '2']), ledger.addTombstones('run-1', ['3'])]);
  const objects = openFileObjects(directory);
  const keys = await objects.list(runKeys('run-1').tombstones);
  const found = await Promise.all(
    keys.map(async (key) => tombstoneSchema.parse(JSON.parse(Buffer.from((await objects.get(key)) ?? '').toString()))),
  );
  expect(found.flatMap(({ ids }) => ids).sort()).toEqual(['1', '2', '3']);
  expect(keys).toHaveLength(2);
  await rm(directory, { recursive: true });
});
