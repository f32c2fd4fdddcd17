import { z } from 'zod';
import { Incompatible, ShardDamaged } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { type Distance, distanceSchema, type Precision, type VectorIndex } from '../../schema.ts';
import type { Session } from './connect.ts';
import { quoteName } from './names.ts';

/** What a table is made of, as PostgreSQL's catalogs say: its key, vectors, other columns and indexes. */

const columnSchema = z.object({
  name: z.string(),
  /** With its modifier, `numeric(12,4)`: what the same column is declared as. */
  native: z.string(),
  /** Without it, `numeric`: what a text is cast to for comparing, since a modifier would cut it. */
  type: z.string(),
  /** The type's own name, `int8`. */
  base: z.string(),
  /** Type modifier: a vector's dimension, a numeric's precision; -1 for none. */
  modifier: z.number(),
  isArray: z.boolean(),
  notNull: z.boolean(),
  isGenerated: z.boolean(),
  /** False where the column's collation calls texts equal that differ. */
  isDeterministic: z.boolean(),
  default: z.string().nullable(),
  comment: z.string().nullable(),
});
export type Column = z.infer<typeof columnSchema>;

const indexSchema = z.object({
  name: z.string(),
  method: z.string(),
  isUnique: z.boolean(),
  isPrimary: z.boolean(),
  isValid: z.boolean(),
  /** False for partial, expression and deferrable ones: they do not make a key. */
  isPlain: z.boolean(),
  columns: z.array(z.string()),
  /** First key column, or expression. */
  subject: z.string(),
  opclass: z.string(),
  options: z.array(z.string()).nullable(),
  definition: z.string(),
});
export type TableIndex = z.infer<typeof indexSchema>;

/** What prepare writes as a column's comment, after `vecferry `. */
const markSchema = z.object({
  /** The whole payload is in this jsonb column. */
  payload: z.literal(true).optional(),
  /** The vector's own name, where the column could not have it. */
  vector: z.string().optional(),
  /** Known before there is an index that says so. */
  distance: distanceSchema.optional(),
});
export type ColumnMark = z.infer<typeof markSchema>;
const markPrefix = 'vecferry ';

export const markText = (mark: ColumnMark): string => markPrefix + JSON.stringify(mark);

export interface VectorField {
  /** The vector's name in batches. */
  readonly name: string;
  readonly column: Column;
  readonly form: VectorForm;
  /** undefined: declared without one, and no row tells. */
  readonly dimension: number | undefined;
  readonly distance: Distance | undefined;
  readonly index: VectorIndex;
  /** True: read as if no row had it. */
  readonly isHidden?: boolean;
}
/** The last two are arrays, which stand for a vector where a run in place says so: they need no extension. */
export type VectorForm = 'vector' | 'halfvec' | 'sparsevec' | 'float4[]' | 'float8[]';

export interface Layout {
  readonly oid: string;
  readonly schema: string;
  readonly table: string;
  readonly key: readonly Column[];
  readonly vectors: readonly VectorField[];
  /** The column that holds whole payloads; then there are no fields. */
  readonly payload: Column | undefined;
  readonly fields: readonly Column[];
  /** All but the key's. */
  readonly indexes: readonly TableIndex[];
  /** SQL: only the rows that meet it are ranged over and read. */
  readonly filter?: string;
}

/** pgvector's largest sparse dimension (SPARSEVEC_MAX_DIM, src/sparsevec.h): stands for one that nobody fixed. */
export const maxSparseDimension = 1_000_000_000;

export const vectorForms: Readonly<Record<VectorForm, { kind: 'dense' | 'sparse'; precision: Precision }>> = {
  vector: { kind: 'dense', precision: 'float32' },
  halfvec: { kind: 'dense', precision: 'float16' },
  sparsevec: { kind: 'sparse', precision: 'float32' },
  'float4[]': { kind: 'dense', precision: 'float32' },
  'float8[]': { kind: 'dense', precision: 'float32' },
};

/**
 * Operator, and the part of the operator class's name, of each distance (pgvector README, "Querying" and "Indexing").
 */
export const distanceOperators: Readonly<Record<Distance, { operator: string; opclass: string }>> = {
  cosine: { operator: '<=>', opclass: 'cosine' },
  dot: { operator: '<#>', opclass: 'ip' },
  euclid: { operator: '<->', opclass: 'l2' },
  manhattan: { operator: '<+>', opclass: 'l1' },
};

/** @throws Incompatible when nothing identifies a row. */
export async function readLayout(session: Session, oid: string, wantedKey?: readonly string[]): Promise<Layout> {
  const [table] = await session.rows(
    'SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid',
    [oid],
  );
  const columns = await jsonRows(session, columnsQuery, oid, columnSchema);
  const found = await jsonRows(session, indexesQuery, oid, indexSchema);
  // Somebody dropped it while this was read: pg_get_indexdef knows it no more.
  const indexes = found.filter(({ definition }) => definition !== '');
  const name = table?.['name'] ?? '';
  const { key, index: keyIndex } = findKey(name, columns, indexes, wantedKey);
  const others = columns.filter((column) => !key.includes(column));
  const payload = others.find((column) => column.base === 'jsonb' && markOf(column).payload === true);
  const isVector = (column: Column): boolean => formOf(column) !== undefined;
  const vectors: VectorField[] = [];
  for (const column of others.filter(isVector)) {
    const dimension = await dimensionOf(session, oid, column);
    const field = vectorField(column, dimension, indexes);
    if (field !== undefined) vectors.push(field);
  }
  return {
    oid,
    schema: table?.['schema'] ?? '',
    table: name,
    key,
    vectors,
    payload,
    fields: others.filter((column) => !isVector(column) && column !== payload),
    indexes: indexes.filter((index) => index !== keyIndex && !index.isPrimary),
  };
}

export function markOf(column: Pick<Column, 'comment'>): ColumnMark {
  if (column.comment?.startsWith(markPrefix) !== true) return {};
  try {
    return markSchema.parse(JSON.parse(column.comment.slice(markPrefix.length)));
  } catch {
    // Someone else's comment that begins with our name.
    return {};
  }
}

function formOf(column: Column): VectorForm | undefined {
  return column.base === 'vector' || column.base === 'halfvec' || column.base === 'sparsevec' ? column.base : undefined;
}

function vectorField(
  column: Column,
  dimension: number | undefined,
  indexes: readonly TableIndex[],
): VectorField | undefined {
  const form = formOf(column);
  if (form === undefined) return undefined;
  const mark = markOf(column);
  const usable = indexes
    .filter((each) => isVectorIndex(each) && each.columns[0] === column.name)
    .map((index) => ({ index, distance: distanceOf(index, form) }));
  const chosen = usable.find((each) => each.distance === mark.distance) ?? usable[0];
  const distance = chosen?.distance ?? mark.distance;
  return { name: mark.vector ?? column.name, column, form, dimension, distance, index: indexOf(chosen?.index) };
}

/** One that serves every search of a vector column: valid, and not of some rows only. */
export const isVectorIndex = ({ method, isValid, isPlain }: TableIndex): boolean =>
  (method === 'hnsw' || method === 'ivfflat') && isValid && isPlain;

const distanceOf = ({ opclass }: TableIndex, form: VectorForm): Distance | undefined =>
  distanceOfOpclass(opclass, form);

export function distanceOfOpclass(opclass: string, form: VectorForm): Distance | undefined {
  const found = Object.entries(distanceOperators).find((each) => opclass === `${form}_${each[1].opclass}_ops`);
  return distanceSchema.safeParse(found?.[0]).data;
}

/** An index by its settings that were said; those left out are pgvector's defaults. */
export function indexOf(
  index: { readonly method: string; readonly options: readonly string[] | null } | undefined,
): VectorIndex {
  if (index === undefined) return { kind: 'none' };
  const options = new Map(
    (index.options ?? []).map((option): [string, number] => [
      option.replace(/=.*/, ''),
      Number(option.replace(/^.*=/, '')),
    ]),
  );
  const setting = <const Name extends string>(name: Name, option: string): Partial<Record<Name, number>> | object => {
    const value = options.get(option);
    return value === undefined ? {} : { [name]: value };
  };
  if (index.method === 'ivfflat') return { kind: 'ivfflat', ...setting('lists', 'lists') };
  return { kind: 'hnsw', ...setting('m', 'm'), ...setting('efConstruction', 'ef_construction') };
}

function findKey(
  table: string,
  columns: readonly Column[],
  indexes: readonly TableIndex[],
  wanted: readonly string[] | undefined,
): { key: readonly Column[]; index: TableIndex } {
  const named = (index: TableIndex): Column[] =>
    index.columns.flatMap((name) => columns.find((column) => column.name === name) ?? []);
  const isKey = (index: TableIndex): boolean =>
    index.isUnique && index.isPlain && index.isValid && named(index).every(({ notNull }) => notNull);
  // The narrowest first.
  const candidates = indexes.filter(isKey).sort((a, b) => a.columns.length - b.columns.length);
  const same = (index: TableIndex): boolean =>
    wanted === undefined || JSON.stringify(index.columns) === JSON.stringify(wanted);
  const chosen = candidates.find((index) => index.isPrimary && same(index)) ?? candidates.find(same);
  if (chosen !== undefined) return { key: named(chosen), index: chosen };
  const choices = candidates.map((index) => JSON.stringify(index.columns)).join(', ');
  const wish = wanted === undefined ? 'no primary key' : `no unique key of columns ${JSON.stringify(wanted)}`;
  const advice =
    choices === ''
      ? 'add a primary key, or a unique index on columns that are NOT NULL'
      : `options.key can be ${choices}`;
  throw new Incompatible(`table ${quoteName(table)} has ${wish}, so nothing identifies a record; ${advice}`, {
    ids: columns.filter(({ notNull }) => notNull).map(({ name }) => name),
  });
}

/** @throws Incompatible when an undeclared column holds vectors of several dimensions. */
async function dimensionOf(session: Session, oid: string, column: Column): Promise<number | undefined> {
  if (column.base === 'sparsevec' && column.modifier === maxSparseDimension) return undefined;
  if (column.modifier > 0) return column.modifier;
  const measure =
    column.base === 'sparsevec'
      ? `split_part(${quoteName(column.name)}::text, '/', 2)`
      : `vector_dims(${quoteName(column.name)})`;
  const found = await session.rows(
    `SELECT DISTINCT ${measure}::text AS dimension FROM ${await relationOf(session, oid)} WHERE ${quoteName(column.name)} IS NOT NULL LIMIT 3`,
  );
  if (found.length > 1) {
    const dimensions = found.map((row) => row['dimension']).join(', ');
    throw new Incompatible(
      `column ${quoteName(column.name)} holds vectors of several dimensions (${dimensions}); a collection has one: split the table by dimension`,
      { ids: [column.name] },
    );
  }
  const dimension = found[0]?.['dimension'];
  return dimension === undefined ? undefined : Number(dimension);
}

async function relationOf(session: Session, oid: string): Promise<string> {
  const [row] = await session.rows('SELECT $1::oid::regclass::text AS name', [oid]);
  return row?.['name'] ?? '';
}

/** Rows as one JSON text a row: the same from every client. */
async function jsonRows<T>(session: Session, sql: string, oid: string, schema: z.ZodType<T>): Promise<T[]> {
  const rows = await session.rows(`SELECT row_to_json(answer)::text AS json FROM (${sql}) answer`, [oid]);
  return rows.map((row) =>
    parseAs(schema, JSON.parse(row['json'] ?? 'null'), "an answer of PostgreSQL's catalog", ShardDamaged),
  );
}

const columnsQuery = `
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS native, format_type(a.atttypid, -1) AS type,
  t.typname AS base, a.atttypmod AS modifier, t.typcategory = 'A' AS "isArray", a.attnotnull AS "notNull",
  a.attgenerated <> '' AS "isGenerated",
  coalesce((SELECT collisdeterministic FROM pg_collation WHERE oid = a.attcollation), true) AS "isDeterministic",
  CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS "default",
  col_description(a.attrelid, a.attnum) AS comment
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`;

const indexesQuery = `
SELECT c.relname AS name, m.amname AS method, i.indisunique AS "isUnique", i.indisprimary AS "isPrimary",
  i.indisvalid AS "isValid", i.indpred IS NULL AND i.indexprs IS NULL AND i.indimmediate AS "isPlain",
  ARRAY(SELECT a.attname FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, position)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE k.position <= i.indnkeyatts ORDER BY k.position) AS columns,
  coalesce((SELECT a.attname FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0]),
    pg_get_indexdef(i.indexrelid, 1, true), '') AS subject,
  (SELECT opcname FROM pg_opclass WHERE oid = i.indclass[0]) AS opclass,
  c.reloptions AS options, coalesce(pg_get_indexdef(i.indexrelid), '') AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = $1::oid ORDER BY c.relname`;
