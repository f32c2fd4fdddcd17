import { z } from 'zod';
import { InvalidEvent, NotFound, SchemaMismatch, ShardDamaged } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import type { Names } from '../../event-names.ts';
import { fingerprintOf } from '../../schema/fingerprint.ts';
import { isNamedCollection } from '../../schema/names.ts';
import { schemaDifferences } from '../../schema/schema-differences.ts';
import { type CollectionSchema, collectionSchema } from '../../schema.ts';
import type { ShardHeader } from '../../shard/shard.ts';
import { arrowTable } from './arrow.ts';
import { type FilesOptions, type Folder, fileFormatSchema } from './folder.ts';
import type { Entry } from './index.ts';
import { describeJsonLines, jsonLines } from './jsonl.ts';
import { type FileGroup, groupFiles, kindOf, readNames, refuseOthersTools } from './kinds.ts';
import { describeNumpy, type NumpyPart, numpyFile, openNumpy, withVectorName } from './numpy.ts';
import { refuseOldShards } from './old-shards.ts';
import { ownShard, parquetTable, shardHeader } from './parquet.ts';
import { type Partitions, partitionsOf, withMembers, withPartitionFields } from './partitions.ts';
import type { Snapshot } from './read.ts';
import { supersededIn } from './runs.ts';
import { describeTable, schemaOfTable, tableFile } from './table.ts';

/** The folder as it is now: its files, what each holds, and what the collection is taken to be. */

/** Written by prepare; a folder without it is of others, and described by its first file. */
export const headerName = 'collection.json';
export const headerSchema = z.strictObject({
  format: z.literal(1),
  files: fileFormatSchema,
  schema: collectionSchema,
});
export type Header = z.infer<typeof headerSchema>;

export interface Look {
  readonly folder: Folder;
  readonly options: FilesOptions;
  readonly names: Names | undefined;
}

/** Worked out anew only when a file came, went or changed. @throws NotFound when there is neither a file nor a collection.json */
export function makeSnapshots(look: Look, collection: string): () => Promise<Snapshot> {
  const { folder, options } = look;
  const opened = new Map<string, Entry>();
  const asked = new Map<string, boolean>();
  const plainLines = new Set<string>();
  let known: { readonly tags: string; readonly snapshot: Snapshot } | undefined;
  return async () => {
    const headers = await readHeaders(folder);
    const all = groupFiles(await folder.list());
    const leftOut = await othersIn(look, all, asked);
    const listed = all.filter(({ key }) => !leftOut.includes(key));
    await refuseOldShards(folder, listed, plainLines);
    const first = firstOf(listed, folder, options);
    const header = options.schemaOf === undefined ? headerOf(headers, folder, first) : undefined;
    if (header === undefined && first === undefined) throw await nothingIn(folder, collection);
    const tags = JSON.stringify([[...headers], listed]);
    if (known?.tags === tags) return known.snapshot;
    const described = header === undefined && first !== undefined ? await describeFile(look, first) : undefined;
    const plain = header?.schema ?? described ?? emptySchema;
    const found = await openAll(look, listed, opened, (part) => headers.get(part)?.schema ?? plain);
    // What a run wrote says all that it holds; only folders of others are read with their names.
    const partitions = partitionsOf(header === undefined ? listed.map(({ key }) => belowPart(folder, key)) : []);
    const { schema, entries } = withPartitions(look, plain, found, partitions);
    if (header === undefined) refuseUnknownVectors(look, [schema, ...entries.map((entry) => entry.schema)]);
    const isOne = header === undefined && folder.parts.length === 1;
    const isSuperseded = isOne ? undefined : await supersededIn(folder, entries, (part) => headers.has(part));
    known = {
      tags,
      snapshot: { schema, entries: withOneObjectEach(entries, schema), isSuperseded, leftOut, partitions },
    };
    return known.snapshot;
  };
}

/** @param opened files as they were opened before: one that has not changed is not looked at again */
async function openAll(
  look: Look,
  listed: readonly Listed[],
  opened: Map<string, Entry>,
  schemaOf: (part: string) => CollectionSchema,
): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  const rows = { before: 0 };
  for (const each of listed) {
    const there = opened.get(each.key);
    const isKnown = there?.tag === each.tag && each.kind !== 'numpy';
    const entry = isKnown ? there : await openFile(look, each, schemaOf(partOf(look.folder, each.key)), rows);
    opened.set(each.key, entry);
    entries.push(entry);
  }
  return entries;
}

/** @param plain the folder's schema, without fields of its folders' names */
function withPartitions(
  { folder, options }: Look,
  plain: CollectionSchema,
  entries: readonly Entry[],
  partitions: Partitions,
): Pick<Snapshot, 'schema' | 'entries'> {
  if (partitions.fields.length === 0) return { schema: plain, entries };
  const made = entries.map((entry) => {
    if (entry.isShard === true) return entry;
    const members = partitions.of(belowPart(folder, entry.file.name));
    const schema = withPartitionFields(entry.schema, partitions, members, options.id);
    return { ...withMembers(entry, members, options.id), schema };
  });
  const like = entries.findIndex(({ schema, isShard }) => schema === plain && isShard !== true);
  return { schema: made[like]?.schema ?? plain, entries: made };
}

const belowPart = (folder: Folder, key: string): string => key.slice(partOf(folder, key).length);

/** A name that is mistyped would leave the vector a payload field. @throws InvalidEvent */
function refuseUnknownVectors({ folder, options }: Look, schemas: readonly CollectionSchema[]): void {
  const there = new Set(schemas.flatMap(({ vectors }) => vectors.map(({ name }) => name)));
  const [unknown] = (options.vectors ?? []).filter((name) => !there.has(name));
  if (unknown === undefined) return;
  const fields = new Set(schemas.flatMap((schema) => schema.fields ?? []).map(({ name }) => name));
  const names = [...there, ...fields].map((name) => `'${name}'`).join(', ');
  throw new InvalidEvent(
    `options.vectors names '${unknown}', which no file of ${folder.locate('')} has as a vector; they have ${names || 'none'}`,
    { ids: ['vectors'] },
  );
}

const partOf = (folder: Folder, key: string): string => folder.parts.find((part) => key.startsWith(part)) ?? '';

async function readHeaders(folder: Folder): Promise<ReadonlyMap<string, Header>> {
  const headers = new Map<string, Header>();
  for (const part of folder.parts) {
    const found = await readHeader(folder, part);
    if (found !== undefined) headers.set(part, found);
  }
  return headers;
}

/** Shards of collections that have none of the names, where they are left out. @param asked what is known of files by name and tag */
async function othersIn(
  { folder, names }: Look,
  listed: readonly Listed[],
  asked: Map<string, boolean>,
): Promise<readonly string[]> {
  if (names?.collection === undefined || names.strict) return [];
  const others: string[] = [];
  for (const file of listed) {
    if (kindOf(file.key) !== 'parquet') continue;
    const key = JSON.stringify([file.key, file.tag]);
    const isOurs =
      asked.get(key) ??
      isNamedCollection((await shardHeader(folder.bytesOf(file), folder.locate(file.key)))?.collection, names);
    asked.set(key, isOurs);
    if (!isOurs) others.push(file.key);
  }
  return others;
}

/** One object a schema, so that whoever reads can tell them apart at once. */
function withOneObjectEach(entries: readonly Entry[], schema: CollectionSchema): readonly Entry[] {
  const schemas = new Map([[fingerprintOf(schema), schema]]);
  return entries.map((entry) => {
    const fingerprint = fingerprintOf(entry.schema);
    const same = schemas.get(fingerprint) ?? entry.schema;
    schemas.set(fingerprint, same);
    return same === entry.schema ? entry : { ...entry, schema: same };
  });
}

const emptySchema: CollectionSchema = {
  store: 'files',
  idType: 'string',
  key: [],
  vectors: [],
  payloadIndexes: [],
  native: {},
};

export async function readHeader(folder: Folder, part = folder.parts[0] ?? ''): Promise<Header | undefined> {
  const body = await folder.get(part + headerName);
  if (body === undefined) return undefined;
  const where = folder.locate(part + headerName);
  try {
    return parseAs(headerSchema, JSON.parse(Buffer.from(body).toString()), where, ShardDamaged);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new ShardDamaged(
      `${where} is not JSON: it was cut short or altered; delete the folder and start the run again`,
      { ids: [where], cause },
    );
  }
}

/** The file that says what the collection is: the one that the options name, else the first under the first name that has any. */
function firstOf(listed: readonly Listed[], folder: Folder, { schemaOf }: FilesOptions): Listed | undefined {
  if (schemaOf !== undefined) {
    const named = listed.find(({ key }) => key === schemaOf);
    if (named !== undefined) return named;
    throw new NotFound(`options.schemaOf names '${schemaOf}', which is no file of ${folder.locate('')}`, {
      ids: [schemaOf],
    });
  }
  for (const part of folder.parts) {
    const first = listed.find(({ key }) => key.startsWith(part));
    if (first !== undefined) return first;
  }
  return undefined;
}

/** collection.json of the part that the first file lies in; of a folder without files the first there is. */
function headerOf(headers: ReadonlyMap<string, Header>, folder: Folder, first: Listed | undefined): Header | undefined {
  const part = folder.parts.find((start) => (first === undefined ? headers.has(start) : first.key.startsWith(start)));
  return headers.get(part ?? '');
}

/** Where files have several schemas: which is taken, and how the others differ. */
export function notesOf({ schema, entries, leftOut, partitions }: Snapshot): string[] {
  const [other] = leftOut;
  const left = leftOut.length === 1 ? `${other} is a shard` : `${other} and ${leftOut.length - 1} more are shards`;
  const notes = other === undefined ? [] : [`${left} of another collection than names says, and left out`];
  const others = Map.groupBy(
    entries.filter((entry) => entry.schema !== schema),
    (entry) => entry.schema,
  );
  const differing = [...others].map(([other, [first, ...more]]) => {
    const differences = schemaDifferences(other, schema, () => true).map(({ text }) => text);
    const which = `${first?.file.name}${more.length === 0 ? '' : ` and ${more.length} more files`}`;
    const own = entries.find((entry) => entry.schema === schema)?.file.name;
    const said = own === undefined ? 'collection.json' : own;
    return `${which} differ from the schema taken for the folder, that of ${said}: ${differences.join('; ') || 'vectors of no known length'}; options.schemaOf takes another file's`;
  });
  const fields = partitions.fields.map(({ name, type }) => `${name} (${type})`).join(', ');
  const named = fields === '' ? [] : [`these fields are taken from the names of folders: ${fields}`];
  return [...notes, ...named, ...differing];
}

/** For the plan: files beside those that are read, which somebody may have meant to be read. */
export async function passedOverNotes(folder: Folder): Promise<string[]> {
  const others = await folder.passedOver();
  if (others.length === 0) return [];
  return [`passed over, since no such files are read: ${someOf(others)}; read are ${readNames}`];
}

const someOf = (names: readonly string[]): string =>
  `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;

type Listed = FileGroup;

/** What to say of a folder that is read as empty: that it is, or whose tool reads what is in it. */
async function nothingIn(folder: Folder, collection: string): Promise<NotFound> {
  refuseOthersTools(collection, folder.locate(''));
  for (const file of await folder.under('')) {
    if (/(^|\/)[_.]/.test(file.key)) continue;
    refuseOthersTools(file.key, folder.locate(file.key), await folder.bytesOf(file).range(0, Math.min(5, file.size)));
  }
  const others = await folder.passedOver();
  const there = others.length === 0 ? '' : `; there ${others.length === 1 ? 'is' : 'are'} ${someOf(others)}`;
  return new NotFound(`${folder.locate('')} holds no file that is read: ${readNames}${there}`, { ids: [collection] });
}

/** A shard of a run carries the schema of its source: the same store makes the same columns of it again. */
async function describeFile(look: Look, file: Listed): Promise<CollectionSchema> {
  const { folder, options } = look;
  const [bytes, where] = [folder.bytesOf(file), folder.locate(file.key)];
  if (file.kind === 'jsonl') return await describeJsonLines(bytes, where, options);
  if (file.kind === 'arrow') return await describeTable(arrowTable(bytes, where), options);
  if (file.kind === 'numpy')
    return await describeNumpy(await openNumpy(numpyParts(look, file), where, options), options);
  const header = await shardHeader(bytes, where);
  if (header === undefined) return await describeTable(parquetTable(bytes, where), options);
  return asFiles(header);
}

function numpyParts({ folder }: Look, { files }: Listed): readonly NumpyPart[] {
  return files.map((file) => ({
    name: file.key.slice(file.key.lastIndexOf('/') + 1),
    where: folder.locate(file.key),
    bytes: folder.bytesOf(file),
  }));
}

function asFiles({ schema }: ShardHeader): CollectionSchema {
  return { ...schema, store: 'files', ...(schema.store === 'files' ? {} : { origin: schema.origin ?? schema.store }) };
}

/**
 * @param rows records of the files before whose ids are row numbers, which go on from file to file
 * @throws SchemaMismatch for a shard of another collection
 */
async function openFile(
  look: Look,
  listed: Listed,
  schema: CollectionSchema,
  rows: { before: number },
): Promise<Entry> {
  const { folder, options, names } = look;
  const [bytes, where] = [folder.bytesOf(listed), folder.locate(listed.key)];
  const { key, tag, kind } = listed;
  if (kind === 'arrow') {
    const source = arrowTable(bytes, where);
    const own = await schemaOfTable(source, schema, options);
    return { file: tableFile(key, source, own, options), tag, schema: own };
  }
  if (kind === 'numpy') {
    const open = async () => withVectorName(await openNumpy(numpyParts(look, listed), where, options), schema);
    const found = await open();
    const own = await describeNumpy(found, { ...options, idType: options.idType ?? schema.idType });
    const firstRow = rows.before;
    if (found.ids.kind === 'rows') rows.before += found.rows;
    const same = shapesText(own) === shapesText(schema) ? schema : own;
    return { file: numpyFile(key, open, same, firstRow), tag, schema: same };
  }
  if (kind === 'jsonl') {
    // Without old names a line's own names say what it is.
    const own = names === undefined ? schema : await describeJsonLines(bytes, where, options);
    return { file: jsonLines(key, bytes, where, own, options), tag, schema: own };
  }
  const header = await shardHeader(bytes, where);
  if (header === undefined) {
    const source = parquetTable(bytes, where);
    const own = await schemaOfTable(source, schema, options);
    return { file: tableFile(key, source, own, options), tag, schema: own };
  }
  if (isNamedCollection(header.collection, names))
    return { file: ownShard(key, bytes, where), tag, schema: asFiles(header), isShard: true };
  const known = [names?.collection, ...(names?.aliases ?? [])].join(', ');
  const text = `${where} is a shard of collection '${header.collection}', and the names of this one are ${known}`;
  throw new SchemaMismatch(
    `${text}; add it to names.aliases, move the file elsewhere, or leave it out with names.strict false`,
    {
      ids: [key],
    },
  );
}

function shapesText({ vectors }: CollectionSchema): string {
  return JSON.stringify(vectors.map(({ name, dimension }) => [name, dimension]).sort());
}
