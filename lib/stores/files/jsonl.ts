import { type Batch, noRecords, type VectorColumn } from '../../batch.ts';
import { Incompatible, RecordRefused } from '../../errors.ts';
import type { CollectionSchema, IdType, VectorSpec } from '../../schema.ts';
import type { ByteRanges } from '../../shard/parquet-file.ts';
import { joinObject, splitObject, stringOf } from '../json-members.ts';
import type { FilesOptions } from './folder.ts';
import type { FilePiece, Position, RecordFile } from './format.ts';
import { type Line, linesOf } from './lines.ts';
import { packVectors, type RawVector, vectorText } from './vectors.ts';

/**
 * JSON lines. Two forms are read: {"id", "vectors": {…}, "payload": {…}}, which we write, and {"id", vectors and payload
 * fields side by side}. Payload text is cut out, not parsed, so every digit survives.
 */

/** Lines looked at to find out which fields are vectors and what ids are. */
const sampleLines = 1000;
/** Bytes of text that make a batch. */
const pieceBytes = 4 * 1024 * 1024;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const integer = /^(0|-?[1-9][0-9]*)$/;

interface ParsedLine {
  readonly id: string;
  readonly vectors: ReadonlyMap<string, RawVector>;
  readonly payload: string;
}

/** A JSON lines file, read as `schema` says. Every method throws RecordRefused naming file and line for what it cannot read. */
export function jsonLines(
  name: string,
  bytes: ByteRanges,
  where: string,
  schema: CollectionSchema,
  options: FilesOptions,
): RecordFile {
  const parse = (line: Line): ParsedLine => parseLine(line, where, schema, options);
  async function* read(from: Position): AsyncGenerator<FilePiece> {
    let parsed: ParsedLine[] = [];
    let positions: Position[] = [];
    let size = 0;
    const piece = (): FilePiece => {
      const at = positions;
      return { batch: toBatch(parsed, schema), positionOf: (index) => at[index] ?? from };
    };
    for await (const line of linesOf(bytes, from, where)) {
      parsed.push(parse(line));
      positions.push(line.at);
      size += line.text.length;
      if (size < pieceBytes) continue;
      yield piece();
      parsed = [];
      positions = [];
      size = 0;
    }
    if (parsed.length > 0) yield piece();
  }
  const positions = async function* (): AsyncGenerator<Position> {
    for await (const { at } of linesOf(bytes, { record: 0, byte: 0 }, where)) yield at;
  };
  return {
    name,
    count: async () => {
      let count = 0;
      for await (const _ of positions()) count++;
      return count;
    },
    cuts: async (every) => {
      const cuts: Position[] = [];
      let count = 0;
      for await (const at of positions()) if (count++ % every === 0 && count > 1) cuts.push(at);
      return cuts;
    },
    read,
    async *ids() {
      for await (const { batch } of read({ record: 0, byte: 0 })) yield batch.ids;
    },
  };
}

/** The records as JSON lines, in the form that we read. Integer ids stand as numbers, others as strings. */
export function writeJsonLines(batch: Batch, schema: CollectionSchema): string {
  const id = (text: string): string => (schema.idType !== 'string' && integer.test(text) ? text : JSON.stringify(text));
  const lines = batch.ids.map((text, at) => {
    const vectors = [...batch.vectors].map(([name, column]) => [name, vectorText(column, at)] as const);
    return `{"id":${id(text)},"vectors":${joinObject(vectors)},"payload":${batch.payloads[at]?.replace(/[\r\n]/g, ' ')}}\n`;
  });
  return lines.join('');
}

/** What a file of others holds, by its first lines. @throws Incompatible when they have no id; RecordRefused for a broken line. */
export async function describeJsonLines(
  bytes: ByteRanges,
  where: string,
  options: FilesOptions,
): Promise<CollectionSchema> {
  const sample: ReadonlyMap<string, string>[] = [];
  const idKinds = new Set<IdType>();
  for await (const line of linesOf(bytes, { record: 0, byte: 0 }, where)) {
    const { texts: members } = membersOf(line, where);
    const id = members.get(options.id);
    if (id === undefined) {
      const names = [...members.keys()].join(', ');
      throw new Incompatible(
        `${place(where, line)} has no field '${options.id}' for the id; it has ${names}: name one in options {"id": …}`,
        { ids: [where] },
      );
    }
    idKinds.add(idKindOf(id));
    sample.push(members);
    if (sample.length >= sampleLines) break;
  }
  const spec = ({ name, vectors }: { name: string; vectors: readonly RawVector[] }): VectorSpec => ({
    name,
    kind: vectors[0]?.kind ?? 'dense',
    precision: 'float32',
    ...(vectors[0] === undefined || vectors[0].kind === 'sparse' ? {} : { dimension: vectors[0].dimension }),
    ...(options.distance === undefined ? {} : { distance: options.distance }),
  });
  return {
    store: 'files',
    idType: options.idType ?? idTypeOf(idKinds),
    key: [],
    vectors: vectorsIn(sample, options).map(spec),
    payloadIndexes: [],
    native: {},
  };
}

/** Of the form with fields side by side: those that are no vectors, or the members of the one that the options name. */
function payloadOf(
  members: ReadonlyMap<string, string>,
  schema: CollectionSchema,
  options: FilesOptions,
  refusedFor: (what: string) => RecordRefused,
): string {
  const names = new Set([options.id, ...schema.vectors.map(({ name }) => name)]);
  const beside = [...members].filter(([name]) => !names.has(name) && name !== options.payload);
  const given = options.payload === undefined ? undefined : members.get(options.payload);
  if (given === undefined || given === 'null') return joinObject(beside);
  const text = given.startsWith('"') ? stringOf(given) : given;
  const inside = objectIn(text);
  if (inside === undefined) throw refusedFor(`holds no object in '${options.payload}' but ${text.slice(0, 40)}`);
  const twice = beside.find(([name]) => inside.has(name));
  if (twice !== undefined) throw refusedFor(`has the field '${twice[0]}' in '${options.payload}' and beside it`);
  return joinObject([...beside, ...inside]);
}

function objectIn(text: string): ReadonlyMap<string, string> | undefined {
  try {
    JSON.parse(text);
    return splitObject(text);
  } catch {
    return undefined;
  }
}

/** Fields whose values are all vectors of one shape; whole numbers alone are rather a list than a vector. */
function vectorsIn(
  sample: readonly ReadonlyMap<string, string>[],
  options: FilesOptions,
): readonly { name: string; vectors: readonly RawVector[] }[] {
  const isNested = sample.length > 0 && sample.every((members) => members.get('vectors')?.startsWith('{'));
  const objects = isNested ? sample.map((members) => splitObject(members.get('vectors') ?? '{}')) : sample;
  const names = [...new Set(objects.flatMap((members) => [...members.keys()]))];
  const candidates = names.filter(
    (name) => isNested || (options.vectors === undefined ? name !== options.id : options.vectors.includes(name)),
  );
  return candidates.flatMap((name) => {
    const texts = objects.flatMap((members) => members.get(name) ?? []).filter((text) => text !== 'null');
    const vectors = texts.map((text) => parseVector(text));
    const found = vectors.flatMap((vector) => vector ?? []);
    const [first] = found;
    if (first === undefined || found.length < vectors.length) return [];
    const isOneShape = found.every(
      (each) =>
        each.kind === first.kind &&
        (each.kind === 'sparse' || first.kind === 'sparse' || each.dimension === first.dimension),
    );
    const isChosen = isNested || options.vectors !== undefined || texts.some((text) => /[.eE]/.test(text));
    return isOneShape && isChosen ? [{ name, vectors: found }] : [];
  });
}

function parseLine(line: Line, where: string, schema: CollectionSchema, options: FilesOptions): ParsedLine {
  const { texts: members, values } = membersOf(line, where);
  const idText = members.get(options.id);
  if (idText === undefined) throw refused(line, where, `has no field '${options.id}' for the id`);
  const id = idOf(idText, schema.idType, line, where);
  checkId(idText, id, schema.idType, line, where);
  const nested = members.get('vectors');
  const isNested = nested?.startsWith('{') === true && !isSparse(nested, schema);
  const inside = isNested ? entriesOf(values.get('vectors')) : values;
  const vectors = new Map<string, RawVector>();
  for (const { name, kind, dimension = 0 } of schema.vectors) {
    const value = inside.get(name);
    if (value === undefined || value === null) continue;
    const isEmpty = kind === 'multi' && Array.isArray(value) && value.length === 0;
    const vector = isEmpty ? { kind, dimension, values: [] } : vectorIn(value);
    if (vector === undefined)
      throw refused(line, where, `holds no vector in '${name}' but ${JSON.stringify(value).slice(0, 40)}`, id);
    vectors.set(name, vector);
  }
  if (isNested) {
    refuseRest(members, inside, schema, options, (what) => refused(line, where, what, id));
    return { id, vectors, payload: members.get('payload') ?? '{}' };
  }
  return { id, vectors, payload: payloadOf(members, schema, options, (what) => refused(line, where, what, id)) };
}

/** True where `vectors` is no object of vectors, but a sparse vector of that name. */
function isSparse(text: string, { vectors }: CollectionSchema): boolean {
  return vectors.some(({ name, kind }) => name === 'vectors' && kind === 'sparse') && parseVector(text) !== undefined;
}

/** What the nested form has no place for would be lost without a word. */
function refuseRest(
  members: ReadonlyMap<string, string>,
  vectors: ReadonlyMap<string, unknown>,
  schema: CollectionSchema,
  options: FilesOptions,
  refusedFor: (what: string) => RecordRefused,
): void {
  const own = new Set([options.id, 'vectors', 'payload']);
  const beside = [...members.keys()].filter((name) => !own.has(name));
  if (beside.length > 0)
    throw refusedFor(`has '${beside.join("', '")}' beside 'vectors' and 'payload', where fields belong into 'payload'`);
  const known = new Set(schema.vectors.map(({ name }) => name));
  const unknown = [...vectors].find(([name, value]) => value !== null && !known.has(name));
  if (unknown !== undefined)
    throw refusedFor(
      `has a vector '${unknown[0]}', which the collection's first ${sampleLines} lines do not have, or not in one form: put a line that has it first, and give it one kind and length`,
    );
}

function toBatch(lines: readonly ParsedLine[], schema: CollectionSchema): Batch {
  if (lines.length === 0) return noRecords(schema.vectors);
  const ids = lines.map(({ id }) => id);
  const vectors = schema.vectors.map((spec): [string, VectorColumn] => [
    spec.name,
    packVectors(
      spec,
      ids,
      lines.map((line) => line.vectors.get(spec.name)),
    ),
  ]);
  return { count: lines.length, ids, vectors: new Map(vectors), payloads: lines.map(({ payload }) => payload) };
}

/** [floats], [[floats], …] or {"indices": […], "values": […]}; undefined for anything else. */
function parseVector(text: string): RawVector | undefined {
  return text.startsWith('[') || text.startsWith('{') ? vectorIn(JSON.parse(text)) : undefined;
}

/** The same of a value that is parsed already. */
function vectorIn(value: unknown): RawVector | undefined {
  if (isNumbers(value))
    return value.length === 0 ? undefined : { kind: 'dense', dimension: value.length, values: value };
  if (Array.isArray(value)) {
    const rows = value.filter(isNumbers);
    const dimension = rows[0]?.length ?? 0;
    const isEven = rows.length === value.length && dimension > 0 && rows.every((row) => row.length === dimension);
    return isEven ? { kind: 'multi', dimension, values: rows.flat() } : undefined;
  }
  if (typeof value !== 'object' || value === null || !('indices' in value) || !('values' in value)) return undefined;
  const { indices, values } = value;
  if (
    !isNumbers(indices) ||
    !isNumbers(values) ||
    indices.some((each) => each >>> 0 !== each) ||
    indices.length !== values.length
  )
    return undefined;
  return { kind: 'sparse', indices, values };
}

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'number');
}

interface Members {
  /** As the line has them, to the last digit. */
  readonly texts: ReadonlyMap<string, string>;
  /** As JSON.parse has them, which has to see the line in any case: nothing else knows all that is no JSON. */
  readonly values: ReadonlyMap<string, unknown>;
}

const entriesOf = (value: unknown): ReadonlyMap<string, unknown> => new Map(Object.entries(Object(value)));

/** The line's members. @throws RecordRefused when it is no JSON object. */
function membersOf(line: Line, where: string): Members {
  let twice: string | undefined;
  let members: Members;
  try {
    const values = entriesOf(JSON.parse(line.text));
    const texts = splitObject(line.text, (name) => {
      twice = name;
    });
    members = { texts, values };
  } catch (cause) {
    throw refused(line, where, `is no JSON object: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  // A reader that takes the last of both loses one, and nobody is told which of them was meant.
  if (twice !== undefined) throw refused(line, where, `has '${twice}' twice, and one of both would be lost`);
  return members;
}

function idOf(text: string, type: IdType, line: Line, where: string): string {
  if (integer.test(text)) return text;
  if (!text.startsWith('"'))
    throw refused(line, where, `has the id ${text.slice(0, 40)}, and an id is an integer or a string`);
  const id = stringOf(text);
  return (type === 'uuid' || type === 'mixed') && uuid.test(id) ? id.toLowerCase() : id;
}

function idKindOf(text: string): IdType {
  if (!text.startsWith('"')) return 'integer';
  return uuid.test(stringOf(text)) ? 'uuid' : 'string';
}

function idTypeOf(kinds: ReadonlySet<IdType>): IdType {
  if (kinds.has('string') || kinds.size === 0) return 'string';
  if (kinds.size > 1) return 'mixed';
  return kinds.has('integer') ? 'integer' : 'uuid';
}

/** The schema said what ids are, from the first lines; a later line must not say otherwise. */
function checkId(text: string, id: string, type: IdType, line: Line, where: string): void {
  const kind = idKindOf(text);
  const fits = type === 'string' || type === 'composite' || kind === type || (type === 'mixed' && kind !== 'string');
  if (!fits)
    throw refused(
      line,
      where,
      `has the id ${text.slice(0, 40)}, and the ids before are of type ${type}; set options {"idType": "string"}`,
      id,
    );
}

function place(where: string, { at }: Line): string {
  return `line ${at.record + 1} of ${where}`;
}

function refused(line: Line, where: string, what: string, id?: string): RecordRefused {
  return new RecordRefused(`${place(where, line)} ${what}; mend the file or take the line out`, {
    ids: [id ?? `${where}:${line.at.record + 1}`],
  });
}
