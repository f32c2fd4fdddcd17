import { Incompatible, InvalidEvent } from '../../errors.ts';
import type { Distance, VectorIndex } from '../../schema.ts';
import {
  distanceOfOpclass,
  distanceOperators,
  indexOf,
  isVectorIndex,
  type Layout,
  markOf,
  markText,
  type TableIndex,
  type VectorField,
  type VectorForm,
} from '../../stores/pgvector/catalog.ts';
import { indexName, maxIndexedDimensions } from '../../stores/pgvector/index.ts';
import { quoteName, quoteTable, quoteText, type TableName } from '../../stores/pgvector/names.ts';
import { add, type Draft, unvalidatedText } from './draft.ts';
import type { Action } from './plan.ts';
import { indexOfWords } from './port.ts';
import type { Change, VectorWords } from './words.ts';

/** What of a change is done to a table by SQL. */

export interface Table {
  readonly name: TableName;
  /** undefined: the table is made by the same plan. */
  readonly layout: Layout | undefined;
  /** The file's, for messages. */
  readonly path: string;
}

const sqlOf = ({ name, layout }: Table): string =>
  quoteTable(layout === undefined ? name : { schema: layout.schema, table: layout.table });
const actionOf = (table: Table, ...statements: string[]): Action => ({
  do: 'sql',
  collection: table.name.table,
  statements,
});
/** An index is in its table's schema. */
const indexSql = ({ name, layout }: Table, index: string): string =>
  quoteTable({ schema: layout?.schema ?? name.schema, table: index });

/** A build that died leaves an INVALID index of the name behind: it goes first. */
const build = (table: Table, index: string, create: string): Action =>
  actionOf(table, `DROP INDEX CONCURRENTLY IF EXISTS ${indexSql(table, index)}`, create);
const drop = (table: Table, index: string): Action =>
  actionOf(table, `DROP INDEX CONCURRENTLY IF EXISTS ${indexSql(table, index)}`);
/** pg_get_indexdef's, built beside writes. */
const again = (table: Table, { name, definition }: TableIndex): Action =>
  build(table, name, definition.replace(/^CREATE (UNIQUE )?INDEX /, 'CREATE $1INDEX CONCURRENTLY '));

const builtBeside = 'built beside reads and writes';

/**
 * Columns that are not there. @param natives types as the catalog writes them
 * @throws Incompatible for one of another type, or NOT NULL on a table that has records
 */
export function planColumns(
  draft: Draft,
  table: Table,
  change: Change,
  natives: ReadonlyMap<string, string | undefined>,
): void {
  const { layout, path } = table;
  if (layout === undefined) return;
  for (const [field, { type, nullable }] of Object.entries(change.columns ?? {})) {
    const native = natives.get(type);
    if (native === undefined)
      throw new InvalidEvent(`${path}: columns.${field} is of type '${type}', which this database does not have`, {
        ids: [field],
      });
    const there = [...layout.fields, ...layout.key].find((column) => column.name === field);
    if (there !== undefined) {
      if (there.native.replaceAll(' ', '') === native.replaceAll(' ', '')) continue;
      throw new Incompatible(
        `${path}: column '${field}' is ${there.native} instead of ${type}; another type rewrites the table: add a column beside it, fill it, and switch by SQL migrations (vecferry migrate lint)`,
        { ids: [field] },
      );
    }
    if (layout.payload !== undefined)
      throw new Incompatible(
        `${path}: ${sqlOf(table)} keeps payload whole in column '${layout.payload.name}', so a column '${field}' would not be part of it; leave columns out`,
        { ids: [field] },
      );
    if (!nullable)
      throw new Incompatible(
        `${path}: column '${field}' cannot be added NOT NULL to a table that has records; add it nullable, fill it, then set NOT NULL by a SQL migration`,
        { ids: [field] },
      );
    const column = quoteName(field);
    const back = actionOf(table, `ALTER TABLE ${sqlOf(table)} DROP COLUMN IF EXISTS ${column}`);
    add(
      draft,
      actionOf(table, `ALTER TABLE ${sqlOf(table)} ADD COLUMN IF NOT EXISTS ${column} ${native}`),
      [back],
      'views made before do not show it',
    );
  }
}

/** Vectors that are not there as columns without values, and indexes. @throws Incompatible */
export function planVectors(draft: Draft, table: Table, change: Change): void {
  const { layout } = table;
  if (layout === undefined) return;
  for (const [name, words] of Object.entries(change.vectors ?? {})) {
    const field = layout.vectors.find((each) => each.name === name);
    if (field === undefined) {
      planNewVector(draft, table, name, words);
      continue;
    }
    planVectorIndex(draft, table, layout, field, words);
    planMark(draft, table, field, words.distance);
  }
}

/** Another index is built beside the old one, which then goes. */
function planVectorIndex(draft: Draft, table: Table, layout: Layout, field: VectorField, words: VectorWords): void {
  const { form, dimension, column } = field;
  const distance = words.distance ?? field.distance ?? 'cosine';
  const own = layout.indexes.filter((index) => isVectorIndex(index) && index.columns[0] === column.name);
  const distanceOf = (index: TableIndex): Distance | undefined => distanceOfOpclass(index.opclass, form);
  const chosen = own.find((index) => distanceOf(index) === field.distance) ?? own[0];
  const wanted = indexOfWords(words) ?? indexOf(chosen);
  if (wanted.kind !== 'none') {
    if (own.some((index) => distanceOf(index) === distance && isSame(indexOf(index), wanted))) return;
    const name = freeIndexName(layout, column.name, wanted.kind);
    const sql = createSql(table, { column: column.name, form, distance, dimension, index: wanted, name });
    add(draft, build(table, name, sql), [drop(table, name)], builtBeside);
    draft.unvalidated.push(unvalidatedText(table.path, { vector: field.name, to: wanted }));
  }
  if (chosen !== undefined) add(draft, drop(table, chosen.name), [again(table, chosen)], 'the old index');
}

/** A column's comment says its distance where no index does. */
function planMark(draft: Draft, table: Table, { column }: VectorField, distance: Distance | undefined): void {
  const mark = markOf(column);
  if (distance === undefined || distance === mark.distance) return;
  // Somebody's own comment stays: the index says the distance too.
  if (column.comment !== null && Object.keys(mark).length === 0) return;
  const comment = (text: string): Action =>
    actionOf(table, `COMMENT ON COLUMN ${sqlOf(table)}.${quoteName(column.name)} IS ${text}`);
  const back = comment(column.comment === null ? 'NULL' : quoteText(column.comment));
  add(draft, comment(quoteText(markText({ ...mark, distance }))), [back], 'what the vectors are compared by');
}

function planNewVector(draft: Draft, table: Table, name: string, words: VectorWords): void {
  const { size, distance = 'cosine', precision } = words;
  if (size === undefined)
    throw new InvalidEvent(
      `${table.path}: ${sqlOf(table)} has no vector '${name}', and vectors.${name}.size is missing`,
      { ids: [name] },
    );
  const form = precision === 'float16' ? 'halfvec' : 'vector';
  const column = quoteName(name);
  const statements = [
    `ALTER TABLE ${sqlOf(table)} ADD COLUMN IF NOT EXISTS ${column} ${form}(${size})`,
    `COMMENT ON COLUMN ${sqlOf(table)}.${column} IS ${quoteText(markText({ distance }))}`,
  ];
  const back = actionOf(table, `ALTER TABLE ${sqlOf(table)} DROP COLUMN IF EXISTS ${column}`);
  add(
    draft,
    actionOf(table, ...statements),
    [back],
    'records have none of it until it is filled (an event with "into": "place")',
  );
  const index = indexOfWords(words);
  if (index === undefined || index.kind === 'none') return;
  const own = indexName(table.layout?.table ?? table.name.table, name, index.kind);
  const sql = createSql(table, { column: name, form, distance, dimension: size, index, name: own });
  add(draft, build(table, own, sql), [drop(table, own)], builtBeside);
}

/** What pgvector takes where nothing is said: its README, "HNSW", "IVFFlat". */
const defaults = { hnsw: { m: 16, efConstruction: 64 }, ivfflat: { lists: 100 } } as const;

function isSame(there: VectorIndex, wanted: VectorIndex): boolean {
  if (there.kind !== wanted.kind || wanted.kind === 'other' || wanted.kind === 'none')
    return there.kind === wanted.kind;
  const found: Readonly<Record<string, unknown>> = { ...defaults[wanted.kind], ...there };
  // A setting that is not named stays as it is.
  return Object.entries(wanted).every(([key, value]) => found[key] === value);
}

interface NewIndex {
  readonly column: string;
  readonly form: VectorForm;
  readonly distance: Distance;
  readonly dimension: number | undefined;
  readonly index: VectorIndex;
  readonly name: string;
}

function createSql(table: Table, { column, form, distance, dimension = 0, index, name }: NewIndex): string {
  const most = maxIndexedDimensions[form];
  if (dimension > most)
    throw new Incompatible(
      `${table.path}: vector '${column}' has ${dimension} dimensions, and a ${form} is indexed up to ${most}; say "precision: float16", or "index: {kind: none}"`,
      { ids: [column] },
    );
  const settings =
    index.kind === 'hnsw'
      ? { m: index.m, ef_construction: index.efConstruction }
      : index.kind === 'ivfflat'
        ? { lists: index.lists }
        : {};
  const given = Object.entries(settings).flatMap(([key, value]) => (value === undefined ? [] : [`${key} = ${value}`]));
  const options = given.length === 0 ? '' : ` WITH (${given.join(', ')})`;
  const opclass = `${form}_${distanceOperators[distance].opclass}_ops`;
  return `CREATE INDEX CONCURRENTLY ${quoteName(name)} ON ${sqlOf(table)} USING ${index.kind} (${quoteName(column)} ${opclass})${options}`;
}

/** One that no valid index has: what a build that died has left is taken away first. */
function freeIndexName(layout: Layout, column: string, kind: string): string {
  for (let at = 1; ; at++) {
    const name = indexName(layout.table, column, at === 1 ? kind : `${kind}_${at}`);
    if (!layout.indexes.some((index) => index.name === name && index.isValid)) return name;
  }
}

const methods = ['btree', 'hash', 'gin', 'gist', 'brin'];

/** Indexes of columns, or of fields of the payload column. @throws InvalidEvent @throws Incompatible */
export function planPayloadIndexes(draft: Draft, table: Table, change: Change): void {
  const { layout } = table;
  const tableName = layout?.table ?? table.name.table;
  for (const [field, wanted] of Object.entries(change.payloadIndexes ?? {})) {
    const method = methodOf(table, field, wanted);
    const subject = subjectOf(table, change, field);
    const name = indexName(tableName, field, method);
    const isThere = layout?.indexes.some(
      (index) => index.isValid && (index.name === name || (isOf(index, field) && index.method === method)),
    );
    if (isThere === true) continue;
    const sql = `CREATE INDEX CONCURRENTLY ${quoteName(name)} ON ${sqlOf(table)} USING ${method} (${subject})`;
    add(draft, build(table, name, sql), [drop(table, name)], builtBeside);
  }
  for (const field of change.drop?.payloadIndexes ?? []) {
    const own = new Set(methods.map((method) => indexName(tableName, field, method)));
    for (const index of layout?.indexes ?? [])
      if (own.has(index.name) || isOf(index, field))
        add(draft, drop(table, index.name), [again(table, index)], 'a filter on it may read every row');
  }
}

const isOf = (index: TableIndex, field: string): boolean =>
  index.isPlain && !isVectorIndex(index) && index.columns.join() === field;

function methodOf({ path }: Table, field: string, wanted: unknown): string {
  const given: Readonly<Record<string, unknown>> = typeof wanted === 'string' ? { type: wanted } : Object(wanted);
  const { type, ...others } = given;
  if (typeof type === 'string' && methods.includes(type) && Object.keys(others).length === 0) return type;
  throw new InvalidEvent(
    `${path}: payloadIndexes.${field} is ${JSON.stringify(wanted)}; here it is one of ${methods.join(', ')}, and another index is for a SQL migration`,
    { ids: [field] },
  );
}

/** What is indexed, as SQL. @throws InvalidEvent */
function subjectOf(table: Table, change: Change, field: string): string {
  const { layout, path } = table;
  const isColumn = change.columns?.[field] !== undefined || layout?.fields.some(({ name }) => name === field) === true;
  if (isColumn) return quoteName(field);
  const made = change.columns === undefined ? 'payload' : undefined;
  const payload = layout === undefined ? made : layout.payload?.name;
  if (payload !== undefined) return `(${quoteName(payload)} ->> ${quoteText(field)})`;
  throw new InvalidEvent(`${path}: payloadIndexes.${field} names no column of ${sqlOf(table)}`, { ids: [field] });
}
