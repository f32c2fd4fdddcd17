import { z } from 'zod';
import { type Batch, concatBatches, noRecords, selectRecords, sliceBatch } from '../batch.ts';
import { Incompatible, NotFound, RecordRefused, ShardDamaged } from '../errors.ts';
import { parseAs } from '../event.ts';
import { type CollectionSchema, collectionSchema, fieldTypeSchema } from '../schema.ts';
import { encodeShard } from '../shard.ts';
import { plural } from '../words.ts';
import { exactKept, exactTuning, searchExactly } from './exact-search.ts';
import { type FilesOptions, type Folder, openFolder, parseFilesOptions } from './files/folder.ts';
import { fileStart, type RecordFile } from './files/format.ts';
import { type Entry, makeFileIndex } from './files/index.ts';
import { describeJsonLines, jsonLines, writeJsonLines } from './files/jsonl.ts';
import { describeParquet, foreignParquet, ownShard, shardHeader } from './files/parquet.ts';
import { cutRanges, readRange, recordsOf, type Snapshot } from './files/read.ts';
import { fileNameOf, markRun, supersededIn, writtenHere } from './files/runs.ts';
import type {
  Capabilities,
  Dropping,
  ResolvedEndpoint,
  Store,
  StoreKind,
  WriteOptions,
  WritePosition,
} from './port.ts';

/**
 * A folder of Parquet or JSON lines files, local or in S3: our own shards, or what others wrote. `collection` is the folder
 * below the connection's, `.` for that itself, or one file. Options: files/folder.ts.
 */

const capabilities: Capabilities = {
  vectorKinds: ['dense', 'sparse', 'multi'],
  severalVectors: true,
  distances: ['cosine', 'dot', 'euclid', 'manhattan'],
  defaultDistance: 'cosine',
  // A row of a Parquet list has no limit; this one keeps a record below 4 MB.
  maxDimension: 1_000_000,
  precisions: ['float32'],
  indexes: [],
  searchSettings: [],
  keepsSearch: false,
  missingVectors: true,
  normalisesCosine: false,
  ids: {
    integer: { min: '-9223372036854775808', max: '18446744073709551615' },
    uuid: true,
    string: { maxLength: 65_536 },
    composite: true,
  },
  payload: {
    types: fieldTypeSchema.options,
    any: true,
  },
  // Files are put whole; there is no asking whether another one holds the id.
  insertOnly: false,
  // A file is put whole, and others may read it meanwhile: without a record it would be another file.
  deletes: false,
  drops: true,
  inPlace: false,
  pointer: false,
  reads: 'live',
  localOnly: false,
};

export const files: StoreKind = {
  name: 'files',
  title: 'Parquet and JSON lines files',
  capabilities,
  open: async (endpoint) => openFiles(endpoint),
};

/** Written by prepare; a folder without it is of others, and described by its first file. */
const headerName = 'collection.json';
const headerSchema = z.strictObject({
  format: z.literal(1),
  files: z.enum(['parquet', 'jsonl']),
  schema: collectionSchema,
});
type Header = z.infer<typeof headerSchema>;

function openFiles(endpoint: ResolvedEndpoint): Store {
  const options = parseFilesOptions(endpoint.options);
  const folder = openFolder(endpoint);
  const index = makeFileIndex();
  const opened = new Map<string, Entry>();
  let foreign: CollectionSchema | undefined;
  let known: { readonly tags: string; readonly snapshot: Snapshot } | undefined;

  /** The folder as it is now; worked out anew only when a file came, went or changed. */
  const snapshot = async (): Promise<Snapshot> => {
    const header = await readHeader(folder);
    const listed = await folder.list();
    const first = listed[0];
    if (header === undefined && first === undefined) {
      throw new NotFound(`${folder.locate('')} holds no .parquet, .jsonl or .ndjson files`, {
        ids: [endpoint.collection],
      });
    }
    const tags = JSON.stringify([header, listed]);
    if (known?.tags === tags) return known.snapshot;
    foreign = header === undefined && first !== undefined ? await describeFile(folder, first, options) : undefined;
    const schema = header?.schema ?? foreign ?? emptySchema;
    const entries: Entry[] = [];
    for (const each of listed) {
      const there = opened.get(each.key);
      const isSame = there?.tag === each.tag;
      entries.push(isSame ? there : { file: await openFile(folder, each, schema, options), tag: each.tag });
    }
    for (const entry of entries) opened.set(entry.file.name, entry);
    const isSuperseded = header === undefined ? undefined : await supersededIn(folder, entries);
    known = { tags, snapshot: { schema, entries, isSuperseded } };
    return known.snapshot;
  };

  return {
    async describe() {
      const now = await snapshot();
      return { schema: now.schema, count: await countRecords(now), payloadBytes: await payloadBytes(now) };
    },
    count: async () => await countRecords(await snapshot()),
    async fetch(ids) {
      const { schema, entries, isSuperseded } = await snapshot();
      const wanted = new Set(ids);
      const found: Batch[] = [];
      for (const entry of entries) {
        if (wanted.size === 0 || !(await index.mayHoldAny(entry, wanted))) continue;
        for await (const { batch } of index.pieces(entry)) {
          const isWanted = (id: string): boolean => wanted.has(id) && isSuperseded?.(entry.file.name, id) !== true;
          const at = batch.ids.flatMap((id, position) => (isWanted(id) ? [position] : []));
          for (const position of at) wanted.delete(batch.ids[position] ?? '');
          if (at.length > 0) found.push(selectRecords(batch, at));
        }
      }
      return found.length === 0 ? noRecords(schema.vectors) : concatBatches(found);
    },
    search: async (request) => {
      const now = await snapshot();
      const distance = now.schema.vectors.find(({ name }) => name === request.vector)?.distance;
      return await searchExactly(recordsOf(now, index), request, {
        distance: distance ?? capabilities.defaultDistance,
        title: files.title,
      });
    },
    tuning: async () => exactTuning,
    keepSearch: async () => exactKept,
    close: async () => folder.close(),
    ranges: async ({ records }) => await cutRanges(await snapshot(), records),
    async *read(range, limits) {
      yield* readRange(await snapshot(), range, limits);
    },
    async prepare(schema) {
      const header = await readHeader(folder);
      const there = header?.schema ?? ((await folder.list()).length > 0 ? (await snapshot()).schema : undefined);
      if (there === undefined) {
        const made: Header = { format: 1, files: options.format, schema };
        await folder.put(headerName, JSON.stringify(made), 'application/json');
      } else if (header === undefined) {
        throw new Incompatible(`${folder.locate('')} holds files that vecferry did not write; name an empty folder`, {
          ids: [endpoint.collection],
        });
      } else if (shapeOf(there) !== shapeOf(schema)) {
        throw new Incompatible(
          `${folder.locate('')} is there with vectors ${shapeOf(there)}, not ${shapeOf(schema)}; name another folder`,
          { ids: [endpoint.collection] },
        );
      }
    },
    write: async (batch, { position, mode }) => {
      const header = await readHeader(folder);
      if (header === undefined)
        throw new NotFound(`${folder.locate(headerName)} is not there: the collection was not prepared`, {
          ids: [endpoint.collection],
        });
      if (position === undefined)
        throw new Incompatible('the files store takes shards alone; an application cannot write single records to it', {
          ids: batch.ids,
        });
      await writeFile(folder, header, batch, position, mode);
      return { written: batch.count };
    },
    delete: async (ids) => {
      throw new Incompatible(
        `records cannot be deleted from ${folder.locate('')}: the files store writes whole files; write to a store that deletes by id`,
        { ids },
      );
    },
    buildIndex: async () => {},
    indexProgress: async () => ({ done: true, fraction: 1 }),
    drop: async ({ dryRun = false } = {}) => {
      known = undefined;
      return await dropFolder(folder, endpoint.collection, dryRun);
    },
  };
}

/** Deletes what vecferry wrote, and the file that says so last: a call that is cut off leaves a folder that the next one empties. */
async function dropFolder(folder: Folder, name: string, dryRun: boolean): Promise<Dropping> {
  const where = folder.locate('').replace(/\/$/, '');
  const all = await folder.list();
  if ((await readHeader(folder)) === undefined) {
    if (all.length === 0) return { name, what: `the folder ${where}`, isThere: false };
    const text = `vecferry did not write the files in ${where}`;
    throw new Incompatible(`${text}; delete them yourself once nobody needs them`, { ids: [name] });
  }
  const own = await writtenHere(folder);
  const ownData = new Set(own.map(({ key }) => key));
  const foreign = all.filter(({ key }) => !ownData.has(key));
  if (!dryRun) for (const { key } of [...own, { key: headerName }]) await folder.delete(key);
  const left = foreign.length === 0 ? '' : `; the ${plural(foreign.length, 'file')} that others put there stay`;
  const bytes = own.reduce((sum, { size }) => sum + size, 0);
  return { name, what: `${plural(own.length + 1, 'file')} in ${where}${left}`, isThere: true, bytes };
}

const emptySchema: CollectionSchema = {
  store: 'files',
  idType: 'string',
  key: [],
  vectors: [],
  payloadIndexes: [],
  native: {},
};

async function readHeader(folder: Folder): Promise<Header | undefined> {
  const body = await folder.get(headerName);
  if (body === undefined) return undefined;
  const where = folder.locate(headerName);
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

type Listed = Awaited<ReturnType<Folder['list']>>[number];

/** A shard of a run carries the schema of its source: the same store makes the same columns of it again. */
async function describeFile(folder: Folder, file: Listed, options: FilesOptions): Promise<CollectionSchema> {
  const [bytes, where] = [folder.bytesOf(file), folder.locate(file.key)];
  if (!file.key.endsWith('.parquet')) return await describeJsonLines(bytes, where, options);
  const header = await shardHeader(bytes, where);
  if (header === undefined) return await describeParquet(bytes, where, options);
  const { schema } = header;
  return { ...schema, store: 'files', ...(schema.store === 'files' ? {} : { origin: schema.origin ?? schema.store }) };
}

async function openFile(
  folder: Folder,
  listed: Listed,
  schema: CollectionSchema,
  options: FilesOptions,
): Promise<RecordFile> {
  const [bytes, where] = [folder.bytesOf(listed), folder.locate(listed.key)];
  if (!listed.key.endsWith('.parquet')) return jsonLines(listed.key, bytes, where, schema, options);
  const header = await shardHeader(bytes, where);
  return header === undefined
    ? foreignParquet(listed.key, bytes, where, schema, options)
    : ownShard(listed.key, bytes, where);
}

async function writeFile(
  folder: Folder,
  { files: format, schema }: Header,
  batch: Batch,
  position: WritePosition,
  mode: WriteOptions['mode'],
): Promise<void> {
  if (mode === 'insert')
    throw new Incompatible('the files store cannot insert only what is absent, as live runs need', { ids: ['live'] });
  const odd = schema.vectors.find(({ name, kind, dimension }) => {
    const found = batch.vectors.get(name);
    return (
      found?.kind !== kind || (found.kind !== 'sparse' && dimension !== undefined && found.dimension !== dimension)
    );
  });
  if (odd !== undefined)
    throw new RecordRefused(`vector '${odd.name}' is not as ${folder.locate(headerName)} declares it`, {
      ids: batch.ids,
    });
  await markRun(folder, position.run, new Date());
  const name = fileNameOf(position, format);
  if (format === 'jsonl') return await folder.put(name, writeJsonLines(batch, schema), 'application/jsonl');
  const { run, shard } = position;
  const bytes = await encodeShard(batch, { run, shard, range: { from: null, to: null }, rest: null, schema });
  await folder.put(name, bytes, 'application/vnd.apache.parquet');
}

function shapeOf({ vectors }: CollectionSchema): string {
  return JSON.stringify(
    vectors.map(({ name, kind, dimension }) => ({ name, kind, ...(kind === 'sparse' ? {} : { dimension }) })),
  );
}

async function countRecords({ entries, isSuperseded }: Snapshot): Promise<number> {
  let count = 0;
  for (const { file } of entries) {
    if (isSuperseded === undefined) count += await file.count();
    else for await (const ids of file.ids()) for (const id of ids) if (!isSuperseded(file.name, id)) count++;
  }
  return count;
}

/** The mean over the first piece. */
async function payloadBytes({ entries }: Snapshot): Promise<number> {
  for (const { file } of entries) {
    for await (const { batch } of file.read(fileStart)) {
      const { count, payloads } = sliceBatch(batch, 0, 1000);
      if (count > 0) return payloads.reduce((sum, payload) => sum + Buffer.byteLength(payload), 0) / count;
    }
  }
  return 0;
}
