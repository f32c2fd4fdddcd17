import { priceOf } from '../estimate.ts';
import { parseShardName, runKeys } from '../keys.ts';
import { type ObjectStore, putJson } from '../objects.ts';
import { reportPage } from '../page/page.ts';
import type { Plan, ShardEntry } from '../run-files.ts';
import type { Report } from './report-schema.ts';
import { type Spans, workedSeconds } from './timeline.ts';

/** Writes the page, then report.json: where that is, both are. */
export async function putReport(objects: ObjectStore, report: Report): Promise<void> {
  const keys = runKeys(report.run);
  await objects.put(keys.reportPage, reportPage(report), 'text/html; charset=utf-8');
  await putJson(objects, keys.report, report);
}

export function endpointsOf({ event: { source, target } }: Plan): Pick<Report, 'source' | 'target'> {
  return {
    source: { store: source.store, collection: source.collection },
    target: { store: target.store, collection: target.collection },
  };
}

/** Where a run's objects lie tells where its functions ran, and so whether anybody bills for them. */
export function placeOf(objects: ObjectStore, run: string): Report['ranOn'] {
  return objects.locate(runKeys(run).report).startsWith('s3://') ? 'aws' : 'one machine';
}

export function estimateOf({ estimate: { records, bytes, shards, seconds, usd } }: Plan): Report['estimate'] {
  return { records, bytes, shards, seconds, usd };
}

export interface ActualOptions {
  readonly plan: Plan;
  readonly spans: Spans;
  /** The shards that were exported, all of them or as many as there were. */
  readonly shards: readonly Pick<ShardEntry, 'shard' | 'records' | 'bytes'>[];
  readonly createdAt: string;
  /** What a model made, where one did: its time is a function's too, and its price comes on top. */
  readonly embedding: Report['embedding'];
}

/** What a run came to, and what that would cost at the estimate's prices: worked out, since no bill is at hand. */
export function actualOf({ plan, spans, shards, createdAt, embedding }: ActualOptions): NonNullable<Report['actual']> {
  const seconds = Math.max(0, (Date.parse(createdAt) - Date.parse(plan.createdAt)) / 1000);
  const ranges = new Set(shards.map(({ shard }) => parseShardName(shard).range)).size;
  const workSeconds = workedSeconds(spans) + (embedding?.seconds ?? 0);
  const isMoved = plan.event.mode === 'migrate';
  const { price } = priceOf({ workSeconds, ranges, shards: shards.length, seconds, isMoved });
  return {
    records: shards.reduce((total, { records }) => total + records, 0),
    bytes: shards.reduce((total, { bytes }) => total + bytes, 0),
    shards: shards.length,
    seconds,
    usd: price + Math.ceil((embedding?.usd ?? 0) * 100) / 100,
  };
}
