import { z } from 'zod';
import { Incompatible } from '../../errors.ts';
import type { CollectionSchema, FieldSpec, IdType, VectorSpec } from '../../schema.ts';
import {
  type ColumnMark,
  type Layout,
  markText,
  maxSparseDimension,
  readLayout,
  type VectorField,
  vectorForms,
} from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { checkClause, enumProblems, enumType, requireEnums } from './declared.ts';
import { forgetTable, ledgerTable, makeLedger } from './ledger.ts';
import { findTable, maxNameBytes, quoteName, quoteTable, quoteText, requireTable, type TableName } from './names.ts';
import { tableOf } from './read.ts';
import { portableDefault } from './source.ts';
import { nativeOf } from './types.ts';

/** Creates a target: the table with its key, vectors and columns, and the ledger beside it. Indexes come after the load. */

/** @throws Incompatible when the table is there with other vectors or lacks a column, or a type is not in this database. */
export async function prepareTable(
  database: Database,
  name: TableName,
  schema: CollectionSchema,
  key?: readonly string[],
): Promise<void> {
  await database.transact(async (session) => {
    // CREATE ... IF NOT EXISTS of two sessions at once still collides; the lock lasts as long as the transaction.
    await session.rows(`SELECT pg_advisory_xact_lock(hashtext(${quoteText(ledgerTable)}))::text AS locked`);
    await session.run('CREATE EXTENSION IF NOT EXISTS vector');
    if (name.schema !== undefined && !(await hasSchema(session, name.schema)))
      await session.run(`CREATE SCHEMA ${quoteName(name.schema)}`);
    const isThere = (await findTable(session, name)) !== undefined;
    await requireEnums(session, name, schema.fields ?? []);
    if (!isThere) await createTable(session, name, schema);
    const layout = await readLayout(session, await requireTable(session, name), key);
    if (isThere) requireSame(layout, name, schema);
    await makeLedger(session, layout.schema);
    const [row] = await session.rows(`SELECT EXISTS (SELECT FROM ${tableOf(layout)})::text AS filled`);
    if (row?.['filled'] !== 'true') await forgetTable(session, layout.schema, layout.oid);
  });
}

async function hasSchema(session: Session, name: string): Promise<boolean> {
  return (await session.rows('SELECT nspname::text FROM pg_namespace WHERE nspname = $1::text', [name])).length > 0;
}

function requireSame(layout: Layout, table: TableName, schema: CollectionSchema): void {
  const problems = schema.vectors.flatMap((spec) =>
    vectorProblem(
      spec,
      layout.vectors.find(({ name }) => name === spec.name),
    ),
  );
  const wanted = new Set(schema.vectors.map(({ name }) => name));
  for (const { name, column } of layout.vectors) {
    if (!wanted.has(name) && column.notNull) problems.push(`its vector '${name}' is NOT NULL, but the run has none`);
  }
  if (layout.payload === undefined) {
    if (schema.fields === undefined)
      problems.push('it has no column for a whole payload, and the source declares no fields');
    const columns = new Set(layout.fields.map(({ name }) => name));
    for (const { name } of schema.fields ?? []) if (!columns.has(name)) problems.push(`it has no column '${name}'`);
  }
  problems.push(...enumProblems(layout, table, schema.fields ?? []));
  if (problems.length === 0) return;
  throw new Incompatible(
    `table ${tableOf(layout)} is there, but ${problems.join('; ')}; name another table, or change or drop this one`,
    {
      ids: problems,
    },
  );
}

function vectorProblem(spec: VectorSpec, found: VectorField | undefined): string[] {
  if (found === undefined) return [`it has no vector '${spec.name}'`];
  const { kind } = vectorForms[found.form];
  if (kind !== spec.kind) return [`its vector '${spec.name}' is ${kind}, not ${spec.kind}`];
  const isSameSize =
    found.dimension === undefined || spec.dimension === undefined || found.dimension === spec.dimension;
  return isSameSize ? [] : [`its vector '${spec.name}' has ${found.dimension} dimensions, not ${spec.dimension}`];
}

interface NewColumn {
  readonly name: string;
  readonly native: string;
  readonly rest: string;
  readonly mark?: ColumnMark;
}

async function createTable(session: Session, name: TableName, schema: CollectionSchema): Promise<void> {
  const fields = schema.fields ?? [];
  const taken = new Set(fields.map((field) => field.name));
  const defaults = z.record(z.string(), z.string()).safeParse(schema.native['defaults']).data ?? {};
  const column = (spec: FieldSpec): NewColumn => {
    const { name: field, type, native, nullable } = spec;
    const initial = defaults[field];
    const rest = `${initial !== undefined && portableDefault.test(initial) ? ` DEFAULT ${initial}` : ''}${nullable ? '' : ' NOT NULL'}${checkClause(spec)}`;
    const own = spec.enum === undefined ? native : enumType(spec.enum, name);
    return { name: field, native: own ?? nativeOf[type], rest };
  };
  const keys = keyColumns(schema, taken).map((field) => column({ ...field, nullable: false }));
  for (const key of keys) taken.add(key.name);
  const vectors = schema.vectors.map((spec) => vectorColumn(spec, taken));
  const payload: NewColumn[] =
    schema.fields === undefined
      ? [{ name: freeName('payload', taken), native: 'jsonb', rest: " NOT NULL DEFAULT '{}'", mark: { payload: true } }]
      : fields.map(column);
  const columns = [...keys, ...vectors, ...payload];
  for (const each of columns) await requireColumn(session, each);
  const table = quoteTable(name);
  const lines = columns.map(({ name: each, native, rest }) => `${quoteName(each)} ${native}${rest}`);
  await session.run(
    `CREATE TABLE ${table} (${lines.join(', ')}, PRIMARY KEY (${keys.map((key) => quoteName(key.name)).join(', ')}))`,
  );
  for (const { name: each, mark } of columns) {
    if (mark !== undefined)
      await session.run(`COMMENT ON COLUMN ${table}.${quoteName(each)} IS ${quoteText(markText(mark))}`);
  }
}

const keyTypes: Readonly<Record<IdType, FieldSpec['type']>> = {
  integer: 'integer',
  uuid: 'uuid',
  string: 'text',
  mixed: 'text',
  composite: 'text',
};

/** The source's own key columns where it has named ones, else one called id. */
function keyColumns({ key, idType }: CollectionSchema, taken: ReadonlySet<string>): readonly FieldSpec[] {
  const [only] = key;
  if (key.length > 1 || (only !== undefined && !taken.has(only.name))) {
    const isWide = (field: FieldSpec): boolean => field.native === undefined && field.type === 'decimal';
    return key.map((field) => (isWide(field) ? { ...field, native: 'numeric(20,0)' } : field));
  }
  return [{ name: freeName('id', taken), type: keyTypes[idType], nullable: false }];
}

function vectorColumn(
  { name, kind, dimension, distance, precision, nullable }: VectorSpec,
  taken: Set<string>,
): NewColumn {
  if (kind === 'multi' || precision === 'uint8') {
    throw new Incompatible(
      `vector '${name}' is ${kind === 'multi' ? 'a multi-vector' : 'of uint8'}; PostgreSQL holds dense and sparse ones of float32 and float16`,
      {
        ids: [name],
      },
    );
  }
  const column = freeName(name === '' ? 'embedding' : name, taken);
  taken.add(column);
  const form = kind === 'sparse' ? 'sparsevec' : precision === 'float16' ? 'halfvec' : 'vector';
  const size = kind === 'sparse' ? Math.min(dimension ?? maxSparseDimension, maxSparseDimension) : dimension;
  const mark: ColumnMark = {
    ...(column === name ? {} : { vector: name }),
    ...(distance === undefined ? {} : { distance }),
  };
  return {
    name: column,
    native: size === undefined ? form : `${form}(${size})`,
    rest: nullable === false ? ' NOT NULL' : '',
    mark,
  };
}

function freeName(wanted: string, taken: ReadonlySet<string>): string {
  let name = wanted;
  while (taken.has(name)) name += '_';
  return name;
}

/** Checks what goes into DDL as it is: to_regtype parses a type's name and nothing else. */
async function requireColumn(session: Session, { name, native }: NewColumn): Promise<void> {
  if (name === '' || name.includes('\0') || Buffer.byteLength(name) > maxNameBytes) {
    throw new Incompatible(
      `'${name}' cannot be a column: a name has 1 to ${maxNameBytes} bytes; rename or leave it out in the mapping`,
      { ids: [name] },
    );
  }
  const [row] = await session.rows('SELECT to_regtype($1::text)::text AS type', [native]);
  if (row?.['type'] === null || row === undefined) {
    throw new Incompatible(
      `column '${name}' is of type ${native}, which this database does not have; create the type first, or leave the field out with mapping.payload {"${name}": null}`,
      {
        ids: [name, native],
      },
    );
  }
}
