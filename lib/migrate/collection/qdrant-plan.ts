import { Incompatible, InvalidEvent } from '../../errors.ts';
import type { VectorSpec } from '../../schema.ts';
import type { Store } from '../../stores/port.ts';
import type { Admin, ServerNames } from '../../stores/qdrant/admin.ts';
import { isId } from '../../stores/qdrant/ids.ts';
import { type CollectionInfo, vectorsOf } from '../../stores/qdrant/settings.ts';
import { qdrant } from '../../stores/qdrant.ts';
import type { MigratedStore } from '../port.ts';
import { copyEvent, leftOf, reasonsToCopy } from './copy.ts';
import { add, type Draft, finish, newDraft, unvalidatedText } from './draft.ts';
import type { Action, CollectionPlan } from './plan.ts';
import { copiesOf, mustBeOurs, type Wanted } from './planner.ts';
import { type Found, findCollection, nameOfCopy, nameToCreate } from './qdrant-names.ts';
import { checkedType, planPayloadIndexes } from './qdrant-payload.ts';
import { bodyToCreate, indexesIn, settingsChange } from './qdrant-settings.ts';
import { checkIds, recordChanges, recordsOfSeeds } from './seeds.ts';
import type { Change } from './words.ts';

/** Works out what brings a Qdrant collection to what a file says. Nothing is changed here. */

export interface Around {
  readonly wanted: Wanted;
  readonly names: ServerNames;
  readonly migrated: MigratedStore;
  readonly admin: (collection: string) => Admin;
  readonly open: (collection: string) => Promise<Store>;
}

export async function planCollection(around: Around): Promise<CollectionPlan> {
  const { wanted, names, admin } = around;
  const { name, change } = wanted;
  const found = findOrMade(wanted, names);
  if (change.drop?.collection === true) return await planDrop(around, found.collection, found.aliases);
  const draft = newDraft();
  if (found.collection === undefined) return await planCreate(around, draft);
  const { collection } = found;
  if (collection !== name) draft.notes.push(`${name} is collection ${collection}`);
  const info = await admin(collection).info();
  const reasons = reasonsToCopy(change, vectorsOf(info), info.config.params['shard_number']);
  const begun = copiesOf(wanted).find(({ from, to }) => from === collection || to === collection);
  if (reasons.length > 0)
    return await planCopy({ ...around, draft, info, reasons, collection, aliases: found.aliases, begun });
  await planInPlace({ ...around, draft, info, collection });
  // A copy that was done before the step died may have left other aliases behind.
  const late =
    begun === undefined ? [] : [...names.aliases].filter(([, to]) => to === begun.to && begun.from === collection);
  planAliases({ ...around, draft, collection, also: late.map(([alias]) => alias) });
  planWait(draft, change, collection);
  return finish(draft);
}

/** A collection that an earlier try made under its number, and died before it had its alias, is there too. */
function findOrMade(wanted: Wanted, names: ServerNames): Found {
  const found = findCollection(wanted.name, names);
  const own = nameToCreate(wanted);
  if (found.collection !== undefined || !names.collections.has(own)) return found;
  mustBeOurs(wanted, own);
  return { collection: own, aliases: [] };
}

async function planCreate(around: Around, draft: Draft): Promise<CollectionPlan> {
  const { wanted } = around;
  const { name, change } = wanted;
  const sizes = Object.entries(change.vectors ?? {});
  const unsized = sizes.find(([, { size, distance }]) => size === undefined || distance === undefined);
  if (unsized !== undefined || (sizes.length === 0 && change.sparse === undefined)) {
    const lacking = unsized === undefined ? 'vectors or sparse' : `size and distance of vector '${unsized[0]}'`;
    throw new InvalidEvent(
      `there is no collection '${name}', and ${wanted.file.path} does not say how it is made: ${lacking}`,
      { ids: [name] },
    );
  }
  const collection = nameToCreate(wanted);
  const body = bodyToCreate(change);
  add(draft, { do: 'create', collection, body }, [{ do: 'dropCollection', collection }]);
  for (const [field, schema] of Object.entries(change.payloadIndexes ?? {}))
    add(draft, { do: 'indexPayload', collection, field, schema: checkedType(field, schema) }, []);
  await planRecords({ ...around, draft, collection, vectors: vectorsToMake(change), isThere: false });
  planAliases({ ...around, draft, collection });
  planWait(draft, change, collection);
  return finish(draft);
}

interface There extends Around {
  readonly draft: Draft;
  readonly info: CollectionInfo;
  readonly collection: string;
}

async function planInPlace(there: There): Promise<void> {
  const { draft, info, collection, wanted } = there;
  const { up, down, notes } = settingsChange(wanted.change, info);
  const back = down.map((old): Action => ({ do: 'change', collection, body: old }));
  if (up !== undefined) add(draft, { do: 'change', collection, body: up.body }, back, up.why);
  draft.unvalidated.push(...indexesIn(up?.body ?? {}).map((index) => unvalidatedText(collection, index)));
  draft.notes.push(...notes);
  for (const { action, inverse, why } of planPayloadIndexes(wanted.change, info, collection))
    add(draft, action, inverse, why);
  await planRecords({ ...there, vectors: vectorsOf(info), isThere: true });
}

async function planRecords(
  around: Around & { draft: Draft; collection: string; vectors: readonly VectorSpec[]; isThere: boolean },
): Promise<void> {
  const { wanted, draft, collection, vectors, isThere, open } = around;
  const drop = (wanted.change.drop?.records ?? []).map(String);
  const seeds = recordsOfSeeds(wanted.seeds, [...vectors], wanted.file.path);
  checkIds([...seeds.map(({ id }) => id), ...drop], isId, 'integers from 0 to 2^64-1 and UUIDs in lower case');
  if (seeds.length + drop.length === 0) return;
  const { steps, inverse } = await recordChanges({
    store: isThere ? await open(collection) : undefined,
    collection,
    vectors: [...vectors],
    capabilities: qdrant.capabilities,
    seeds,
    drop,
  });
  // A collection that the step makes goes with its records.
  for (const [at, action] of steps.entries()) add(draft, action, isThere && at === 0 ? inverse : []);
}

function planAliases({
  wanted,
  names,
  draft,
  collection,
  also = [],
}: Around & { draft: Draft; collection: string; also?: readonly string[] }): void {
  const { change, name } = wanted;
  const moves = new Map<string, string | null>();
  for (const alias of new Set([...(change.aliases ?? []), ...also])) {
    if (names.collections.has(alias)) {
      if (alias === collection)
        throw new InvalidEvent(
          `'${alias}' is the name of the collection itself, and an alias needs another; name one that readers are to use`,
          { ids: [alias] },
        );
      throw new Incompatible(`alias '${alias}' cannot be made: a collection has that name`, { ids: [alias] });
    }
    if (names.aliases.get(alias) !== collection) moves.set(alias, collection);
  }
  for (const alias of change.drop?.aliases ?? []) {
    const to = names.aliases.get(alias);
    if (to === undefined) continue;
    if (to !== collection)
      throw new Incompatible(
        `alias '${alias}' stands for '${to}', not for '${name}'; drop it in a file of that collection`,
        {
          ids: [alias],
        },
      );
    moves.set(alias, null);
  }
  if (moves.size === 0) return;
  const all = [...moves].map(([alias, to]) => ({ alias, to }));
  const back = all.map(({ alias }) => ({ alias, to: names.aliases.get(alias) ?? null }));
  add(draft, { do: 'moveAliases', moves: all }, [{ do: 'moveAliases', moves: back }]);
}

function planWait(draft: Draft, { wait }: Change, collection: string): void {
  if (wait === true && draft.steps.length > 0) add(draft, { do: 'wait', collection }, []);
}

/** @throws Incompatible where readers use the collection's own name */
async function planCopy(
  there: There & {
    reasons: readonly string[];
    aliases: readonly string[];
    begun: Extract<Action, { do: 'takeBack' }> | undefined;
  },
): Promise<CollectionPlan> {
  const { wanted, names, migrated, draft, info, collection, aliases, reasons, begun } = there;
  const { change, file, name } = wanted;
  const why = reasons.join('; ');
  const pointer =
    begun?.pointer ??
    (aliases.includes(name) ? name : (change.aliases?.find((each) => aliases.includes(each)) ?? aliases[0]));
  if (pointer === undefined)
    throw new Incompatible(
      `${file.path}: ${why}. That needs a copy of '${collection}', and readers use its own name, under which a copy cannot take over without a gap. ` +
        `First a migration with "aliases: [NAME]" of '${collection}'; then have every reader use NAME; then this one again`,
      { ids: [collection] },
    );
  const to = begun?.from ?? nameOfCopy(collection, file.number, names);
  const run = begun?.run ?? `migrate-${to}`.replace(/[^A-Za-z0-9_-]/g, '-').slice(0, 80);
  const event = copyEvent({ store: migrated, change, vectors: vectorsOf(info), from: collection, to, pointer });
  add(
    draft,
    { do: 'copy', collection, to, pointer, run, event },
    [{ do: 'takeBack', run, pointer, from: to, to: collection }],
    why,
  );
  draft.notes.push(
    `${collection} stays until run ${run} is retired; taken back, ${to} stays with what was written to it`,
  );
  const left = settingsChange(leftOf(change), info).up;
  if (left !== undefined) add(draft, { do: 'change', collection: to, body: left.body }, [], left.why);
  const seeds = recordsOfSeeds(wanted.seeds, wantedVectors(change, info), file.path);
  if (seeds.length > 0) add(draft, { do: 'upsert', collection: to, records: [...seeds] }, []);
  if (change.drop?.records !== undefined)
    add(draft, { do: 'delete', collection: to, ids: change.drop.records.map(String) }, []);
  planAliases({
    ...there,
    collection: to,
    also: aliases.filter((alias) => alias !== pointer && change.drop?.aliases?.includes(alias) !== true),
    names: { ...names, aliases: new Map([...names.aliases, [pointer, to]]) },
  });
  planWait(draft, change, to);
  return finish(draft);
}

/** The vectors of a collection that the file describes whole. */
function vectorsToMake({ vectors = {}, sparse = {} }: Change): VectorSpec[] {
  const dense = Object.entries(vectors).map(([name, { size, distance, precision = 'float32', multi }]): VectorSpec => {
    return { name, kind: multi === true ? 'multi' : 'dense', dimension: size, distance, precision };
  });
  return [...dense, ...Object.keys(sparse).map((name): VectorSpec => ({ name, kind: 'sparse', precision: 'float32' }))];
}

function wantedVectors(change: Change, info: CollectionInfo): VectorSpec[] {
  return vectorsOf(info).map((spec) => {
    const { size = spec.dimension } = change.vectors?.[spec.name] ?? {};
    return { ...spec, dimension: size };
  });
}

async function planDrop(
  around: Around,
  collection: string | undefined,
  aliases: readonly string[],
): Promise<CollectionPlan> {
  const { wanted, admin } = around;
  const draft = newDraft();
  if (collection === undefined) return finish(draft);
  const { vectors, seed, aliases: made } = wanted.change;
  if (vectors !== undefined || seed !== undefined || made !== undefined)
    throw new InvalidEvent(
      `${wanted.file.path}: drop.collection takes '${wanted.name}' away, and other fields change it; say one of the two`,
      { ids: [wanted.name] },
    );
  planAliases({ ...around, draft, collection });
  const left = aliases.filter((alias) => wanted.change.drop?.aliases?.includes(alias) !== true);
  if (left.length > 0)
    throw new Incompatible(
      `aliases stand for '${collection}' (${left.join(', ')}), and readers may use them; name them under drop.aliases too, or move them first`,
      { ids: left },
    );
  const records = await admin(collection).count();
  add(draft, { do: 'dropCollection', collection }, [], `with its ${records} records, which only a backup brings back`);
  return { ...finish(draft), inverse: undefined };
}
