import type { CollectionSchema, FieldSpec } from '../../schema.ts';
import { joinObject, splitObject } from '../json-members.ts';
import type { FilePiece, RecordFile } from './format.ts';
import type { Entry } from './index.ts';

/**
 * Folders named `year=2026/lang=de/`, as Hive, Spark, DuckDB and pyarrow write them: what stands in the name is a field of every
 * record below, and of no column. https://duckdb.org/docs/stable/data/partitioning/hive_partitioning
 */

/** Field -> its value as JSON text, of one file. */
type Members = ReadonlyMap<string, string>;

export interface Partitions {
  /** Their fields, in the order in which they are met. */
  readonly fields: readonly FieldSpec[];
  /** Of a file by its name below the folder. */
  of(file: string): Members;
}

/** How Hive writes a null. */
const nullName = '__HIVE_DEFAULT_PARTITION__';
/** What a column of int64 holds, and what no zero, sign or space is lost of. */
const integer = /^(0|-?[1-9]\d{0,17})$/;

/**
 * By the names of all files: a field whose every value is an integer is one, any other is text, whatever else it looks like. So a
 * value keeps every character, and a mapping may cast it.
 */
export function partitionsOf(files: readonly string[]): Partitions {
  const values = new Map<string, Set<string>>();
  for (const file of files)
    for (const [name, value] of namedIn(file)) values.set(name, (values.get(name) ?? new Set()).add(value));
  const isInteger = new Map(
    [...values].map(([name, all]) => [name, [...all].every((value) => value === nullName || integer.test(value))]),
  );
  const json = (name: string, value: string): string => {
    if (value === nullName) return 'null';
    return isInteger.get(name) === true ? value : JSON.stringify(value);
  };
  return {
    fields: [...values].map(([name, all]): FieldSpec => {
      const isAllNull = all.size === 1 && all.has(nullName);
      return { name, type: isInteger.get(name) === true && !isAllNull ? 'integer' : 'text', nullable: true };
    }),
    of: (file) => new Map(namedIn(file).map(([name, value]) => [name, json(name, value)])),
  };
}

function namedIn(file: string): readonly (readonly [string, string])[] {
  return file
    .split('/')
    .slice(0, -1)
    .flatMap((part) => {
      const at = part.indexOf('=');
      return at < 1 ? [] : [[decoded(part.slice(0, at)), decoded(part.slice(at + 1))] as const];
    });
}

/** Writers escape what a path does not hold as URLs do. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A name that somebody wrote by hand, with a % of its own.
    return text;
  }
}

/** The schema with the fields of partitions; a column, a vector or an id of that name is the file's own. */
export function withPartitionFields(
  schema: CollectionSchema,
  { fields }: Partitions,
  members: Members,
  id: string,
): CollectionSchema {
  if (schema.fields === undefined) return schema;
  const added = fields.filter(({ name }) => members.has(name) && !isOwn(schema, name, id));
  return added.length === 0 ? schema : { ...schema, fields: [...schema.fields, ...added] };
}

const isOwn = ({ fields = [], vectors }: CollectionSchema, name: string, id: string): boolean =>
  name === id || [...fields, ...vectors].some((each) => each.name === name);

/** The file with these members in every payload, but for those that it has itself. */
export function withMembers(entry: Entry, members: Members, id: string): Entry {
  const added = [...members].filter(([name]) => !isOwn(entry.schema, name, id));
  if (added.length === 0) return entry;
  const add = (payload: string): string => {
    const own = splitObject(payload);
    return joinObject([...own, ...added.filter(([name]) => !own.has(name))]);
  };
  const { file } = entry;
  const read: RecordFile['read'] = async function* (from) {
    for await (const piece of file.read(from)) {
      const made: FilePiece = { ...piece, batch: { ...piece.batch, payloads: piece.batch.payloads.map(add) } };
      yield made;
    }
  };
  return { ...entry, tag: JSON.stringify([entry.tag, added]), file: { ...file, read } };
}
