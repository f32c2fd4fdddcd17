import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { Incompatible, NotFound, StoreUnavailable, ValidationFailed } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { aliasAction } from '../../stores/qdrant/admin.ts';
import { isOlder } from '../../stores/qdrant/version.ts';
import { plural } from '../../words.ts';
import { type BackupPart, requireRoom, sumOf } from './folder.ts';
import {
  contentsDifference,
  contentsSchema,
  hashOfContents,
  type KeptContents,
  keepContents,
  readContents,
  unprovenIn,
} from './qdrant-contents.ts';
import {
  aliasesOf,
  anySchema,
  at,
  describeCollection,
  describeServer,
  hiddenIn,
  isSetUpAs,
  paramsOf,
  refuseCluster,
  refuseShardKeys,
  type SetUp,
  setUpSchema,
  versionOf,
  withStore,
} from './qdrant-describe.ts';
import { ask, download, type QdrantPlace, upload } from './qdrant-requests.ts';
import { settingsAdded, settingsLost } from './qdrant-settings.ts';
import { absentText, collectionsIn, isWithin, type Scope, snapshotOf } from './scope.ts';

/**
 * A Qdrant server by a snapshot of each collection, fetched to this machine and taken off the server again. What snapshots leave out
 * stands beside them: aliases, how each collection was set up, and a hash of what it holds (qdrant-contents.ts), which the restored one is
 * held against. qdrant.tech/documentation/concepts/snapshots
 */

const snapshotSchema = z.looseObject({
  name: z.string(),
  size: z.number().nonnegative(),
  checksum: z.string().nullish(),
});

/** What stands beside the snapshots: `collections.json`. */
const manifestSchema = z.strictObject({
  /** Of the server that made the snapshots. */
  version: z.string(),
  aliases: z.record(z.string(), z.string()),
  /** Collections that were there and are not kept. */
  others: z.array(z.string()).default([]),
  collections: z.record(
    z.string(),
    setUpSchema.extend({
      /** Left out: some of its records could not be read when the backup was made. */
      contents: contentsSchema.optional(),
    }),
  ),
});
type Manifest = z.infer<typeof manifestSchema>;

/** @throws Incompatible on a cluster of several nodes: a snapshot holds one node's shards. */
export async function snapshotServer(
  place: QdrantPlace,
  { folder, scope, tell }: { readonly folder: string; readonly scope: Scope; readonly tell: (line: string) => void },
): Promise<readonly BackupPart[]> {
  await refuseCluster(place);
  const there = await describeServer(place);
  for (const name of scope ?? [])
    if (there.collections[name] === undefined && there.aliases[name] === undefined) tell(absentText(place.name, name));
  const isKept = (name: string): boolean => isWithin(scope, name, there.aliases);
  const found = Object.fromEntries(Object.entries(there.collections).filter(([name]) => isKept(name)));
  const others = Object.keys(there.collections).filter((name) => !isKept(name));
  const aliases = Object.fromEntries(Object.entries(there.aliases).filter(([, to]) => isKept(to)));
  refuseShardKeys(place, found);
  const version = await versionOf(place);
  await mkdir(join(folder, place.name), { recursive: true });
  const parts: BackupPart[] = [];
  const collections: Manifest['collections'] = {};
  for (const [collection, setUp] of Object.entries(found)) {
    const where = `${place.name}/${parts.length + 1}.snapshot`;
    const { part, contents } = await snapshotCollection(place, collection, folder, where);
    parts.push(part);
    collections[collection] = { ...setUp, ...(contents && { contents }) };
  }
  const where = `${place.name}/collections.json`;
  await writeFile(
    join(folder, where),
    `${JSON.stringify({ version, aliases, others, collections } satisfies Manifest)}\n`,
  );
  const what = `aliases and settings of ${parts.length} collections`;
  const sum = await sumOf(join(folder, where));
  const only = scope === undefined ? {} : { only: [...new Set([...scope, ...Object.keys(aliases)])] };
  return [
    ...parts,
    { store: place.name, kind: 'qdrant collections', what, where, ...sum, place: place.url, counts: {}, ...only },
  ];
}

interface Snapshotted {
  readonly part: BackupPart;
  readonly contents: KeptContents | undefined;
}

async function snapshotCollection(
  place: QdrantPlace,
  collection: string,
  folder: string,
  where: string,
): Promise<Snapshotted> {
  return await withStore(place, collection, async (store) => {
    const before = await readContents(store);
    const path = `${at(collection)}/snapshots`;
    const made = await ask(place, 'POST', `${path}?wait=true`, snapshotSchema);
    try {
      // What is as it was before and after is in the snapshot.
      const kept = keepContents(before, await readContents(store));
      const hidden = await hiddenIn(place, collection);
      await requireRoom(folder, made.size, `the snapshot of ${collection}`);
      const name = encodeURIComponent(made.name);
      const sum = await download(place, `${path}/${name}`, join(folder, where));
      if (sum.bytes !== made.size || (typeof made.checksum === 'string' && made.checksum !== sum.checksum))
        throw new StoreUnavailable(
          `the snapshot of ${collection} arrived with ${sum.bytes} bytes and SHA-256 ${sum.checksum}, and ${place.url} made ${made.size} with ${made.checksum}; make the backup again`,
        );
      const unproven = hidden > 0 ? kept.records + hidden : unprovenIn(kept);
      const part: BackupPart = {
        store: place.name,
        kind: 'qdrant snapshot',
        what: snapshotOf(collection),
        where,
        ...sum,
        place: place.url,
        // Of a collection that is written to meanwhile nobody knows how many records the snapshot holds.
        counts: hidden === 0 && kept.changed.length === 0 ? { [collection]: kept.records } : {},
        contents: { hash: hashOfContents(kept), records: kept.records, unproven, ...doubt(collection, kept, hidden) },
      };
      return { part, contents: hidden > 0 ? undefined : kept };
    } finally {
      // A snapshot takes as much of the server's disk as the collection.
      await ask(place, 'DELETE', `${path}/${encodeURIComponent(made.name)}?wait=true`, anySchema);
    }
  });
}

/** Why a restore will not be proven equal record by record. */
function doubt(collection: string, kept: KeptContents, hidden: number): { readonly doubt?: string } {
  const checksum = "the snapshot's checksum alone";
  if (hidden > 0)
    return {
      doubt: `collection ${collection} hid ${plural(hidden, 'record')} from every read while its snapshot was made (prevent_unoptimized); it is held by ${checksum}`,
    };
  if (kept.changed.length === 0) return {};
  return {
    doubt: `collection ${collection} was written to while its snapshot was made: up to ${plural(unprovenIn(kept), 'record')} of ${kept.records} are held by ${checksum}; stop its writers for a backup that is proven whole`,
  };
}

export interface ServerRestore {
  readonly place: QdrantPlace;
  /** Those of this store, the manifest among them, and where each lies. */
  readonly parts: readonly { readonly part: BackupPart; readonly path: string }[];
  readonly dropNew: boolean;
  readonly tell: (line: string) => void;
}

/**
 * Brings every collection of a backup back, and its aliases as one change. A collection that is set up as it was is overwritten in place,
 * and goes on answering; one that is set up otherwise is refused by Qdrant, so it is dropped first and is missing until its snapshot is in.
 *
 * @returns what was made since and is left, a line each
 * @throws Incompatible when a collection made since has the name of an alias; ValidationFailed when a collection does not hold afterwards
 * what it held, or is not set up as it was, saying what differs
 */
export async function restoreServer({ place, parts, dropNew, tell }: ServerRestore): Promise<readonly string[]> {
  await refuseCluster(place);
  const manifest = await readManifest(parts);
  const version = await versionOf(place);
  refuseVersion(place, manifest.version, version);
  const now = await describeServer(place);
  const isHeld = (name: string): boolean => manifest.collections[name] !== undefined;
  const scope = parts.find(({ part }) => part.kind === 'qdrant collections')?.part.only;

  const blocking = Object.keys(manifest.aliases).filter((alias) => now.collections[alias] !== undefined);
  if (blocking.length > 0 && !dropNew)
    throw new Incompatible(
      `collections ${blocking.join(', ')} of ${place.name} were made since under names that are aliases in the backup; no collection was changed: --drop-new drops them, and the backup made first has them`,
      { ids: blocking },
    );
  // A name that stands for another collection by now has to be free before its own comes back.
  const inTheWay = Object.keys(now.aliases).filter(isHeld);
  if (inTheWay.length > 0) await changeAliases(place, inTheWay, {});
  for (const { part, path } of parts) {
    const name = collectionIn(part, manifest);
    if (name === undefined) continue;
    const held = manifest.collections[name];
    if (held === undefined) continue;
    const found = now.collections[name];
    const isInPlace = found !== undefined && isSetUpAs(found, held);
    if (found !== undefined && !isInPlace) await ask(place, 'DELETE', at(name), anySchema);
    await recoverCollection(place, name, part.checksum, path);
    await bringBack(place, name, held, isInPlace || !isOlder(version, [1, 15]));
    const added = requireSettings(name, held, await describeCollection(place, name));
    tell(`restored ${part.what} of ${place.name}: ${await requireContents(place, name, part, held.contents)}`);
    for (const each of added) tell(`collection ${name} has what the backup does not name: ${each}`);
  }

  const made = Object.keys(now.collections).filter(
    (name) => !isHeld(name) && !manifest.others.includes(name) && isWithin(scope, name, now.aliases),
  );
  if (dropNew) for (const name of made) await ask(place, 'DELETE', at(name), anySchema);
  const left = dropNew ? [] : made;
  const extra = Object.entries(await aliasesOf(place)).flatMap(([alias, to]) =>
    manifest.aliases[alias] === undefined && !left.includes(to) && (isHeld(to) || isWithin(scope, alias)) ? alias : [],
  );
  await changeAliases(place, extra, manifest.aliases);
  return left.map((name) => `collection ${name} of ${place.name}, made since the backup; --drop-new drops such`);
}

/**
 * The server keeps what is uploaded among the collection's snapshots (do_save_uploaded_snapshot in its source), where it takes as much of the
 * disk as the collection; it is taken off under the name that only this backup gives it. A server that keeps none answers 404.
 */
async function recoverCollection(place: QdrantPlace, name: string, checksum: string, path: string): Promise<void> {
  const kept = `vecferry-${checksum.slice(0, 32)}.snapshot`;
  const snapshots = `${at(name)}/snapshots`;
  const takeOff = async (): Promise<void> => {
    await ask(place, 'DELETE', `${snapshots}/${kept}?wait=true`, anySchema).catch((error: unknown) => {
      if (!(error instanceof NotFound)) throw error;
    });
  };
  try {
    await upload(place, `${snapshots}/upload?wait=true&priority=snapshot&checksum=${checksum}`, path, kept);
  } catch (error) {
    // What went wrong first is what is told.
    await takeOff().catch(() => {});
    throw error;
  }
  await takeOff();
}

/**
 * Found before anything is dropped. "Snapshots can be restored on the same minor version or the next minor version"
 * (qdrant.tech/documentation/snapshots, Restore snapshot).
 */
function refuseVersion({ url }: QdrantPlace, made: string, here: string): void {
  const [major = 0, minor = 0] = made.split('.').map(Number);
  if (!isOlder(here, [major, minor]) && isOlder(here, [major, minor + 2])) return;
  throw new Incompatible(
    `the backup's snapshots are of Qdrant ${made}, and ${url} is ${here}: Qdrant restores those of its own minor version and of the one before it; nothing was changed. Restore them on a server of ${major}.${minor} (--elsewhere), and update that one minor version after the other`,
  );
}

async function readManifest(parts: ServerRestore['parts']): Promise<Manifest> {
  const found = parts.find(({ part }) => part.kind === 'qdrant collections');
  const text = found === undefined ? '{}' : await readFile(found.path, 'utf8');
  return parseAs(manifestSchema, JSON.parse(text), `${dirname(found?.path ?? '')}: collections.json`, Incompatible);
}

function collectionIn(part: BackupPart, { collections }: Manifest): string | undefined {
  const [name] = collectionsIn(part);
  if (name !== undefined && collections[name] === undefined)
    throw new Incompatible(
      `the backup holds ${part.what}, which its collections.json does not name; nothing was changed`,
    );
  return name;
}

/**
 * What the snapshot did not bring: a collection is made by what creating one takes, which has no read_fan_out_* (CreateCollection in
 * Qdrant's source), and before 1.15 its payload indexes were made in the segments and not noted at the collection, where strict mode looks
 * (github.com/qdrant/qdrant/pull/6582). Making an index that is there changes nothing.
 */
async function bringBack(place: QdrantPlace, name: string, held: SetUp, isNoted: boolean): Promise<void> {
  const { config, fields } = await describeCollection(place, name);
  const params = Object.entries(paramsOf(held.config)).filter(
    ([key, value]) => key.startsWith('read_fan_out') && value !== null && paramsOf(config)[key] !== value,
  );
  if (params.length > 0) await ask(place, 'PATCH', at(name), anySchema, { params: Object.fromEntries(params) });
  for (const [field, schema] of Object.entries(held.fields)) {
    if (isNoted && fields[field] !== undefined) continue;
    const body = { field_name: field, field_schema: schema };
    await ask(place, 'PUT', `${at(name)}/index?wait=true`, anySchema, body);
  }
}

/** @returns what the server has that the backup does not name */
function requireSettings(name: string, { config, fields }: SetUp, found: SetUp): readonly string[] {
  const held = { config, fields };
  const lost = settingsLost(held, found);
  if (lost.length === 0) return settingsAdded(held, found);
  throw new ValidationFailed(
    `collection ${name} is not set up as it was after its restore: ${lost.slice(0, 10).join('; ')}; its records are back, and this restore did not go on to the next collection: restore again, or set it by a collection file`,
    { ids: [name] },
  );
}

/**
 * Reads the restored collection whole and holds it against the backup. What differs is read a second time: other writers change it
 * between the two, a snapshot that brought something else does not.
 * @returns what is proven, for people
 */
async function requireContents(
  place: QdrantPlace,
  name: string,
  { contents: noted }: BackupPart,
  kept: KeptContents | undefined,
): Promise<string> {
  if (kept === undefined) return noted?.doubt ?? "held by its snapshot's checksum alone";
  return await withStore(place, name, async (store) => {
    const found = await readContents(store);
    const wrong = contentsDifference(kept, found);
    if (wrong === undefined) {
      const unproven = unprovenIn(kept);
      if (kept.changed.length === 0) return `${plural(found.records, 'record')}, equal to the backup`;
      return `${plural(kept.records - unproven, 'record')} of ${found.records} equal to the backup; ${noted?.doubt}`;
    }
    await setTimeout(secondLookMs);
    const again = await readContents(store, wrong.buckets);
    const still = contentsDifference(kept, again);
    if (still === undefined) return `${plural(again.records, 'record')}, equal to the backup at a second look`;
    const isWritten = contentsDifference(keepContents(again, again), found) !== undefined;
    const ids = again.suspected.length === 0 ? '' : ` (among ${again.suspected.join(', ')})`;
    const why = isWritten
      ? 'somebody writes to it; stop that, and restore again'
      : 'nobody wrote to it between two looks, so its snapshot brought this, or it was written to right after; stop its writers and restore again, or take another backup';
    throw new ValidationFailed(
      `collection ${name} does not hold what the backup holds after its restore: ${still.text}${ids}; ${why}`,
      { ids: [name] },
    );
  });
}

/** A server may still have updates in its queue that the snapshot brought. */
const secondLookMs = 2000;

/** One request: readers see the aliases as they were or as they are to be. */
async function changeAliases(
  place: QdrantPlace,
  gone: readonly string[],
  wanted: Readonly<Record<string, string>>,
): Promise<void> {
  const actions = [
    ...gone.map((alias) => aliasAction(alias, undefined)),
    ...Object.entries(wanted).map(([alias, to]) => aliasAction(alias, to)),
  ];
  if (actions.length > 0) await ask(place, 'POST', '/collections/aliases', anySchema, { actions });
}
