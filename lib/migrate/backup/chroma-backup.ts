import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { type Batch, selectRecords } from '../../batch.ts';
import { maxFetch, split } from '../../compare/fetch-records.ts';
import { recordDifference, untreated } from '../../compare/record-equal.ts';
import { Incompatible, StoreUnavailable, ValidationFailed } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { encodeShard, readShard } from '../../shard/shard.ts';
import type { ChromaApi } from '../../stores/chroma/http.ts';
import { chroma, openApi } from '../../stores/chroma.ts';
import type { ResolvedConnection, Store } from '../../stores/port.ts';
import { drop, nameOfReaders, settleCollections, swapIn, underWay } from './chroma-swap.ts';
import { type BackupPart, sumOf } from './folder.ts';
import { absentText, isWithin, type Scope } from './scope.ts';

/**
 * A Chroma database by its records: Chroma has no snapshots, so each collection is written as shards of ours, and every record is fetched
 * again by its id and held against its shard, on the way in and on the way back. What somebody writes meanwhile is found, and refused.
 */

export interface ChromaPlace {
  /** The store's name in the team's files. */
  readonly name: string;
  readonly connection: ResolvedConnection;
  readonly options: unknown;
}

/** A shard holds at most so much; a record may be larger. */
const shardLimits = { maxRecords: 50_000, maxBytes: 32 << 20 };
/** Collections asked for at once. */
const pageSize = 100;

const foundSchema = z.looseObject({
  id: z.string(),
  name: z.string(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  configuration_json: z.record(z.string(), z.unknown()),
  dimension: z.int().nullish(),
});
type Found = z.infer<typeof foundSchema>;

const keptSchema = z.strictObject({
  name: z.string(),
  /** Of its shards, below the store's. */
  folder: z.string(),
  records: z.int().nonnegative(),
  dimension: z.int().nullable(),
  /** As the server gave them. */
  metadata: z.record(z.string(), z.unknown()).nullable(),
  configuration: z.record(z.string(), z.unknown()),
});
type Kept = z.infer<typeof keptSchema>;

const listName = 'collections.json';

/** @throws StoreUnavailable where a collection is written to meanwhile */
export async function exportChroma(
  place: ChromaPlace,
  { folder, scope, tell }: { readonly folder: string; readonly scope?: Scope; readonly tell: (line: string) => void },
): Promise<BackupPart> {
  const { api, place: where } = openApi(place);
  await settle(api, scope, tell);
  const root = join(folder, place.name);
  await mkdir(root);
  const kept: Kept[] = [];
  const all = await listCollections(api);
  for (const name of scope ?? []) if (!all.some((each) => each.name === name)) tell(absentText(place.name, name));
  for (const { name, metadata, configuration_json: configuration, dimension } of all) {
    if (!isWithin(scope, name)) continue;
    const own = `${kept.length + 1}`;
    await mkdir(join(root, own));
    const records = await withStore(place, name, async (store) => await exportRecords(store, name, join(root, own)));
    kept.push({ name, folder: own, records, metadata: metadata ?? null, configuration, dimension: dimension ?? null });
  }
  await writeFile(join(root, listName), `${JSON.stringify(kept, null, 2)}\n`, { mode: 0o600 });
  return {
    store: place.name,
    kind: 'records',
    what: `records of ${kept.length} Chroma collections`,
    where: place.name,
    ...(await sumOf(root)),
    place: where,
    counts: Object.fromEntries(kept.map(({ name, records }) => [name, records])),
    ...(scope !== undefined && { only: [...scope] }),
  };
}

/** Of collections that others restore just now nothing is touched. */
async function settle(api: ChromaApi, scope: Scope, tell: (line: string) => void): Promise<void> {
  const all = await listCollections(api);
  const ours = all.filter(({ name }) => isWithin(scope, nameOfReaders(name)));
  await settleCollections(api, ours, tell);
}

async function listCollections(api: ChromaApi): Promise<readonly Found[]> {
  const all: Found[] = [];
  for (;;) {
    const path = `/collections?limit=${pageSize}&offset=${all.length}`;
    const text = await api.call('listing collections', 'GET', path);
    const page = parseAs(z.array(foundSchema), JSON.parse(text), 'Chroma, its collections', StoreUnavailable);
    all.push(...page);
    if (page.length < pageSize) return all.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

async function withStore<T>(place: ChromaPlace, collection: string, work: (store: Store) => Promise<T>): Promise<T> {
  const { connection, options } = place;
  const store = await chroma.open({ connection, collection, options, omitFields: [] });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** @returns how many */
async function exportRecords(store: Store, collection: string, folder: string): Promise<number> {
  const { schema, count } = await store.describe();
  let records = 0;
  let number = 0;
  for await (const { batch, rest } of store.read({ from: null, to: null }, shardLimits)) {
    const shard = String(++number);
    const range = { from: batch.ids[0] ?? null, to: rest?.from ?? null };
    const bytes = await encodeShard(batch, { run: 'backup', shard, range, rest, schema, collection });
    await writeFile(join(folder, `${shard}.parquet`), bytes, { mode: 0o600 });
    for await (const each of readShard(bytes, `shard ${shard} of ${collection}`, { maxRecords: maxFetch }))
      refuseOthers(collection, textsOf(await differences(store, each)));
    records += batch.count;
  }
  if (records !== count || records !== (await store.count())) refuseOthers(collection, [`${count} records at first`]);
  return records;
}

function refuseOthers(collection: string, found: readonly string[]): void {
  if (found.length === 0) return;
  throw new StoreUnavailable(
    `collection ${collection} is written to while its backup is made (${found[0]}): stop its writers, and make the backup again`,
    { ids: found },
  );
}

interface Difference {
  /** Its position in the batch. */
  readonly at: number;
  readonly text: string;
}

/** Of these records and what the store has under their ids, fetched by id. */
async function differences(store: Store, batch: Batch): Promise<readonly Difference[]> {
  const found = await store.fetch(batch.ids);
  const positions = new Map(found.ids.map((id, at) => [id, at]));
  return batch.ids.flatMap((id, at) => {
    const there = positions.get(id);
    const difference = there === undefined ? 'is not there' : recordDifference(batch, at, found, there, untreated);
    return difference === undefined ? [] : [{ at, text: `record ${id}: ${difference}` }];
  });
}

const textsOf = (found: readonly Difference[]): readonly string[] => found.map(({ text }) => text);

export interface ChromaRestore {
  readonly place: ChromaPlace;
  /** The part's folder. */
  readonly path: string;
  /** What the backup is of: no other collection is touched. */
  readonly scope: Scope;
  readonly dropNew: boolean;
  readonly tell: (line: string) => void;
}

/**
 * Makes every collection what it was: in place where it is set up as it was, so that it goes on answering and keeps its id, else made anew
 * beside it and put in its place once it is whole.
 * @returns what was made since and is left, a line each
 * @throws ValidationFailed naming records that are not as they were kept: somebody writes to them
 */
export async function restoreChroma({ place, path, scope, dropNew, tell }: ChromaRestore): Promise<readonly string[]> {
  const { api } = openApi(place);
  const text: unknown = JSON.parse(await readFile(join(path, listName), 'utf8'));
  const kept = parseAs(z.array(keptSchema), text, join(path, listName), Incompatible);
  await settle(api, scope, tell);
  const there = new Map((await listCollections(api)).map((found) => [found.name, found]));
  for (const each of kept) {
    const found = there.get(each.name);
    const isInPlace = found !== undefined && isSetUpAs(found, each);
    // Made beside the one that answers, which stays until all records are in.
    const into = isInPlace ? each.name : underWay(each.name);
    if (!isInPlace) await create(api, { ...each, name: into });
    await withStore(place, into, async (store) => await restoreRecords(store, each, join(path, each.folder)));
    if (!isInPlace) await swapIn(api, each.name, await listCollections(api));
    tell(`restored collection ${each.name} of ${place.name}`);
  }
  const made = [...there.keys()].filter((name) => isWithin(scope, name) && !kept.some((each) => each.name === name));
  if (dropNew) for (const name of made) await drop(api, name);
  return dropNew
    ? []
    : made.map((name) => `collection ${name} of ${place.name}, made since the backup; --drop-new drops such`);
}

/** The server gives its keys in any order. */
const isSetUpAs = ({ metadata, configuration_json: configuration, dimension }: Found, kept: Kept): boolean =>
  isDeepStrictEqual([metadata ?? null, configuration], [kept.metadata, kept.configuration]) &&
  // One that never held a record has no dimension yet.
  (dimension === kept.dimension || typeof dimension !== 'number');

async function create(api: ChromaApi, { name, metadata, configuration }: Kept): Promise<void> {
  await api.call(
    `making collection '${name}'`,
    'POST',
    '/collections',
    JSON.stringify({ name, metadata, configuration }),
  );
}

async function restoreRecords(store: Store, { name, records }: Kept, folder: string): Promise<void> {
  const ids = new Set<string>();
  const wrong: string[] = [];
  for (const file of (await readdir(folder)).sort()) {
    for await (const batch of readShard(await readFile(join(folder, file)), file, { maxRecords: maxFetch })) {
      for (const id of batch.ids) ids.add(id);
      // What nobody changed is not written again.
      const changed = (await differences(store, batch)).map(({ at }) => at);
      if (changed.length > 0) await store.write(selectRecords(batch, changed), { mode: 'upsert' });
      wrong.push(...textsOf(await differences(store, batch)));
    }
  }
  const since: string[] = [];
  for await (const { batch } of store.read({ from: null, to: null }, shardLimits))
    since.push(...batch.ids.filter((id) => !ids.has(id)));
  for (const some of split(since, maxFetch)) await store.delete(some);
  const count = await store.count();
  if (count !== records) wrong.push(`${count} records, and the backup holds ${records}`);
  if (wrong.length === 0) return;
  throw new ValidationFailed(
    `collection ${name} is not as it was kept after its restore: ${wrong.slice(0, 10).join('; ')}; somebody writes to it: stop that, and restore again`,
    { ids: wrong },
  );
}
