import { readCompared } from '../compare/counts.ts';
import { fetchRecords } from '../compare/fetch-records.ts';
import { loadedKey } from '../keys.ts';
import { type Deadline, isNear } from '../log.ts';
import { getCarriedShard } from '../mapping/carried.ts';
import { mapId } from '../mapping/mapping.ts';
import type { ObjectStore } from '../objects.ts';
import { openSide } from '../recall/search-side.ts';
import type { Cause, Compared, Manifest, Plan } from '../run-files.ts';
import type { Reader } from '../stores/port.ts';
import { storeKind } from '../stores/registry.ts';
import { count, percent, plural } from '../words.ts';
import { type Experiment, explains } from './experiment.ts';
import type { Found } from './settings.ts';

export interface MissingOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  readonly source: Pick<Reader, 'fetch'>;
  readonly target: Pick<Reader, 'fetch'>;
  readonly deadline: Deadline;
}

/** Missing records side by side, in the source's order; they may go on over several shards. */
interface Stretch {
  readonly shards: readonly string[];
  /** Ids; undefined: the first of its first shard, the last of its last, which are read only where they are named. */
  readonly first: string | undefined;
  readonly last: string | undefined;
  readonly records: number;
}

/** Fewer missing records beside each other may have been lost one by one. */
const leastStretch = 10;
/** Of a sampled shard so few records may all be missing by chance. */
const leastSampled = 5;
/** Shards of which a part is missing that are read again; past that the tallies have to do. */
const maxPartsRead = 20;
const maxNamed = 5;

/**
 * Names the stretches of the source that the target lacks, where at least half of the missing records lie in such: a lost
 * batch, shard or range leaves one, records deleted one by one do not.
 */
export async function findMissingRanges(options: MissingOptions): Promise<readonly Cause[]> {
  const { plan, manifest, objects } = options;
  const compared = await readCompared(plan, manifest, objects);
  const missing = compared.reduce((sum, each) => sum + each.missing, 0);
  if (missing === 0) return [];
  const stretches = await findStretches(options, compared);
  const explained = stretches.reduce((sum, { records }) => sum + records, 0);
  if (explained * 2 < missing) return [];
  const named = stretches.toSorted((a, b) => b.records - a.records).slice(0, maxNamed);
  const texts: string[] = [];
  for (const each of named) texts.push(await stretchText(options, each));
  const more = stretches.length > named.length ? ` and ${count(stretches.length - named.length)} more` : '';
  const what = `A part of the source is missing as a whole: ${texts.join('; ')}${more}.`;
  const lie = `${count(explained)} of ${plural(missing, 'missing record')} lie in ${plural(stretches.length, 'unbroken stretch').replace(/stretchs$/, 'stretches')} of the source's keys`;
  const evidence = `${lie}; records that were lost one by one would not.`;
  return [{ cause: 'range missing', check: 'compare', what, evidence, next: nextFor(plan, named) }];
}

async function stretchText(options: MissingOptions, { shards, records, ...ids }: Stretch): Promise<string> {
  const [from = '', to = ''] = [shards[0], shards.at(-1)];
  const first = ids.first ?? (await idsOf(options, from))[0];
  const last = ids.last ?? (await idsOf(options, to)).at(-1);
  const where = from === to ? `shard ${from}` : `shards ${from} to ${to}`;
  return `${plural(records, 'record')} from id ${first} to id ${last} (${where})`;
}

function nextFor({ event, run }: Plan, stretches: readonly Stretch[]): string {
  if (event.mode === 'validate')
    return 'Write these records from the source into the target again, and validate again.';
  const [shard = ''] = stretches.flatMap(({ shards }) => shards);
  const others = stretches.flatMap(({ shards }) => shards).length > 1 ? ' and those of the other shards' : '';
  return `See what took them out of the target. Then delete ${loadedKey(run, shard)}${others}, and start the run again under its id: these shards are loaded again.`;
}

/** In the manifest's order; a stretch that goes on in the next shard is one. */
async function findStretches(options: MissingOptions, compared: readonly Compared[]): Promise<readonly Stretch[]> {
  const byShard = new Map(compared.map((each) => [each.shard, each]));
  const found: (Stretch & { readonly reachesEnd: boolean })[] = [];
  let partsRead = 0;
  for (const { shard } of options.manifest.shards) {
    const marker = byShard.get(shard);
    if (marker === undefined || marker.missing === 0) continue;
    if (isNear(options.deadline)) break;
    const isWhole = isWholeMissing(marker);
    if (!isWhole && (marker.notInSample > 0 || ++partsRead > maxPartsRead)) continue;
    const runs = isWhole ? wholeShard(marker) : await partsOf(options, marker);
    for (const [at, { isFirst, isLast, ...run }] of runs.entries()) {
      const before = found.at(-1);
      const goesOn = at === 0 && isFirst && before?.reachesEnd === true && isNext(options.manifest, before, shard);
      if (goesOn && before !== undefined) {
        const records = before.records + run.records;
        found[found.length - 1] = {
          ...before,
          shards: [...before.shards, shard],
          last: run.last,
          records,
          reachesEnd: isLast,
        };
      } else found.push({ ...run, shards: [shard], reachesEnd: isLast });
    }
  }
  return found
    .filter(({ records, shards }) => records >= leastStretch || shards.some((shard) => isWholeOf(byShard.get(shard))))
    .map(({ reachesEnd: _, ...stretch }) => stretch);
}

function isNext({ shards }: Manifest, before: Stretch, shard: string): boolean {
  const at = shards.findIndex((each) => each.shard === shard);
  return shards[at - 1]?.shard === before.shards.at(-1);
}

const isWholeOf = (marker: Compared | undefined): boolean => marker !== undefined && isWholeMissing(marker);

/** None of the records of the shard that were looked at is there. One record alone is no stretch. */
function isWholeMissing({ records, missing, skipped, notInSample, gone }: Compared): boolean {
  const least = notInSample > 0 ? leastSampled : 2;
  return missing >= least && missing === records - skipped - notInSample - gone;
}

interface Run {
  readonly first: string | undefined;
  readonly last: string | undefined;
  readonly records: number;
  /** It begins with the shard's first record, it ends with its last. */
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

const wholeShard = ({ missing }: Compared): readonly Run[] => [
  { first: undefined, last: undefined, records: missing, isFirst: true, isLast: true },
];

async function idsOf({ plan, objects }: MissingOptions, shard: string): Promise<readonly string[]> {
  return (await getCarriedShard(objects, plan, shard)).ids;
}

/** The unbroken runs of missing records within a shard. */
async function partsOf(options: MissingOptions, marker: Compared): Promise<readonly Run[]> {
  const ids = await idsOf(options, marker.shard);
  const missing = await missingOf(options, marker, ids);
  const runs: Run[] = [];
  let from = -1;
  for (let at = 0; at <= ids.length; at++) {
    const isMissing = at < ids.length && missing.has(ids[at] ?? '');
    if (isMissing && from < 0) from = at;
    if (isMissing || from < 0) continue;
    const [first = '', last = ''] = [ids[from], ids[at - 1]];
    runs.push({ first, last, records: at - from, isFirst: from === 0, isLast: at === ids.length });
    from = -1;
  }
  return runs;
}

/**
 * Source ids. The marker names the first hundred; where there are more both sides are asked again: what neither holds was
 * deleted since the export, and is not missing.
 */
async function missingOf(
  { plan, source, target }: MissingOptions,
  { missing, differences }: Compared,
  ids: readonly string[],
): Promise<ReadonlySet<string>> {
  const named = differences.flatMap(({ id, verdict }) => (verdict === 'missing' ? [id] : []));
  if (named.length === missing) return new Set(named);
  const { capabilities } = await storeKind(plan.event.target.store);
  const targetId = (id: string): string => (plan.mapping.ids === 'keep' ? id : mapId(capabilities.ids, id));
  const inTarget = await fetchRecords(target, ids.map(targetId));
  const absent = ids.filter((id) => !inTarget.records.has(targetId(id)) && !inTarget.unreadable.has(targetId(id)));
  const inSource = await fetchRecords(source, absent);
  return new Set(absent.filter((id) => inSource.records.has(id) || inSource.unreadable.has(id)));
}

/** True neighbours that an exact search misses because they are not in the target: they lie in the ranges that it lacks. */
export async function missingNeighbours(
  { plan, target, entry, truths, base, figure }: Experiment,
  ranges: readonly Cause[],
): Promise<readonly Found[]> {
  const [range] = ranges;
  if (range === undefined) return [];
  const side = await openSide({ plan, side: 'target', store: target, vector: entry.vector });
  let share = 0;
  for (const { nearest, candidates } of truths) {
    const ids = nearest.slice(0, Math.min(entry.k, candidates)).map(({ id }) => side.idOf(id));
    const { records } = await fetchRecords(target, ids);
    share += records.size / ids.length / truths.length;
  }
  if (!explains(base.recall, base.recall + 1 - share)) return [];
  const evidence = `${percent(1 - share)} of the true neighbours are not in the target; ${figure} is ${percent(base.recall)}.`;
  return [{ gain: 1 - share, cause: { ...range, check: 'recall', set: entry.set, vector: entry.vector, evidence } }];
}
