import { InvalidEvent } from '../errors.ts';
import { nameOfRun, runKeys, runsPrefix } from '../keys.ts';
import { readEach } from '../manifest.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import { type Plan, planSchema } from '../run-files.ts';
import { runStatus } from '../status.ts';
import { type Flag, type FlagStore, flagNameOf, placeOf } from './flag.ts';
import { finishOf, readMoves } from './moves.ts';

/** Who else uses what a run would drop: other runs, and whoever follows a flag of this or another run. */

export interface UsersInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
}

/**
 * Collections are held to be the same by store and name, whatever their connection: two secrets may open one database.
 * @throws InvalidEvent naming the run, or the flag
 */
export async function refuseUsers({ plan, objects, flags }: UsersInput): Promise<void> {
  const dropped = plan.event.source;
  const folders = await objects.folders(runsPrefix);
  const plans = await readEach(folders, (folder) => getJson(objects, runKeys(nameOfRun(folder)).plan, planSchema));
  const users = plans.filter((each) => each !== undefined).filter(({ event }) => names(event, dropped));
  for (const user of users) {
    if (user.run !== plan.run && (await isUnderWay(objects, user))) {
      const text = `run '${user.run}' has not ended and names ${dropped.collection} as its source or target`;
      const next = `wait for it, go on with it, or delete ${objects.locate(runKeys(user.run).prefix)} where it was given up`;
      throw new InvalidEvent(`${text}; ${next}`, { ids: [user.run] });
    }
  }
  // Of a run in place both sides are one table, which stays.
  if (plan.event.target.into === 'place') return;
  for (const name of new Set([plan, ...users].map(({ event }) => flagNameOf(event)))) {
    const flag = await flags.read(name);
    if (flag === undefined || !isNamed(flag, dropped)) continue;
    const text = `the flag ${flags.locate(name)} sends reads or writes to ${placeOf(dropped)}, which would be dropped`;
    throw new InvalidEvent(`${text}; move its readers first, or delete the flag where nobody follows it`, {
      ids: [name],
    });
  }
}

type Named = Pick<Plan['event']['source'], 'store' | 'collection'>;

function names({ source, target }: Plan['event'], dropped: Named): boolean {
  return isSame(source, dropped) || isSame(target, dropped);
}

/** `articles` and `public.articles` may be one table. */
function isSame(a: Named, b: Named): boolean {
  if (a.store !== b.store) return false;
  const [left, right] = [a.collection, b.collection];
  return left === right || left.endsWith(`.${right}`) || right.endsWith(`.${left}`);
}

function isNamed({ active, candidate, writes = [] }: Flag, dropped: Named): boolean {
  return [active, candidate, ...writes].includes(placeOf(dropped));
}

/** Its execution has not come to its end, as far as its objects tell: a start takes the report of an earlier one away. */
async function isUnderWay(objects: ObjectStore, { run, event }: Plan): Promise<boolean> {
  if (event.dryRun) return false;
  // Stopped, taken back and finished, a run leaves no report, and its plan is refused from then on: it can never end otherwise.
  if (finishOf(await readMoves(objects, run)) !== undefined) return false;
  const { report, stages } = await runStatus({ objects, run });
  const cutover = stages.find(({ name }) => name === 'cutover');
  return report === undefined || cutover?.state === 'running';
}
