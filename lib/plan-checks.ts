import { placeOf } from './cutover/flag.ts';
import type { ModelCard } from './embed/stage/embed-files.ts';
import { Incompatible, InvalidEvent, NotFound, TargetNotEmpty } from './errors.ts';
import type { RunEvent } from './event.ts';
import type { Model } from './event-embed.ts';
import type { QuerySet } from './event-queries.ts';
import type { MappingPlan } from './mapping/mapping-files.ts';
import { queriesNeeded } from './recall/interval.ts';
import type { GivenText } from './recall/query-floats.ts';
import { querySpace } from './recall/query-space.ts';
import { type Planned, searchedVectors } from './recall/searched-vectors.ts';
import { type CollectionSchema, searchSettingNames } from './schema.ts';
import type { StoreKind, Target } from './stores/port.ts';
import { count, plural } from './words.ts';

/** What the plan refuses before anything is read or written: each would fail the run at its very end. */

/** @throws InvalidEvent */
export function refuseSameCollection({ source, target }: RunEvent): void {
  if (target.into === 'place') return;
  const place = ({ store, connection, collection }: typeof source): string =>
    JSON.stringify([store, connection, collection]);
  if (place(source) !== place(target)) return;
  throw new InvalidEvent(
    `source and target are the same collection '${source.collection}'; name another target.collection`,
    { ids: [source.collection] },
  );
}

/** @throws Incompatible */
export function refuseMissingPointer({ cutover }: RunEvent, target: StoreKind): void {
  if (cutover?.pointer === undefined || target.capabilities.pointer !== false) return;
  throw new Incompatible(
    `cutover.pointer '${cutover.pointer}': ${target.title} has no aliases or views; leave it out to use the routing flag`,
    { ids: ['cutover.pointer'] },
  );
}

/** The flag names a store by its place, and has no other word for one of the same name elsewhere. @throws InvalidEvent */
export function refuseSamePlace({ source, target, cutover, live }: RunEvent): void {
  if (live === false && (cutover === null || cutover.canary === null)) return;
  const place = placeOf(source);
  if (place !== placeOf(target)) return;
  const text = `source and target are both '${place}' to the routing flag, so an application could not tell which of them it says`;
  throw new InvalidEvent(`${text}; name another target.collection`, { ids: [target.collection] });
}

/**
 * Writes go to both sides while a live run imports, so an old shard must never be put over a newer value, and what is
 * deleted has to be deleted there. @throws Incompatible
 */
export function refuseLiveTarget({ live, target: { store } }: RunEvent, { title, capabilities }: StoreKind): void {
  if (live === false) return;
  const choices =
    'leave "live" out and stop the application from writing while the run goes on, or name a target store that can';
  const lacks = [
    ...(capabilities.insertOnly ? [] : ['insert only the records that are absent']),
    ...(capabilities.deletes ? [] : ['delete records by id']),
  ];
  if (lacks.length === 0) return;
  const text = `live: ${title} cannot ${lacks.join(', nor ')}, so an old value could replace a newer one`;
  throw new Incompatible(`${text}; ${choices}`, { ids: ['live', store] });
}

/** What a live run does not look for. */
export function liveNotes({ live, target: { into, collection } }: RunEvent): string[] {
  if (live === false || into !== 'existing') return [];
  return [
    `'${collection}' may hold records of its own ("into": "existing"), so records that it holds and the source does not are not looked for: a delete that did not go through the client stays there`,
  ];
}

/** A search setting that the target's store knows nothing of. @throws Incompatible */
export function refuseUnheededSettings({ validate: { recall } }: RunEvent, { title, capabilities }: StoreKind): void {
  const heeded = capabilities.searchSettings;
  const unheeded = searchSettingNames.filter((name) => recall?.search[name] !== undefined && !heeded.includes(name));
  if (unheeded.length === 0) return;
  const choices = heeded.length === 0 ? 'it heeds none' : `it heeds ${heeded.join(', ')}`;
  throw new Incompatible(`validate.recall.search: ${title} does not heed ${unheeded.join(', ')}; ${choices}`, {
    ids: unheeded.map((name) => `validate.recall.search.${name}`),
  });
}

/** A goal that so few queries could not show, though none missed. @throws InvalidEvent */
export function refuseTooFewQueries({ validate: { recall } }: RunEvent, records: number): void {
  for (const set of recall?.sets ?? []) {
    const goal = set.atLeast === undefined ? recall?.atLeast : set.atLeast;
    // How many queries a file holds is seen when it is read.
    const queries = set.queries?.length ?? (set.file === undefined ? (set.sample ?? recall?.queries) : undefined);
    if (goal === null || goal === undefined || queries === undefined) continue;
    // Where every record is asked for there is nothing left to estimate.
    const isAll = set.queries === undefined && queries >= records;
    if (!isAll && queries < queriesNeeded(goal)) throw tooFewQueries(set, queries, goal);
  }
}

function tooFewQueries({ name, sample, queries: given }: QuerySet, queries: number, goal: number): InvalidEvent {
  const isDefault = name === 'sampled' && sample === undefined && given === undefined;
  const [field, id] = isDefault
    ? ['validate.recall', 'validate.recall.queries']
    : [`validate.recall.sets '${name}'`, `validate.recall.sets.${name}`];
  const needed = queriesNeeded(goal);
  const choices = Number.isFinite(needed)
    ? `ask for ${needed} queries or more, or a lower goal`
    : 'no number of queries shows that; ask for a lower goal';
  const text = `${queries} queries cannot show a recall of ${goal} with 95 % confidence, even without a miss; ${choices}`;
  return new InvalidEvent(`${field}: ${text}`, { ids: [id] });
}

/** The source's model where texts of queries may be asked of it; a file may hold some. */
export function modelOfQueries({ source: { model }, validate: { recall } }: RunEvent): Model | undefined {
  const hasTexts = recall?.sets.some(({ file, queries }) => file ?? queries?.some(({ text }) => text !== undefined));
  return hasTexts && model !== undefined && 'provider' in model ? model : undefined;
}

/**
 * Sees that vectors which a model makes of texts have the length of those that they are searched among: before anything is
 * moved, since another length tells that the event names another model. @throws InvalidEvent
 */
export function refuseOtherLength(
  planned: Planned,
  queries: readonly GivenText[],
  { name, dimensions }: Pick<ModelCard, 'name' | 'dimensions'>,
): void {
  for (const searched of searchedVectors(planned)) {
    const { source, whole, model } = querySpace(planned, searched);
    const own = queries.filter(({ vector, text }) => vector === searched.vector && text !== undefined);
    const isOther = source !== undefined && !source.isSameModel;
    if ((isOther ? source.model : model) !== planned.event.source.model) continue;
    const asked = isOther ? own.filter(({ asksSource }) => asksSource) : own;
    const length = isOther ? source.dimension : whole;
    if (asked.length === 0 || length === undefined || length === dimensions) continue;
    const what = `source.model: ${name} makes vectors of ${count(dimensions)} floats, and vector '${source?.vector ?? searched.vector}' of the source has ${count(length)}`;
    throw new InvalidEvent(`${what}; name the model that made them, and its dimensions`, { ids: ['source.model'] });
  }
}

/** Query sets that search a vector which the target does not get: they would find nothing to measure. @throws InvalidEvent */
export function refuseUnknownVectors(
  { validate: { recall } }: RunEvent,
  source: CollectionSchema,
  mapping: MappingPlan,
): void {
  const searched = source.vectors.filter(({ name, kind }) => kind === 'dense' && mapping.vectors[name] !== undefined);
  const names = searched.map(({ name }) => name);
  for (const { name, vector } of recall?.sets ?? []) {
    if (vector === undefined || names.includes(vector)) continue;
    const choices = names.map((each) => `'${each}'`).join(', ') || 'none';
    throw new InvalidEvent(
      `validate.recall.sets '${name}' searches vector '${vector}'; the dense vectors of the source that the mapping keeps are ${choices}`,
      { ids: [vector] },
    );
  }
}

/** @throws TargetNotEmpty when the target holds records that this run did not write. */
export async function refuseFullTarget(event: RunEvent, target: Target): Promise<void> {
  if (event.mode === 'validate' || event.target.into !== 'new') return;
  const held = await countOrNone(target);
  if (held === 0) return;
  const { collection, store } = event.target;
  const choices = 'name another target.collection, empty it, or upsert into it with target {"into": "existing"}';
  throw new TargetNotEmpty(
    `the ${store} collection '${collection}' already holds ${plural(held, 'record')} that this run did not write; ${choices}`,
    { ids: [collection] },
  );
}

/** Records of a collection; none where it is not there. */
export async function countOrNone(target: Target): Promise<number> {
  try {
    return await target.count();
  } catch (error) {
    if (error instanceof NotFound) return 0;
    throw error;
  }
}
