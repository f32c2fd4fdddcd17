import type { RecordBatch, Schema } from 'apache-arrow';
import { readFloatLists } from './parquet-floats.ts';
import {
  asStruct,
  columnOf,
  columnsOf,
  encryptedMark,
  inChunk,
  inColumn,
  inElement,
  inFile,
  inGroup,
  integer,
  list,
  pathOf,
  spanOf,
  text,
} from './parquet-meta.ts';
import { type Leaf, leavesOf, memoryOf } from './parquet-pages.ts';
import { parquetSchema, readParquet, releaseMemory } from './parquet-wasm.ts';
import { openWindows, type WindowOptions, type Windows } from './parquet-windows.ts';
import { readThrift, type ThriftStruct, type ThriftValue, writeThrift } from './thrift.ts';

/**
 * Reads a Parquet file of any size, row group by row group. parquet-wasm reads whole files from memory, or a Blob in a way
 * that ends the process when a slice is damaged or gone; so it is handed one row group at a time, as a file of its own.
 */

/** Where a file's bytes come from: a file, an S3 object. */
export interface ByteRanges {
  readonly size: number;
  /** Bytes `from` (inclusive) to `to` (exclusive). */
  range(from: number, to: number): Promise<Uint8Array>;
}

export interface ParquetFile {
  readonly schema: Schema;
  /** Key-value metadata. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Top-level columns of these logical types, which Arrow's types do not tell of. */
  readonly logical: ReadonlyMap<string, keyof typeof logicalTypes>;
  /** Records of each row group. */
  readonly rowGroups: readonly number[];
  /** Bytes of each row group, of its values or unpacked: what reading it takes in memory is some times as much. */
  readonly groupBytes: readonly number[];
  /** The records of a row group as Arrow batches of at most `batchRecords`; all columns or those named. */
  read(rowGroup: number, batchRecords: number, columns?: readonly string[]): Promise<readonly RecordBatch[]>;
  /** The records of a row group of any size from one of them on, in parts of bounded memory. */
  readParts(rowGroup: number, options: WindowOptions): ReturnType<Windows['read']>;
  /** As read, but for these top-level columns: their pages are not looked at, which parquet-wasm does even where it is asked for others. */
  readWithout(rowGroup: number, batchRecords: number, omitted: readonly string[]): Promise<readonly RecordBatch[]>;
  /** A top-level column of lists of `dimension` float32 without a null, at the speed of a copy; undefined when it is none or is stored in another way than ours. */
  readFloatLists(rowGroup: number, column: string, dimension: number): Promise<Float32Array | undefined>;
}

/** Of the union LogicalType. */
const logicalTypes = { uuid: 14, variant: 16 } as const;

const magic = Buffer.from('PAR1');

export interface OpenParquetOptions {
  /** False: columns are of Parquet's own types, whatever Arrow types the writer noted beside them. */
  readonly arrowTypes?: boolean;
  /** Makes another one of the Arrow schema that the writer noted (an encapsulated message): it may have types that its readers lack. */
  readonly arrowSchema?: (message: Buffer) => Buffer;
}

/** @throws whatever arrowSchema does; RangeError when the bytes are no Parquet file, or cut short. */
export async function openParquet(
  { size, range }: ByteRanges,
  { arrowTypes = true, arrowSchema }: OpenParquetOptions = {},
): Promise<ParquetFile> {
  if (size < 12) throw new RangeError(`it has ${size} bytes, and no Parquet file is that short`);
  const tail = Buffer.from(await range(size - 8, size));
  if (tail.toString('latin1', 4) === encryptedMark)
    throw new RangeError('it is encrypted, and only what is not is read');
  if (!tail.subarray(4).equals(magic))
    throw new RangeError('it does not end as a Parquet file: it is cut short, or of another format');
  const length = tail.readUInt32LE(0);
  if (length > size - 12) throw new RangeError('its metadata is longer than the file: it is cut short or altered');
  const footer = readThrift(Buffer.from(await range(size - 8 - length, size - 8)));
  const file = arrowTypes ? withArrowSchema(footer, arrowSchema) : withoutArrowTypes(footer);
  const groups = list(file, inFile.rowGroups).map(asStruct);
  for (const chunk of groups.flatMap((group) => list(group, inGroup.chunks))) {
    if (asStruct(chunk).fields.has(inChunk.crypto))
      throw new RangeError('it has encrypted columns, and only what is not encrypted is read');
  }
  const groupAt = (rowGroup: number): ThriftStruct => {
    const group = groups[rowGroup];
    if (group === undefined) throw new RangeError(`there is no row group ${rowGroup}`);
    return group;
  };
  const placeOf = (rowGroup: number, columns: readonly ThriftStruct[]): ReturnType<typeof spanOf> => {
    const { from, to } = spanOf(columns);
    if (!(from >= 0 && to <= size && from < to)) throw new RangeError(`row group ${rowGroup} lies outside of the file`);
    return { from, to };
  };
  const bytesOf = async (rowGroup: number, columns: readonly ThriftStruct[]): Promise<Uint8Array> => {
    const { from, to } = placeOf(rowGroup, columns);
    return await range(from, to);
  };
  const leaves = leavesOf(list(file, inFile.schema).map(asStruct));
  const windows = new Map<number, Windows>();
  return {
    schema: parquetSchema(assemble([], withGroups(file, [], 0))),
    metadata: metadataOf(file),
    logical: logicalIn(file),
    rowGroups: groups.map((group) => integer(group, inGroup.records)),
    groupBytes: groups.map((group) => bytesIn(group, leaves)),
    read: async (rowGroup, batchRecords, columns) => {
      const group = groupAt(rowGroup);
      const { from } = spanOf(columnsOf(group));
      const bytes = await bytesOf(rowGroup, columnsOf(group));
      const footer = withGroups(file, [moved(group, from - magic.length)], integer(group, inGroup.records));
      const alone = assemble([bytes], footer);
      return readParquet(alone, { batchRecords, ...(columns === undefined ? {} : { columns }) });
    },
    readParts: (rowGroup, options) => {
      const group = groupAt(rowGroup);
      if (integer(group, inGroup.records) > 0) placeOf(rowGroup, columnsOf(group));
      const opened = windows.get(rowGroup) ?? openWindows({ range }, file, group, assemble);
      windows.set(rowGroup, opened);
      return opened.read(options);
    },
    readWithout: async (rowGroup, batchRecords, omitted) => {
      const group = groupAt(rowGroup);
      const kept = list(group, inGroup.chunks)
        .map(asStruct)
        .filter((each) => !omitted.includes(pathOf(columnOf(each))[0] ?? ''));
      const pages: Uint8Array[] = [];
      const chunks: ThriftStruct[] = [];
      let end = magic.length;
      for (const chunk of kept) {
        const bytes = await bytesOf(rowGroup, [columnOf(chunk)]);
        chunks.push(movedChunk(chunk, spanOf([columnOf(chunk)]).from - end));
        pages.push(bytes);
        end += bytes.length;
      }
      const fields = new Map(group.fields);
      fields.delete(inGroup.offset);
      fields.set(inGroup.chunks, { kind: 'list', element: 12, items: chunks });
      const footer = withGroups(
        withoutFields(file, omitted),
        [{ kind: 'struct', fields }],
        integer(group, inGroup.records),
      );
      return readParquet(assemble(pages, footer), { batchRecords });
    },
    readFloatLists: async (rowGroup, name, dimension) => {
      const group = groupAt(rowGroup);
      const column = columnsOf(group).find((each) => pathOf(each)[0] === name);
      if (column === undefined) return undefined;
      const bytes = await bytesOf(rowGroup, [column]);
      const pages = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const records = integer(group, inGroup.records);
      const schema =
        topLevel(file).find(([first]) => first !== undefined && text(first, inElement.name) === name) ?? [];
      return readFloatLists({ schema, column, pages, records, dimension });
    },
  };
}

/**
 * One file of files that hold one row group each and the same columns, in order; those of no records add nothing. This way
 * parquet-wasm, whose memory never shrinks, sees a row group at a time and not the file. The parts are used up.
 */
export function joinRowGroups(parts: readonly Uint8Array[], metadata: ReadonlyMap<string, string>): Uint8Array {
  const groups: ThriftStruct[] = [];
  const pages: Uint8Array[] = [];
  let footer: ThriftStruct | undefined;
  let records = 0;
  let end = magic.length;
  for (const part of parts) {
    const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength);
    footer = readThrift(bytes.subarray(bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8), bytes.length - 8));
    const [group] = list(footer, inFile.rowGroups).map(asStruct);
    if (group === undefined) continue;
    const { from, to } = spanOf(columnsOf(group));
    const fields = new Map(moved(group, from - end).fields);
    if (fields.has(inGroup.ordinal))
      fields.set(inGroup.ordinal, { kind: 'integer', type: 4, value: BigInt(groups.length) });
    groups.push({ kind: 'struct', fields });
    pages.push(bytes.subarray(from, to));
    records += integer(group, inGroup.records);
    end += to - from;
  }
  if (footer === undefined) throw new RangeError('there is no file to join');
  const joined = assemble(pages, withMetadata(withGroups(footer, groups, records), metadata));
  for (const part of parts) releaseMemory(part);
  return joined;
}

function withMetadata(file: ThriftStruct, metadata: ReadonlyMap<string, string>): ThriftStruct {
  const text = (value: string): ThriftValue => ({ kind: 'bytes', type: 8, value: Buffer.from(value) });
  const pairs = [...metadata].map(
    ([key, value]): ThriftStruct => ({
      kind: 'struct',
      fields: new Map([
        [1, text(key)],
        [2, text(value)],
      ]),
    }),
  );
  const there = file.fields.has(inFile.metadata) ? list(file, inFile.metadata) : [];
  const fields = new Map(file.fields);
  fields.set(inFile.metadata, { kind: 'list', element: 12, items: [...there, ...pairs] });
  // Thrift's short form wants ascending field numbers.
  return { kind: 'struct', fields: new Map([...fields].sort(([a], [b]) => a - b)) };
}

function assemble(pages: readonly Uint8Array[], file: ThriftStruct): Buffer {
  const footer = writeThrift(file);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  return Buffer.concat([magic, ...pages, footer, length, magic]);
}

function withGroups(file: ThriftStruct, groups: readonly ThriftStruct[], records: number): ThriftStruct {
  const fields = new Map(file.fields);
  fields.set(inFile.records, { kind: 'integer', type: 6, value: BigInt(records) });
  fields.set(inFile.rowGroups, { kind: 'list', element: 12, items: groups });
  return { kind: 'struct', fields };
}

/** The row group with its pages `by` bytes nearer to the file's start; indexes and filters lie elsewhere and are left out. */
function moved(group: ThriftStruct, by: number): ThriftStruct {
  const chunks = list(group, inGroup.chunks).map((each) => movedChunk(asStruct(each), by));
  const fields = shifted(group, by, [inGroup.offset], []);
  fields.set(inGroup.chunks, { kind: 'list', element: 12, items: chunks });
  return { kind: 'struct', fields };
}

function movedChunk(chunk: ThriftStruct, by: number): ThriftStruct {
  const fields = shifted(chunk, by, [inChunk.offset], inChunk.pageIndexes);
  const offsets = [inColumn.dataPage, inColumn.indexPage, inColumn.dictionaryPage];
  fields.set(inChunk.column, { kind: 'struct', fields: shifted(columnOf(chunk), by, offsets, inColumn.bloomFilter) });
  return { kind: 'struct', fields };
}

/** The file's metadata without these top-level fields, and without the Arrow schema, which would still tell of them. */
function withoutFields(file: ThriftStruct, omitted: readonly string[]): ThriftStruct {
  const [root] = list(file, inFile.schema);
  const parts = topLevel(file).filter(
    ([first]) => first !== undefined && !omitted.includes(text(first, inElement.name)),
  );
  const top = new Map(asStruct(root).fields);
  top.set(inElement.children, { kind: 'integer', type: 5, value: BigInt(parts.length) });
  const fields = new Map(file.fields);
  fields.set(inFile.schema, { kind: 'list', element: 12, items: [{ kind: 'struct', fields: top }, ...parts.flat()] });
  fields.delete(inFile.metadata);
  fields.delete(inFile.columnOrders);
  return { kind: 'struct', fields };
}

const arrowSchemaKey = 'ARROW:schema';

function withArrowSchema(file: ThriftStruct, change: OpenParquetOptions['arrowSchema']): ThriftStruct {
  if (change === undefined || !metadataOf(file).has(arrowSchemaKey)) return file;
  const items = list(file, inFile.metadata).map((item): ThriftValue => {
    const pair = asStruct(item);
    if (text(pair, 1) !== arrowSchemaKey) return pair;
    const value = Buffer.from(change(Buffer.from(text(pair, 2), 'base64')).toString('base64'));
    return { kind: 'struct', fields: new Map([...pair.fields, [2, { kind: 'bytes', type: 8, value }]]) };
  });
  const fields = new Map(file.fields);
  fields.set(inFile.metadata, { kind: 'list', element: 12, items });
  return { kind: 'struct', fields };
}

function logicalIn(file: ThriftStruct): ParquetFile['logical'] {
  const found = new Map<string, keyof typeof logicalTypes>();
  for (const [first] of topLevel(file)) {
    const type = first?.fields.get(inElement.logicalType);
    if (first === undefined || type?.kind !== 'struct') continue;
    if (type.fields.has(logicalTypes.uuid)) found.set(text(first, inElement.name), 'uuid');
    if (type.fields.has(logicalTypes.variant)) found.set(text(first, inElement.name), 'variant');
  }
  return found;
}

function withoutArrowTypes(file: ThriftStruct): ThriftStruct {
  if (!file.fields.has(inFile.metadata)) return file;
  const items = list(file, inFile.metadata).filter((pair) => text(asStruct(pair), 1) !== arrowSchemaKey);
  const fields = new Map(file.fields);
  fields.set(inFile.metadata, { kind: 'list', element: 12, items });
  return { kind: 'struct', fields };
}

function shifted(
  { fields }: ThriftStruct,
  by: number,
  offsets: readonly number[],
  dropped: readonly number[],
): Map<number, ThriftValue> {
  const kept = new Map([...fields].filter(([id]) => !dropped.includes(id)));
  for (const id of offsets) {
    const value = kept.get(id);
    // 0 stands for none, as old writers have it.
    if (value?.kind === 'integer' && value.value > 0n) kept.set(id, { ...value, value: value.value - BigInt(by) });
  }
  return kept;
}

/** The top-level fields of the schema, each with all below it, depth first. */
function topLevel(file: ThriftStruct): readonly (readonly ThriftStruct[])[] {
  const elements = list(file, inFile.schema).map(asStruct);
  const endOf = (at: number): number => {
    const element = elements[at];
    if (element === undefined) throw new RangeError('its schema ends early');
    let end = at + 1;
    const children = element.fields.has(inElement.children) ? integer(element, inElement.children) : 0;
    for (let i = 0; i < children; i++) end = endOf(end);
    return end;
  };
  const fields: (readonly ThriftStruct[])[] = [];
  for (let at = 1; at < elements.length; at = endOf(at)) fields.push(elements.slice(at, endOf(at)));
  return fields;
}

/** The group's own number, or what its columns say together: some writers count the one as it lies in the file, or leave it 0. */
function bytesIn(group: ThriftStruct, leaves: readonly Leaf[]): number {
  const columns = columnsOf(group).reduce((sum, column, at) => {
    const leaf = leaves[at];
    return sum + (leaf === undefined ? integer(column, inColumn.unpackedBytes) : memoryOf(leaf, column));
  }, 0);
  return Math.max(integer(group, inGroup.bytes), columns);
}

function metadataOf(file: ThriftStruct): ReadonlyMap<string, string> {
  if (!file.fields.has(inFile.metadata)) return new Map();
  return new Map(list(file, inFile.metadata).map((pair) => [text(asStruct(pair), 1), text(asStruct(pair), 2)]));
}
