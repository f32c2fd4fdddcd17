import { describe, expect, test } from '@jest/globals';
import { comparedKey, exportedKey, loadedKey } from '../../lib/keys.ts';
import { putJson } from '../../lib/objects.ts';
import { readSpans, type Span, type Spans, timelineOf, workedSeconds } from '../../lib/report/timeline.ts';
import { makeBatch } from '../make.ts';
import { validate } from '../validated.ts';
import { load, makeWorld } from '../world.ts';

const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();
const span = (from: number, to: number, records: number): Span => ({ startedAt: at(from), at: at(to), records });
const spans = (parts: Partial<Spans>): Spans => ({
  export: [],
  embed: [],
  import: [],
  compare: [],
  search: [],
  ...parts,
});

const total = (perSecond: readonly number[], stepSeconds: number): number =>
  perSecond.reduce((sum, each) => sum + each * stepSeconds, 0);

describe('records a second over time', () => {
  test("spread a shard's records evenly over the time it took, and no record is lost or counted twice", () => {
    const timeline = timelineOf(spans({ export: [span(0, 60, 600), span(30, 60, 300)], import: [span(60, 120, 900)] }));
    expect(timeline).toMatchObject({ startedAt: at(0), stepSeconds: 2 });
    const [exported, imported] = timeline?.stages ?? [];
    expect(exported?.perSecond.slice(0, 15)).toEqual(Array.from({ length: 15 }, () => 10));
    expect(exported?.perSecond.slice(15, 30)).toEqual(Array.from({ length: 15 }, () => 20));
    expect(exported?.perSecond.slice(30)).toEqual(Array.from({ length: 30 }, () => 0));
    expect(total(imported?.perSecond ?? [], 2)).toBeCloseTo(900, 6);
    expect(timeline?.stages.map(({ stage, records }) => [stage, records])).toEqual([
      ['export', 900],
      ['import', 900],
    ]);
  });

  test('keep the records of shards that took no time, at the start and at the very end', () => {
    const timeline = timelineOf(spans({ export: [span(0, 0, 5), span(10, 10, 7), span(3.3, 7.1, 100)] }));
    expect(total(timeline?.stages[0]?.perSecond ?? [], timeline?.stepSeconds ?? 0)).toBeCloseTo(112, 1);
    const instant = timelineOf(spans({ compare: [span(4, 4, 50)] }));
    expect(total(instant?.stages[0]?.perSecond ?? [], instant?.stepSeconds ?? 0)).toBeCloseTo(50, 6);
  });

  test('are not there where nothing was worked on, so that no empty chart is drawn', () => {
    expect(timelineOf(spans({}))).toBeNull();
  });

  test('are read from the markers of a real run, stage by stage, and so is the time that was worked', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: Array.from({ length: 200 }, (_, i) => String(1000 + i)) }),
      shardBytes: 3000,
    });
    const { report } = await validate(world, await load(world));
    expect(report.timeline?.stages.map(({ stage, records }) => [stage, records])).toEqual([
      ['export', 200],
      ['import', 200],
      ['compare', 200],
      ['search', 200],
    ]);
    for (const { perSecond } of report.timeline?.stages ?? []) {
      expect(Math.round(total(perSecond, report.timeline?.stepSeconds ?? 0))).toBe(200);
    }
    expect(workedSeconds(await readSpans(world.objects, 'r1'))).toBeGreaterThan(0);
    expect(report.actual?.usd).toBeGreaterThan(0);
    expect(report.ranOn).toBe('one machine');
  });

  test('tell of the records that were compared, and of no comparison where none was', async () => {
    const world = await makeWorld();
    const left = { startedAt: at(0), at: at(1), records: 9, notInSample: 9 };
    await putJson(world.objects, exportedKey('r1', '00000-000'), { startedAt: at(0), at: at(1), records: 9 });
    await putJson(world.objects, comparedKey('r1', '00000-000'), left);
    expect((await readSpans(world.objects, 'r1')).compare).toEqual([]);
    await putJson(world.objects, comparedKey('r1', '00000-000'), { ...left, notInSample: 6 });
    expect((await readSpans(world.objects, 'r1')).compare).toEqual([span(0, 1, 3)]);
  });

  test('refuse a marker that is not ours, by its key, since a rate made of it would be a lie', async () => {
    const world = await makeWorld();
    await putJson(world.objects, exportedKey('r1', '00000-000'), { startedAt: at(0), at: at(1), records: 9 });
    await putJson(world.objects, loadedKey('r1', '00000-000'), { startedAt: 'yesterday', at: at(1), written: 9 });
    await expect(readSpans(world.objects, 'r1')).rejects.toThrow(/loaded\/00000-000\.json is not valid: startedAt/);
  });
});
