import type { Batch, VectorColumn } from '../../batch.ts';
import { Incompatible, RecordRefused } from '../../errors.ts';
import type { CollectionSchema, IdType, VectorSpec } from '../../schema.ts';
import type { ByteRanges } from '../../shard/parquet-file.ts';
import { joinObject, splitObject, stringOf } from '../json-members.ts';
import type { FilesOptions } from './folder.ts';
import { type FilePiece, fileStart, type Position, type RecordFile } from './format.ts';
import { linesOf } from './lines.ts';
import { floatRows, jsonRows, type NpyArray, openNpy } from './npy.ts';
import { guarded } from './table.ts';
import { zipMembers } from './zip.ts';

/**
 * NumPy: the matrices of a folder or an .npz are vectors of the same records, row by row; lists of as many elements are
 * payload fields. Ids are `ids` (.npy, .txt, .jsonl, or in the .npz), or the id field of metadata.jsonl, or row numbers.
 */

/** One file of the folder: what it is called, and its bytes. */
export interface NumpyPart {
  /** Without its folder: `vectors.npy`. */
  readonly name: string;
  readonly where: string;
  readonly bytes: ByteRanges;
}

export interface NumpyRecords {
  readonly where: string;
  readonly rows: number;
  readonly vectors: readonly NpyArray[];
  readonly fields: readonly NpyArray[];
  readonly ids: IdSource;
  /** A JSON object a row. */
  readonly payload: NumpyPart | undefined;
  /** The member of the payload that is the id, and no part of it. */
  readonly idField: string | undefined;
}

type IdSource =
  | { readonly kind: 'array'; readonly array: NpyArray }
  | { readonly kind: 'lines'; readonly part: NumpyPart }
  | { readonly kind: 'field' }
  | { readonly kind: 'rows' };

/** Rows that are read at a time, in bytes of vectors. */
const pieceBytes = 8 * 1024 * 1024;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const integer = /^(0|-?[1-9][0-9]*)$/;

/** Reads headers alone. @throws RecordRefused naming the file; Incompatible when there is no matrix, or arrays differ in rows */
export async function openNumpy(
  parts: readonly NumpyPart[],
  where: string,
  options: FilesOptions,
): Promise<NumpyRecords> {
  const arrays = (await Promise.all(parts.map(arraysOf))).flat();
  const isIds = ({ name }: NpyArray): boolean => name === 'ids' || name === options.id;
  const ids = arrays.find(isIds);
  const others = arrays.filter((array) => !isIds(array));
  const isVector = ({ name, shape }: NpyArray): boolean =>
    shape.length === 2 && (options.vectors === undefined || options.vectors.includes(name));
  const vectors = others.filter(isVector);
  const [first] = vectors.length > 0 ? vectors : others;
  if (first === undefined || (vectors.length === 0 && options.vectors === undefined))
    throw new Incompatible(`${where} holds no matrix of vectors (rows, dimensions), only lists`, { ids: [where] });
  const empty = vectors.find(({ shape }) => shape[1] === 0);
  if (empty !== undefined)
    throw new Incompatible(
      `${empty.where} is of shape (${empty.shape.join(', ')}): its vectors have no floats; take it away`,
      { ids: [empty.where] },
    );
  const fields = others.filter(({ shape }) => shape.length === 1);
  const odd = [...vectors, ...fields, ...(ids === undefined ? [] : [ids])].find(({ rows }) => rows !== first.rows);
  if (odd !== undefined) {
    const text = `${odd.where} has ${odd.rows} rows, and ${first.where} has ${first.rows}`;
    throw new Incompatible(
      `${text}: arrays of one folder are columns of the same records; put others into a folder of their own`,
      {
        ids: [odd.where],
      },
    );
  }
  if (ids !== undefined && (ids.shape.length !== 1 || ids.kind === 'float' || ids.kind === 'boolean'))
    throw new Incompatible(
      `${ids.where} holds ${ids.kind}s of shape (${ids.shape.join(', ')}), and ids are a list of integers or text`,
      {
        ids: [ids.where],
      },
    );
  const lines = parts.find(({ name }) => name === 'ids.txt' || name === 'ids.jsonl');
  const payload = parts.find(({ name }) => name === 'metadata.jsonl' || name === 'payload.jsonl');
  const isField =
    ids === undefined && lines === undefined && payload !== undefined && (await hasId(payload, options.id));
  const source: IdSource =
    ids !== undefined
      ? { kind: 'array', array: ids }
      : lines !== undefined
        ? { kind: 'lines', part: lines }
        : { kind: isField ? 'field' : 'rows' };
  return { where, rows: first.rows, vectors, fields, ids: source, payload, idField: isField ? options.id : undefined };
}

/** `vectors.npy` stands for a collection's one vector, whatever that is called: a target writes it so. */
export function withVectorName(records: NumpyRecords, { vectors }: CollectionSchema): NumpyRecords {
  const [only, other] = vectors;
  const [array, more] = records.vectors;
  const isOne = only !== undefined && other === undefined && array?.name === 'vectors' && more === undefined;
  return isOne ? { ...records, vectors: [{ ...array, name: only.name }] } : records;
}

async function arraysOf({ name, where, bytes }: NumpyPart): Promise<readonly NpyArray[]> {
  if (name.endsWith('.npy')) return [await openNpy(name.slice(0, -'.npy'.length), bytes, where)];
  if (!name.endsWith('.npz')) return [];
  const members = await guarded({ where, form: 'NumPy' }, () => zipMembers(bytes, where));
  const opened = members.map(async (member) => {
    const array = member.name.replace(/\.npy$/, '');
    const inside = await guarded({ where, form: 'NumPy' }, () => member.open());
    return await openNpy(array, inside, `array '${array}' of ${where}`);
  });
  return await Promise.all(opened);
}

async function hasId({ bytes, where }: NumpyPart, field: string): Promise<boolean> {
  for await (const line of linesOf(bytes, fileStart)) return objectOf(line.text, where, line.at.record).has(field);
  return false;
}

/** What the records are, by the arrays' shapes and the first ids. */
export async function describeNumpy(records: NumpyRecords, options: FilesOptions): Promise<CollectionSchema> {
  return {
    store: 'files',
    idType: options.idType ?? (await idTypeOf(records)),
    key: [],
    vectors: records.vectors.map(
      ({ name, shape }): VectorSpec => ({
        name,
        kind: 'dense',
        dimension: shape[1] ?? 0,
        precision: 'float32',
        ...(options.distance === undefined ? {} : { distance: options.distance }),
      }),
    ),
    payloadIndexes: [],
    native: {},
  };
}

async function idTypeOf({ ids, ...records }: NumpyRecords): Promise<IdType> {
  if (ids.kind === 'rows') return 'integer';
  if (ids.kind === 'array' && ids.array.kind !== 'unicode' && ids.array.kind !== 'bytes') return 'integer';
  const rows = Math.min(1000, records.rows);
  for await (const { batch, isText } of idsFrom({ ids, ...records }, fileStart, rows)) {
    if (!isText) return 'integer';
    return batch.length > 0 && batch.every((id) => uuid.test(id)) ? 'uuid' : 'string';
  }
  return 'string';
}

/** @param firstRow the number of the first row, where ids are row numbers and other files come before */
export function numpyFile(
  name: string,
  open: () => Promise<NumpyRecords>,
  schema: CollectionSchema,
  firstRow: number,
): RecordFile {
  let opened: Promise<NumpyRecords> | undefined;
  const records = (): Promise<NumpyRecords> => {
    opened ??= open();
    return opened;
  };
  const numbered = (ids: readonly string[]): readonly string[] =>
    firstRow === 0 ? ids : ids.map((id) => String(Number(id) + firstRow));
  const finished = (found: NumpyRecords, ids: readonly string[]): readonly string[] => {
    if (found.ids.kind === 'rows') return numbered(ids);
    return schema.idType === 'uuid' ? ids.map((id) => id.toLowerCase()) : ids;
  };
  return {
    name,
    count: async () => (await records()).rows,
    async cuts(every) {
      const { rows, payload } = await records();
      const cuts: Position[] = [];
      if (payload === undefined)
        for (let record = every; record < rows; record += every) cuts.push({ record, byte: 0 });
      else
        for await (const { at } of linesOf(payload.bytes, fileStart))
          if (at.record > 0 && at.record < rows && at.record % every === 0) cuts.push(at);
      return cuts;
    },
    async *read(from) {
      const found = await records();
      const step = stepOf(found);
      const payloads = payloadsFrom(found, from);
      for await (const { batch: ids, start } of idsFrom(found, from, step)) {
        const pieces = await take(payloads, ids.length);
        yield {
          batch: await batchAt(
            found,
            start,
            finished(found, ids),
            pieces.map(({ text }) => text),
          ),
          positionOf: (index) => ({ record: start + index, byte: pieces[index]?.byte ?? 0 }),
        } satisfies FilePiece;
      }
      // Past the last row: a line too many is a row too few.
      if (!(await payloads.next()).done && found.payload !== undefined)
        throw new RecordRefused(
          `${found.payload.where} has more lines than ${found.where} has rows (${found.rows}); write them again`,
          { ids: [found.payload.where] },
        );
    },
    async *ids() {
      const found = await records();
      for await (const { batch } of idsFrom(found, fileStart, 10_000)) yield finished(found, batch);
    },
  };
}

function stepOf({ vectors }: NumpyRecords): number {
  const bytes = vectors.reduce((sum, { shape, width }) => sum + (shape[1] ?? 1) * Math.max(4, width), 0);
  return Math.max(1, Math.min(10_000, Math.floor(pieceBytes / Math.max(1, bytes))));
}

async function batchAt(
  { vectors, fields }: NumpyRecords,
  from: number,
  ids: readonly string[],
  payloads: readonly string[],
): Promise<Batch> {
  const to = from + ids.length;
  const columns = await Promise.all(
    vectors.map(async (array): Promise<[string, VectorColumn]> => {
      const values = await floatRows(array, from, to);
      return [array.name, { kind: 'dense', dimension: array.shape[1] ?? 0, values }];
    }),
  );
  const lists = await Promise.all(fields.map(async (array) => ({ array, values: await jsonRows(array, from, to) })));
  const added = (row: number): [string, string][] =>
    lists.map(({ array, values }) => [array.name, values[row] ?? 'null']);
  const joined = (text: string, row: number): string => {
    const members = splitObject(text);
    const twice = lists.find(({ array }) => members.has(array.name));
    if (twice !== undefined)
      throw new RecordRefused(
        `record '${ids[row]}' has the field '${twice.array.name}' on its line of metadata and in ${twice.array.where}; give one another name`,
        { ids: [ids[row] ?? ''] },
      );
    return joinObject([...members, ...added(row)]);
  };
  return {
    count: ids.length,
    ids,
    vectors: new Map(columns),
    payloads: lists.length === 0 ? payloads : payloads.map(joined),
  };
}

interface IdBatch {
  readonly batch: readonly string[];
  /** Row of the first. */
  readonly start: number;
  /** True where they are strings, not numbers. */
  readonly isText: boolean;
}

async function* idsFrom(records: NumpyRecords, from: Position, step: number): AsyncGenerator<IdBatch> {
  const { ids, rows } = records;
  if (ids.kind === 'lines' || ids.kind === 'field') return yield* idLines(records, from, step);
  for (let start = from.record; start < rows; start += step) {
    const end = Math.min(rows, start + step);
    if (ids.kind === 'rows') {
      yield { batch: Array.from({ length: end - start }, (_, row) => String(start + row)), start, isText: false };
      continue;
    }
    const texts = await jsonRows(ids.array, start, end);
    const isText = texts[0]?.startsWith('"') === true;
    yield { batch: isText ? texts.map(stringOf) : texts, start, isText };
  }
}

/** Ids that stand on lines: of a file of their own, which is read from its start, or of the payload. */
async function* idLines(records: NumpyRecords, from: Position, step: number): AsyncGenerator<IdBatch> {
  const { ids, rows, payload, idField } = records;
  const part = ids.kind === 'lines' ? ids.part : payload;
  if (part === undefined) return;
  let batch: string[] = [];
  let row = ids.kind === 'lines' ? 0 : from.record;
  let isText = true;
  for await (const { text, whole, at } of linesOf(part.bytes, ids.kind === 'lines' ? fileStart : from)) {
    if (at.record !== row || row >= rows) throw uneven(records, part, row);
    row++;
    if (at.record < from.record) continue;
    // An id of text is the line as it is: ' 7' is not '7'.
    const raw = rawId(part.name.endsWith('.txt') ? whole : text, part, at.record, idField);
    isText = raw.startsWith('"');
    batch.push(isText ? stringOf(raw) : raw);
    if (batch.length < step) continue;
    yield { batch, start: row - batch.length, isText };
    batch = [];
  }
  if (row !== rows) throw uneven(records, part, row);
  if (batch.length > 0) yield { batch, start: row - batch.length, isText };
}

/** An id as JSON text. */
function rawId(text: string, { name, where }: NumpyPart, record: number, field: string | undefined): string {
  const line = name.endsWith('.jsonl') ? text : JSON.stringify(text);
  const raw = field === undefined ? line : objectOf(text, where, record).get(field);
  if (raw !== undefined && (raw.startsWith('"') || integer.test(raw))) return raw;
  throw new RecordRefused(`line ${record + 1} of ${where} has no id, which is an integer or a string; mend the file`, {
    ids: [`${where}:${record + 1}`],
  });
}

interface PayloadText {
  readonly text: string;
  readonly byte: number;
}

async function* payloadsFrom(records: NumpyRecords, from: Position): AsyncGenerator<PayloadText> {
  const { payload, rows, idField } = records;
  if (payload === undefined) {
    for (let row = from.record; row < rows; row++) yield { text: '{}', byte: 0 };
    return;
  }
  let row = from.record;
  for await (const { text, at } of linesOf(payload.bytes, from)) {
    if (at.record !== row) throw uneven(records, payload, row);
    row++;
    const members = objectOf(text, payload.where, at.record);
    if (idField === undefined) yield { text, byte: at.byte };
    else yield { text: joinObject([...members].filter(([name]) => name !== idField)), byte: at.byte };
  }
  if (row < rows) throw uneven(records, payload, row);
}

async function take(from: AsyncGenerator<PayloadText>, count: number): Promise<readonly PayloadText[]> {
  const taken: PayloadText[] = [];
  while (taken.length < count) {
    const next = await from.next();
    if (next.done) break;
    taken.push(next.value);
  }
  return taken;
}

function uneven({ where, rows }: NumpyRecords, part: NumpyPart, row: number): RecordRefused {
  return new RecordRefused(
    `${part.where} has no line ${row + 1} for a row of its own, and ${where} has ${rows} rows: a line belongs to each row, in order; write them again`,
    { ids: [part.where] },
  );
}

function objectOf(text: string, where: string, record: number): Map<string, string> {
  try {
    JSON.parse(text);
    return splitObject(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RecordRefused(`line ${record + 1} of ${where} is no JSON object: ${why}; mend the file`, {
      ids: [`${where}:${record + 1}`],
      cause,
    });
  }
}
