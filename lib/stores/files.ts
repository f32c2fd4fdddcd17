import { type Batch, column, concatBatches, noRecords, selectRecords, sliceBatch } from '../batch.ts';
import { Incompatible, NotFound, RecordRefused, SchemaMismatch } from '../errors.ts';
import type { Names } from '../event-names.ts';
import { stablePayload } from '../schema/conform.ts';
import { namesOf, stableName } from '../schema/names.ts';
import { type CollectionSchema, fieldTypeSchema } from '../schema.ts';
import { encodeShard } from '../shard/shard.ts';
import { plural } from '../words.ts';
import { exactKept, exactTuning, searchExactly } from './exact-search.ts';
import { type FilesOptions, type Folder, openFolder, parseFilesOptions } from './files/folder.ts';
import { fileStart } from './files/format.ts';
import { makeFileIndex } from './files/index.ts';
import { writeJsonLines } from './files/jsonl.ts';
import { cutRanges, readRange, recordsOf, type Snapshot } from './files/read.ts';
import { fileNameOf, markRun, writtenHere } from './files/runs.ts';
import { type Header, headerName, makeSnapshots, notesOf, passedOverNotes, readHeader } from './files/snapshot.ts';
import { upgradeNotes } from './files/upgraded.ts';
import { checkColumns, columnsArrow, columnsParquet } from './files/write-columns.ts';
import { assemble, isAssembled, numpyFiles, partsPrefix } from './files/write-numpy.ts';
import type {
  Capabilities,
  Dropping,
  FetchedPart,
  ResolvedEndpoint,
  SearchRequest,
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
  changesIndex: false,
  pointer: false,
  reads: 'live',
  localOnly: false,
};

export const files: StoreKind = {
  name: 'files',
  title: 'Parquet, Arrow, NumPy and JSON lines files',
  capabilities,
  open: async (endpoint) => openFiles(endpoint),
};

function openFiles(endpoint: ResolvedEndpoint): Store {
  const options = parseFilesOptions(endpoint.options);
  const folder = openFolder(endpoint);
  const index = makeFileIndex();
  const { names } = endpoint;
  const snapshot = makeSnapshots({ folder, options, names }, endpoint.collection);

  const fetchParts = async (ids: readonly string[]): Promise<FetchedPart[]> => {
    const { entries, isSuperseded } = await snapshot();
    const wanted = new Set(ids);
    const found: FetchedPart[] = [];
    for (const entry of entries) {
      if (wanted.size === 0 || !(await index.mayHoldAny(entry, wanted))) continue;
      for await (const { batch } of index.pieces(entry)) {
        const isWanted = (id: string): boolean => wanted.has(id) && isSuperseded?.(entry.file.name, id) !== true;
        const at = batch.ids.flatMap((id, position) => (isWanted(id) ? [position] : []));
        for (const position of at) wanted.delete(batch.ids[position] ?? '');
        if (at.length > 0) found.push({ batch: selectRecords(batch, at), schema: entry.schema });
      }
    }
    return found;
  };

  return {
    async describe() {
      const now = await snapshot();
      return {
        schema: now.schema,
        count: await countRecords(now),
        payloadBytes: await payloadBytes(now),
        notes: [...(await upgradeNotes(folder)), ...notesOf(now), ...(await passedOverNotes(folder))],
      };
    },
    schema: async () => (await snapshot()).schema,
    count: async () => await countRecords(await snapshot()),
    async fetch(ids) {
      const found = await fetchParts(ids);
      const [first] = found;
      if (first === undefined) return noRecords((await snapshot()).schema.vectors);
      const other = found.find(({ schema }) => schema !== first.schema);
      if (other !== undefined)
        throw new SchemaMismatch(`${folder.locate('')} holds records of several schemas, which are not read as one`, {
          ids: [first.batch.ids[0] ?? '', other.batch.ids[0] ?? ''],
        });
      return concatBatches(found.map(({ batch }) => batch));
    },
    fetchParts,
    search: async (request) => {
      const now = await snapshot();
      const distance = now.schema.vectors.find(({ name }) => name === request.vector)?.distance;
      const records = recordsOf(now, index);
      const asked = names === undefined ? request : stableRequest(request, names);
      return await searchExactly(names === undefined ? records : stableRecords(records, asked, names), asked, {
        distance: distance ?? request.distance ?? capabilities.defaultDistance,
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
        if (options.format === 'numpy' && endpoint.connection.path === undefined)
          throw new Incompatible(
            'NumPy matrices are put together on this machine; write format "parquet" to S3, or name a {"path"}',
            { ids: [endpoint.collection] },
          );
        if (isInColumns(options) || options.format === 'numpy') checkColumns(schema, folder.locate(''));
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
      await writeFile(folder, { ...header, options, collection: endpoint.collection }, batch, position, mode);
      return { written: batch.count };
    },
    delete: async (ids) => {
      throw new Incompatible(
        `records cannot be deleted from ${folder.locate('')}: the files store writes whole files; write to a store that deletes by id`,
        { ids },
      );
    },
    buildIndex: async () => {
      const header = await readHeader(folder);
      if (header?.files === 'numpy') await assemble(folder, header.schema);
    },
    indexProgress: async () => {
      if ((await readHeader(folder))?.files !== 'numpy') return { done: true, fraction: 1 };
      const done = await isAssembled(folder);
      return done ? { done, fraction: 1 } : { done, detail: 'matrices to be put together', isStalled: true };
    },
    drop: async ({ dryRun = false } = {}) => {
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
  const arrays = await numpyFiles(folder);
  const own = [...(await folder.under('')).filter(({ key }) => arrays.includes(key)), ...(await writtenHere(folder))];
  const ownData = new Set(own.map(({ key }) => key));
  const foreign = all.filter(({ key }) => !ownData.has(key));
  if (!dryRun) for (const { key } of [...own, { key: headerName }]) await folder.delete(key);
  const left = foreign.length === 0 ? '' : `; the ${plural(foreign.length, 'file')} that others put there stay`;
  const bytes = own.reduce((sum, { size }) => sum + size, 0);
  return { name, what: `${plural(own.length + 1, 'file')} in ${where}${left}`, isThere: true, bytes };
}

/** A search by stable names: files may hold what it asks for under any. */
function stableRequest(request: SearchRequest, names: Names): SearchRequest {
  const filter = request.filter?.map((each) => ({ ...each, field: stableName(names, 'fields', each.field) }));
  return { ...request, vector: stableName(names, 'vectors', request.vector), ...(filter && { filter }) };
}

async function* stableRecords(
  batches: AsyncIterable<Batch>,
  { vector, filter = [] }: SearchRequest,
  names: Names,
): AsyncGenerator<Batch> {
  const hasOldFields = filter.length > 0 && Object.keys(names.fields).length > 0;
  for await (const batch of batches) {
    const own = namesOf(names, 'vectors', vector).find((each) => batch.vectors.has(each));
    if (own === undefined) continue;
    const payloads = hasOldFields ? batch.payloads.map((payload) => stablePayload(payload, names)) : batch.payloads;
    yield { ...batch, payloads, vectors: new Map([[vector, column(batch, own)]]) };
  }
}

async function writeFile(
  folder: Folder,
  {
    files: format,
    schema,
    collection,
    options,
  }: Header & { readonly collection: string; readonly options: FilesOptions },
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
  const isPart = format === 'numpy';
  const name = isPart ? partsPrefix + fileNameOf(position, 'parquet') : fileNameOf(position, format);
  if (format === 'jsonl') return await folder.put(name, writeJsonLines(batch, schema), 'application/jsonl');
  if (format === 'arrow')
    return await folder.put(name, columnsArrow(batch, schema, options.lists), 'application/vnd.apache.arrow.file');
  if (format === 'parquet' && isInColumns(options))
    return await folder.put(name, columnsParquet(batch, schema, options.lists), 'application/vnd.apache.parquet');
  const { run, shard } = position;
  const bytes = await encodeShard(batch, {
    run,
    shard,
    range: { from: null, to: null },
    rest: null,
    schema,
    collection,
  });
  await folder.put(name, bytes, 'application/vnd.apache.parquet');
}

const isInColumns = ({ format, layout }: FilesOptions): boolean => format === 'arrow' || layout === 'columns';

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
