import { compareShard } from '../lib/compare/compare.ts';
import { countSides } from '../lib/compare/counts.ts';
import { runKeys } from '../lib/keys.ts';
import { sweepWrites } from '../lib/live/sweep.ts';
import { readManifest } from '../lib/manifest.ts';
import { getJson } from '../lib/objects.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import { measureRecall } from '../lib/recall/recall.ts';
import { type ReportOutcome, writeReport } from '../lib/report/report.ts';
import { type Report, reportSchema } from '../lib/report/report-schema.ts';
import type { Plan } from '../lib/run-files.ts';
import type { Store } from '../lib/stores/port.ts';
import { noDeadline, type World } from './world.ts';

/** The validation as the state machine runs it. */
export async function validate(
  world: World,
  planned: Plan,
  sides: { source?: Store; target?: Store } = {},
): Promise<{ outcome: ReportOutcome; report: Report; page: string }> {
  const { objects } = world;
  const { source, target } = { ...world, ...sides };
  const manifest = await readManifest(objects, planned.run);
  await chooseQueries({ plan: planned, manifest, objects });
  for (const { shard } of manifest.shards) {
    await compareShard({ plan: planned, shard, source, target, objects, deadline: noDeadline, secondLookMs: 0 });
    await findNeighbours({ plan: planned, shard, objects });
  }
  const { live } = planned.event;
  if (live !== false)
    await sweepWrites({ plan: planned, manifest, objects, source, target, deadline: noDeadline, lookAgainMs: 1 });
  await measureRecall({ plan: planned, manifest, objects, source, target });
  const counts = await countSides({ plan: planned, manifest, objects, source, target });
  const outcome = await writeReport({ plan: planned, manifest, objects, counts, source, target });
  const report = await getJson(objects, runKeys(planned.run).report, reportSchema);
  const page = new TextDecoder().decode(await objects.get(runKeys(planned.run).reportPage));
  if (report === undefined) throw new Error('no report');
  return { outcome, report, page };
}
