import { forgetVerdict } from '../lib/forget.ts';
import type { Deadline } from '../lib/log.ts';
import { readManifest } from '../lib/manifest.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import type { QueryFiles } from '../lib/recall/query-file.ts';
import { measureRecall } from '../lib/recall/recall.ts';
import type { Plan, Recall } from '../lib/run-files.ts';
import type { Hit, SearchRequest, Store } from '../lib/stores/port.ts';
import { load, type World } from './world.ts';

/** The validation's steps up to recall, on one machine without an engine. */

export interface Steps {
  /** Asked for anew by each call of a step; left out: there is none. */
  readonly deadline?: () => Deadline;
  readonly files?: QueryFiles;
}

/** Queries chosen and their neighbours found in every shard. */
export async function findTruth(world: World, plan: Plan, { deadline, files }: Steps = {}): Promise<void> {
  const { objects } = world;
  const manifest = await readManifest(objects, plan.run);
  await chooseQueries({ plan, manifest, objects, ...(files && { files }) });
  for (const { shard } of manifest.shards) {
    const next = () => findNeighbours({ plan, shard, objects, ...(deadline && { deadline: deadline() }) });
    while (!(await next()).done);
  }
}

/** From the source's records to the truth. */
export async function prepare(world: World, steps: Steps = {}): Promise<Plan> {
  const plan = await load(world);
  await findTruth(world, plan, steps);
  return plan;
}

/** Recall as it is measured in one go. */
export async function measureAll(
  world: World,
  plan: Plan,
  sides: { source?: Store; target?: Store } = {},
): Promise<Recall> {
  const manifest = await readManifest(world.objects, plan.run);
  const outcome = await measureRecall({ ...world, ...sides, plan, manifest });
  if (!outcome.done) throw new Error('not done, and there was no deadline');
  return outcome.recall;
}

/** The same from the start: nothing that was answered before is taken. */
export async function recallOf(
  world: World,
  { source, target, ...steps }: Steps & { source?: Store; target?: Store } = {},
): Promise<Recall> {
  const plan = await prepare(world, steps);
  await forgetVerdict(world.objects, plan.run);
  return await measureAll(world, plan, { ...(source && { source }), ...(target && { target }) });
}

/** The store with another search. */
export function searching(store: Store, change: (request: SearchRequest) => Promise<readonly Hit[]>): Store {
  return { ...store, search: change };
}

/** Ids as the memory store orders them. */
export const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => String(10_000 + i));
