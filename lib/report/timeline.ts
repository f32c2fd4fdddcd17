import { z } from 'zod';
import { nameOfKey, runKeys } from '../keys.ts';
import { readEach } from '../manifest.ts';
import type { ObjectStore } from '../objects.ts';
import { getJson } from '../objects.ts';
import type { Timeline } from './report-schema.ts';

/** Records a second over a run's time, and the time its functions worked: from what the ledger's markers say. */

/** Steps that a run's time is cut into: enough to see a stall, few enough to draw. */
const steps = 60;

type Stage = Timeline['stages'][number]['stage'];

/** The work on one shard. */
export interface Span {
  readonly startedAt: string;
  readonly at: string;
  readonly records: number;
}
export type Spans = Readonly<Record<Stage, readonly Span[]>>;

const noSpans: Spans = { export: [], embed: [], import: [], compare: [], search: [] };

/** What the markers of every stage have in common; `written` in those of the import, `notInSample` of the comparison. The rest is not looked at. */
const markerSchema = z.object({
  startedAt: z.iso.datetime(),
  at: z.iso.datetime(),
  records: z.number().optional(),
  written: z.number().optional(),
  notInSample: z.number().optional(),
});

/**
 * The spans that a run's markers tell of, be it over or not.
 * @throws ShardDamaged when a marker is not of our form.
 */
export async function readSpans(objects: ObjectStore, run: string): Promise<Spans> {
  const keys = runKeys(run);
  const markersUnder = async (prefix: string) =>
    await readEach((await objects.list(prefix)).filter(isMarker), async (key) => ({
      shard: nameOfKey(key),
      marker: await getJson(objects, key, markerSchema),
    }));
  const exported = await markersUnder(keys.exported);
  const recordsOf = new Map(exported.map(({ shard, marker }) => [shard, marker?.records ?? 0]));
  const spansUnder = async (prefix: string): Promise<Span[]> =>
    (await markersUnder(prefix)).flatMap(({ shard, marker }) => spanOf(marker, recordsOf.get(shard)));
  return {
    ...noSpans,
    export: exported.flatMap(({ marker }) => spanOf(marker)),
    embed: await spansUnder(keys.embedded),
    import: await spansUnder(keys.loaded),
    compare: await spansUnder(keys.compared),
    search: await spansUnder(keys.neighbours),
  };
}

/** Beside the vectors of a shard lies what says so. */
const isMarker = (key: string): boolean => key.endsWith('.json');

function spanOf(marker: z.infer<typeof markerSchema> | undefined, shardRecords = 0): Span[] {
  if (marker === undefined) return [];
  const { startedAt, at, records = shardRecords, written = records, notInSample = 0 } = marker;
  // Nothing was compared here, as where an index was changed: a rate would say otherwise.
  if (notInSample > 0 && notInSample === records) return [];
  return [{ startedAt, at, records: written - notInSample }];
}

/**
 * Seconds that functions were seen to work: the spans of all shards, one after another. Not those of the embedding, where one
 * call works on several at once: embedding.json says how long that took.
 */
export function workedSeconds({ embed: _, ...spans }: Spans): number {
  return Object.values(spans)
    .flat()
    .reduce((sum, { startedAt, at }) => sum + Math.max(0, Date.parse(at) - Date.parse(startedAt)) / 1000, 0);
}

/** A shard's records are spread evenly over its span. null where nothing was worked on. */
export function timelineOf(spans: Spans): Timeline | null {
  const all = Object.values(spans).flat();
  if (all.length === 0) return null;
  const start = all.reduce((least, { startedAt }) => Math.min(least, Date.parse(startedAt)), Infinity);
  const end = all.reduce((most, { at }) => Math.max(most, Date.parse(at)), start);
  const stepSeconds = Math.max((end - start) / 1000 / steps, 0.001);
  const stages = (['export', 'embed', 'import', 'compare', 'search'] as const).flatMap((stage) => {
    const own = spans[stage];
    if (own.length === 0) return [];
    const perSecond = ratesOf(own, start, stepSeconds);
    return [{ stage, records: own.reduce((sum, { records }) => sum + records, 0), perSecond }];
  });
  return { startedAt: new Date(start).toISOString(), stepSeconds, stages };
}

function ratesOf(spans: readonly Span[], start: number, stepSeconds: number): number[] {
  const sums = Array.from({ length: steps }, () => 0);
  for (const { startedAt, at, records } of spans) {
    // In steps from the start; a span of no length still takes up a thousandth, so that its records count.
    const from = Math.min((Date.parse(startedAt) - start) / 1000 / stepSeconds, steps - 0.001);
    const to = Math.min(Math.max((Date.parse(at) - start) / 1000 / stepSeconds, from + 0.001), steps);
    for (let step = Math.floor(from); step < Math.min(steps, Math.ceil(to)); step++) {
      const share = (Math.min(to, step + 1) - Math.max(from, step)) / (to - from);
      sums[step] = (sums[step] ?? 0) + records * share;
    }
  }
  return sums.map((sum) => Math.round((sum / stepSeconds) * 1000) / 1000);
}
