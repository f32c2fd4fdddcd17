import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { Incompatible, NotFound, StoreUnavailable, ValidationFailed } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { aliasAction } from '../../stores/qdrant/admin.ts';
import { type BackupPart, requireRoom, sumOf } from './folder.ts';
import { ask, download, type QdrantPlace, upload } from './qdrant-requests.ts';

/**
 * A Qdrant server by a snapshot of each collection, fetched to this machine and taken off the server again. What snapshots leave out
 * stands beside them: aliases, and how each collection was set up. qdrant.tech/documentation/concepts/snapshots
 */

const anySchema = z.unknown();
const collectionsSchema = z.looseObject({ collections: z.array(z.looseObject({ name: z.string() })) });
const aliasesSchema = z.looseObject({
  aliases: z.array(z.looseObject({ alias_name: z.string(), collection_name: z.string() })),
});
const countSchema = z.looseObject({ count: z.int().nonnegative() });
const fieldSchema = z.looseObject({ data_type: z.string(), params: z.unknown().optional() });
const infoSchema = z.looseObject({
  config: z.looseObject({ params: z.unknown() }),
  payload_schema: z.record(z.string(), fieldSchema).default({}),
});
const snapshotSchema = z.looseObject({
  name: z.string(),
  size: z.number().nonnegative(),
  checksum: z.string().nullish(),
});
const clusterSchema = z.looseObject({ status: z.string(), peers: z.record(z.string(), z.unknown()).optional() });

/** What stands beside the snapshots: `collections.json`. */
const manifestSchema = z.strictObject({
  aliases: z.record(z.string(), z.string()),
  collections: z.record(z.string(), z.strictObject({ config: z.unknown(), fields: z.record(z.string(), z.unknown()) })),
});
type Manifest = z.infer<typeof manifestSchema>;

const at = (collection: string): string => `/collections/${encodeURIComponent(collection)}`;

/** @throws Incompatible on a cluster of several nodes: a snapshot holds one node's shards. */
export async function snapshotServer(place: QdrantPlace, folder: string): Promise<readonly BackupPart[]> {
  await refuseCluster(place);
  const manifest = await describeServer(place);
  await mkdir(join(folder, place.name), { recursive: true });
  const parts: BackupPart[] = [];
  for (const collection of Object.keys(manifest.collections)) {
    parts.push(await snapshotCollection(place, collection, folder, `${place.name}/${parts.length + 1}.snapshot`));
  }
  const where = `${place.name}/collections.json`;
  await writeFile(join(folder, where), `${JSON.stringify(manifest, null, 2)}\n`);
  const what = `aliases and settings of ${parts.length} collections`;
  const sum = await sumOf(join(folder, where));
  return [
    ...parts,
    { store: place.name, kind: 'qdrant collections', what, where, ...sum, place: place.url, counts: {} },
  ];
}

async function refuseCluster(place: QdrantPlace): Promise<void> {
  const { status, peers = {} } = await ask(place, 'GET', '/cluster', clusterSchema);
  const nodes = Object.keys(peers).length;
  if (status !== 'disabled' && nodes > 1)
    throw new Incompatible(
      `store '${place.name}' is a Qdrant cluster of ${nodes} nodes, and a snapshot holds the shards of one: use the backups of your Qdrant Cloud or of your disks, and migrate without --backup`,
    );
}

async function describeServer(place: QdrantPlace): Promise<Manifest> {
  const { collections } = await ask(place, 'GET', '/collections', collectionsSchema);
  const described: Manifest['collections'] = {};
  for (const { name } of collections.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
    described[name] = await describeCollection(place, name);
  return { aliases: await aliasesOf(place), collections: described };
}

async function aliasesOf(place: QdrantPlace): Promise<Record<string, string>> {
  const { aliases } = await ask(place, 'GET', '/aliases', aliasesSchema);
  return Object.fromEntries(aliases.map(({ alias_name, collection_name }) => [alias_name, collection_name]));
}

async function describeCollection(place: QdrantPlace, name: string): Promise<Manifest['collections'][string]> {
  const { config, payload_schema } = await ask(place, 'GET', at(name), infoSchema);
  // The number of points that each index holds is none of its settings.
  const fields = Object.entries(payload_schema).map(([field, { data_type, params }]) => [field, params ?? data_type]);
  return { config, fields: Object.fromEntries(fields) };
}

const countOf = async (place: QdrantPlace, name: string): Promise<number> =>
  (await ask(place, 'POST', `${at(name)}/points/count`, countSchema, { exact: true })).count;

async function snapshotCollection(
  place: QdrantPlace,
  collection: string,
  folder: string,
  where: string,
): Promise<BackupPart> {
  const before = await countOf(place, collection);
  const path = `${at(collection)}/snapshots`;
  const made = await ask(place, 'POST', `${path}?wait=true`, snapshotSchema);
  try {
    const after = await countOf(place, collection);
    await requireRoom(folder, made.size, `the snapshot of ${collection}`);
    const name = encodeURIComponent(made.name);
    const sum = await download(place, `${path}/${name}`, join(folder, where));
    if (sum.bytes !== made.size || (typeof made.checksum === 'string' && made.checksum !== sum.checksum))
      throw new StoreUnavailable(
        `the snapshot of ${collection} arrived with ${sum.bytes} bytes and SHA-256 ${sum.checksum}, and ${place.url} made ${made.size} with ${made.checksum}; make the backup again`,
      );
    // Of a collection that is written to meanwhile nobody knows how many records the snapshot holds.
    const counts: Record<string, number> = before === after ? { [collection]: after } : {};
    const what = `collection ${collection}`;
    return { store: place.name, kind: 'qdrant snapshot', what, where, ...sum, place: place.url, counts };
  } finally {
    // A snapshot takes as much of the server's disk as the collection.
    await ask(place, 'DELETE', `${path}/${encodeURIComponent(made.name)}?wait=true`, anySchema);
  }
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
 * @throws Incompatible when a collection made since has the name of an alias; ValidationFailed when a collection does not hold as many records afterwards
 */
export async function restoreServer({ place, parts, dropNew, tell }: ServerRestore): Promise<readonly string[]> {
  await refuseCluster(place);
  const manifest = await readManifest(parts);
  const now = await describeServer(place);
  const isHeld = (name: string): boolean => manifest.collections[name] !== undefined;

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
    if (now.collections[name] !== undefined && JSON.stringify(now.collections[name]) !== JSON.stringify(held))
      await ask(place, 'DELETE', at(name), anySchema);
    await recoverCollection(place, name, part.checksum, path);
    await indexFields(place, name, held?.fields ?? {});
    await requireCount(place, name, part);
    tell(`restored ${part.what} of ${place.name}`);
  }

  const made = Object.keys(now.collections).filter((name) => !isHeld(name));
  if (dropNew) for (const name of made) await ask(place, 'DELETE', at(name), anySchema);
  const left = dropNew ? [] : made;
  const extra = Object.entries(await aliasesOf(place)).flatMap(([alias, to]) =>
    manifest.aliases[alias] === undefined && !left.includes(to) ? alias : [],
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

async function readManifest(parts: ServerRestore['parts']): Promise<Manifest> {
  const found = parts.find(({ part }) => part.kind === 'qdrant collections');
  const text = found === undefined ? '{}' : await readFile(found.path, 'utf8');
  return parseAs(manifestSchema, JSON.parse(text), `${dirname(found?.path ?? '')}: collections.json`, Incompatible);
}

function collectionIn({ kind, what }: BackupPart, { collections }: Manifest): string | undefined {
  if (kind !== 'qdrant snapshot') return undefined;
  const name = what.slice('collection '.length);
  if (collections[name] === undefined)
    throw new Incompatible(`the backup holds ${what}, which its collections.json does not name; nothing was changed`);
  return name;
}

/** Indexes that the snapshot did not bring. Making one that is there changes nothing. */
async function indexFields(place: QdrantPlace, name: string, wanted: Readonly<Record<string, unknown>>): Promise<void> {
  const { fields } = await describeCollection(place, name);
  for (const [field, schema] of Object.entries(wanted)) {
    if (fields[field] !== undefined) continue;
    const body = { field_name: field, field_schema: schema };
    await ask(place, 'PUT', `${at(name)}/index?wait=true`, anySchema, body);
  }
}

async function requireCount(place: QdrantPlace, name: string, { counts }: BackupPart): Promise<void> {
  const held = counts[name];
  const there = await countOf(place, name);
  if (held === undefined || held === there) return;
  throw new ValidationFailed(
    `collection ${name} has ${there} records after its restore, and the backup holds ${held}: somebody writes to it; stop that, and restore again`,
    { ids: [name] },
  );
}

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
