import { type Field, makeData, RecordBatch, RecordBatchReader, type Schema, Struct } from 'apache-arrow';
import type { ByteRanges } from '../../shard/parquet-file.ts';
import {
  type Dictionaries,
  loadColumns,
  loadDictionary,
  type Message,
  type Shape,
  schemaShapes,
} from './arrow-load.ts';
import { type FlatTable, rootTable } from './flatbuffer.ts';
import type { TableFile, TableSource } from './table.ts';

/**
 * Arrow IPC in its two forms: the file (.arrow, Feather 2), which is the stream between two marks and with an index at its end,
 * and the stream. Messages are found by their headers, and a batch is read when it is wanted.
 * https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
 */

const mark = 'ARROW1';
const kinds = { schema: 1, dictionary: 2, batch: 3 } as const;

interface Place {
  readonly kind: number;
  /** The header's table of its kind. */
  readonly header: FlatTable;
  readonly body: number;
  readonly bodyLength: number;
}

/** A file that others wrote, batch by batch. */
export function arrowTable(bytes: ByteRanges, where: string): TableSource {
  return { where, form: 'Arrow IPC', open: () => openArrow(bytes) };
}

/** @throws RangeError when it is neither form, or was cut short */
async function openArrow(bytes: ByteRanges): Promise<TableFile> {
  const isFile = Buffer.from(await bytes.range(0, Math.min(8, bytes.size))).toString('latin1', 0, 6) === mark;
  const { schema, shapes, places } = isFile ? await scanFile(bytes) : await scanStream(bytes);
  const load = async ({ kind, header, body, bodyLength }: Place): Promise<Message> => {
    const batch = kind === kinds.dictionary ? header.table(1) : header;
    if (batch === undefined) throw new RangeError('a dictionary holds no batch');
    return { batch, body: asBuffer(await bytes.range(body, body + bodyLength)) };
  };
  const batches = places.flatMap(({ kind }, at) => (kind === kinds.batch ? [at] : []));
  return {
    fields: schema.fields,
    metadata: schema.metadata,
    groups: batches.map((at) => places[at]?.header.long(0) ?? 0),
    read: async function* (group) {
      const at = batches[group] ?? -1;
      const place = places[at];
      if (place === undefined) throw new RangeError(`there is no batch ${group}`);
      // A file may have its dictionaries anywhere; in a stream those count that came before.
      const before = places.filter(({ kind }, index) => kind === kinds.dictionary && (isFile || index < at));
      const dictionaries = await loadDictionaries(before, load, schema, shapes);
      const children = loadColumns(await load(place), schema.fields, shapes, dictionaries);
      const type = new Struct(schema.fields);
      const length = place.header.long(0);
      const data = makeData({ type, length, nullCount: 0, children: [...children] });
      yield { batch: new RecordBatch(schema, data), start: 0 };
    },
  };
}

interface Scanned {
  readonly schema: Schema;
  readonly shapes: readonly Shape[];
  readonly places: readonly Place[];
}

/** The index at the file's end says where messages are: what lies between them is the writer's affair. format/File.fbs */
async function scanFile(bytes: ByteRanges): Promise<Scanned> {
  const { size, range } = bytes;
  const tail = Buffer.from(await range(Math.max(0, size - 10), size));
  const length = tail.readInt32LE(0);
  if (tail.toString('latin1', 4) !== mark || length <= 0 || length > size - 18)
    throw new RangeError('it does not end as an Arrow file: it was cut short or altered');
  const footer = Buffer.from(await range(size - 10 - length, size - 10));
  const root = rootTable(footer);
  const shapes = schemaShapes(footer, root.table(1));
  const places: Place[] = [];
  // A block is 24 bytes: where it begins, the length of its header in 32 bits with 32 of padding, the length of its body.
  for (const field of [2, 3]) {
    const blocks = root.longs(field, 3);
    for (let at = 0; at < blocks.length; at += 3) {
      const message = await messageAt(bytes, blocks[at] ?? 0);
      if (message === undefined) throw new RangeError('its index names a message that is not there');
      places.push(message.place);
    }
  }
  // apache-arrow reads dictionaries as it opens a file; of this one it shall see the schema alone.
  for (const field of [2, 3]) {
    const at = root.placeOf(field);
    if (at !== undefined) footer.writeUInt32LE(0, at + footer.readUInt32LE(at));
  }
  const alone = Buffer.concat([Buffer.from(`${mark}\0\0`, 'latin1'), footer, tail]);
  return { schema: RecordBatchReader.from(alone).open().schema, shapes, places };
}

async function scanStream(bytes: ByteRanges): Promise<Scanned> {
  const places: Place[] = [];
  let schema: Buffer | undefined;
  for (let at = 0; ; ) {
    if (at + 4 > bytes.size) {
      if (schema === undefined) throw new RangeError('it is no Arrow IPC file or stream');
      throw new RangeError('it has no end mark: it was cut short, or its writer was not closed');
    }
    const found = await messageAt(bytes, at);
    if (found === undefined) {
      await refuseMore(bytes, at);
      break;
    }
    if (found.place.kind === kinds.schema) schema ??= found.bytes;
    else places.push(found.place);
    at = found.place.body + found.place.bodyLength;
  }
  if (schema === undefined) throw new RangeError('it holds no schema: it is no Arrow IPC file or stream');
  const shapes = schemaShapes(schema, rootTable(schema).table(2));
  return { schema: decodeSchema(schema), shapes, places };
}

/** Streams put one after the other in a file: readers see the first alone. @param end where the end mark begins @throws RangeError */
async function refuseMore({ size, range }: ByteRanges, end: number): Promise<void> {
  const marked = Buffer.from(await range(end, Math.min(size, end + 4)));
  const from = end + (marked.readInt32LE(0) === -1 ? 8 : 4);
  const after = from < size ? await range(from, Math.min(size, from + 64)) : new Uint8Array();
  if (after.some((byte) => byte !== 0))
    throw new RangeError('it goes on after its end mark: put every stream into a file of its own');
}

/** undefined where the stream's end is marked. */
async function messageAt(
  { size, range }: ByteRanges,
  at: number,
): Promise<{ readonly bytes: Buffer; readonly place: Place } | undefined> {
  const start = Buffer.from(await range(at, Math.min(size, at + 8)));
  // Before Arrow 0.15 a message began with its length; since then four bytes of ones come first.
  const isOld = start.readInt32LE(0) !== -1;
  const length = isOld ? start.readInt32LE(0) : start.length < 8 ? -1 : start.readInt32LE(4);
  if (length === 0) return undefined;
  const from = at + (isOld ? 4 : 8);
  if (length < 8 || from + length > size) throw cut();
  const bytes = Buffer.from(await range(from, from + length));
  const message = rootTable(bytes);
  const [kind, header, bodyLength] = [message.byte(1), message.table(2), message.long(3)];
  const body = from + length;
  if (header === undefined || bodyLength < 0 || body + bodyLength > size) throw cut();
  return { bytes, place: { kind, header, body, bodyLength } };
}

/**
 * The Arrow schema that Parquet's writers note beside their columns, an encapsulated message, in types that apache-arrow has: views
 * as plain text and lists. @throws RangeError naming a column whose type is not read
 */
export function plainArrowSchema(message: Buffer): Buffer {
  const bytes = Buffer.from(message);
  const isOld = bytes.length < 8 || bytes.readInt32LE(0) !== -1;
  const header = bytes.subarray(isOld ? 4 : 8);
  schemaShapes(header, rootTable(header).table(2), true);
  return bytes;
}

/** The same bytes, not a copy. */
const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const cut = (): RangeError => new RangeError('it is no Arrow IPC file or stream, or was cut short within a message');

function decodeSchema(message: Buffer): Schema {
  const start = Buffer.alloc(8);
  start.writeInt32LE(-1, 0);
  start.writeInt32LE(message.length, 4);
  const end = Buffer.alloc(8);
  end.writeInt32LE(-1, 0);
  return RecordBatchReader.from(Buffer.concat([start, message, end])).open().schema;
}

async function loadDictionaries(
  places: readonly Place[],
  messages: (place: Place) => Promise<Message>,
  schema: Schema,
  shapes: readonly Shape[],
): Promise<Dictionaries> {
  const dictionaries: Dictionaries = new Map();
  const owners = ownersOf(schema.fields, shapes);
  for (const place of places) {
    const id = place.header.long(0);
    const owner = owners.get(id);
    if (owner === undefined) throw new RangeError(`it has a dictionary ${id} that no column uses`);
    const data = loadDictionary(await messages(place), owner.field, owner.shape, dictionaries);
    const isMore = place.header.byte(2) === 1;
    dictionaries.set(id, isMore ? [...(dictionaries.get(id) ?? []), data] : [data]);
  }
  return dictionaries;
}

interface Owner {
  readonly field: Field;
  readonly shape: Shape;
}

function ownersOf(fields: readonly Field[], shapes: readonly Shape[]): ReadonlyMap<number, Owner> {
  const owners = new Map<number, Owner>();
  for (const [at, field] of fields.entries()) {
    const shape = shapes[at];
    if (shape === undefined) continue;
    if (shape.dictionary !== undefined) owners.set(shape.dictionary, { field, shape });
    for (const [id, owner] of ownersOf(field.type.children ?? [], shape.children)) owners.set(id, owner);
  }
  return owners;
}
