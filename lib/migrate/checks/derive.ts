import type { AlterTableCmd, ColumnDef, Constraint, CreateStmt, Node, RangeVar, TypeName } from 'libpg-query';
import { quoteName } from '../../stores/pgvector/names.ts';
import type { MigrationFile } from '../port.ts';
import { type ParsedStatement, parseSql } from '../sql/parse.ts';
import { sqlParts } from '../sql/parts.ts';
import { defaultOf, defaultOfNode, type ExpectedDefault } from './defaults.ts';
import { applyRoutine, type Routines } from './derive-routines.ts';

/**
 * What a database has to hold, read from the SQL of the migrations that stand, with PostgreSQL's own parser: what one of them made and
 * none after it dropped or renamed. What a DO block or a function does cannot be read, and is said.
 */

export interface ExpectedColumn {
  /** In the server's words, `character varying(20)`; undefined: the type has to be looked up, or any will do. */
  type: string | undefined;
  nullable: boolean | undefined;
  /** undefined: whatever it is. */
  default: ExpectedDefault | undefined;
  readonly from: string;
}

export interface ExpectedTable {
  readonly columns: Map<string, ExpectedColumn>;
  readonly constraints: Map<string, Made>;
  readonly from: string;
}

interface Made {
  readonly from: string;
  /** JSON of its tree, to see which columns it is about. */
  readonly about: string;
}

export interface Expected {
  /** By quoted name; without a schema where that is public. */
  readonly tables: Map<string, ExpectedTable>;
  readonly views: Map<string, Made>;
  readonly indexes: Map<string, Made & { table: string }>;
  readonly routines: Routines;
  /** Tables that went with their session. */
  readonly temporary: Set<string>;
  /** Statements whose effect is not known, a line each. */
  readonly unread: string[];
}

/** @param files those that stand, in order @throws InvalidEvent where one is no SQL */
export async function deriveExpected(files: readonly MigrationFile[]): Promise<Expected> {
  const expected: Expected = {
    tables: new Map(),
    views: new Map(),
    indexes: new Map(),
    routines: { functions: new Map(), triggers: [] },
    temporary: new Set(),
    unread: [],
  };
  for (const file of files) {
    if (file.kind !== 'sql') continue;
    for (const statement of await parseSql(sqlParts(file.text, file.path).up, file.path)) {
      if (setsSearchPath(statement.node)) {
        expected.unread.push(`${file.name}, line ${statement.line}: what stands after it sets search_path`);
        break;
      }
      apply(expected, statement, file.name);
    }
  }
  return expected;
}

/** Names without a schema mean another one from there on, to the end of the file. */
const setsSearchPath = (node: Node): boolean =>
  'VariableSetStmt' in node &&
  node.VariableSetStmt.name === 'search_path' &&
  node.VariableSetStmt.kind === 'VAR_SET_VALUE';

const nameOf = (schema: string | undefined, name: string): string =>
  schema === undefined || schema === '' || schema === 'public'
    ? quoteName(name)
    : `${quoteName(schema)}.${quoteName(name)}`;
const tableOf = ({ schemaname, relname = '' }: RangeVar): string => nameOf(schemaname, relname);
const schemaOf = (name: string): string | undefined => /^("(?:[^"]|"")+")\./.exec(name)?.[1]?.slice(1, -1);

function apply(expected: Expected, { node, line }: ParsedStatement, from: string): void {
  make(expected, node, from);
  change(expected, node, from);
  applyRoutine(expected.routines, node, from, nameOf);
  if ('DropStmt' in node)
    for (const object of node.DropStmt.objects ?? []) {
      drop(expected, object, node.DropStmt.removeType);
      if (node.DropStmt.behavior === 'DROP_CASCADE') dropWithIt(expected, namesIn(object).at(-1) ?? '');
    }
  if ('DoStmt' in node || 'CallStmt' in node || 'ExecuteStmt' in node) {
    const what = 'DoStmt' in node ? 'its DO block' : 'the procedure';
    expected.unread.push(`${from}, line ${line}: what ${what} made`);
  }
}

function make(expected: Expected, node: Node, from: string): void {
  const { tables, views, indexes } = expected;
  if ('CreateStmt' in node) createTable(expected, node.CreateStmt, from);
  if ('CreateTableAsStmt' in node && node.CreateTableAsStmt.into?.rel !== undefined) {
    const name = tableOf(node.CreateTableAsStmt.into.rel);
    const about = JSON.stringify(node.CreateTableAsStmt.query);
    if (node.CreateTableAsStmt.objtype === 'OBJECT_MATVIEW') views.set(name, { from, about });
    else if (node.CreateTableAsStmt.into.rel.relpersistence === 't') expected.temporary.add(name);
    else tables.set(name, { columns: new Map(), constraints: new Map(), from });
  }
  if ('ViewStmt' in node && node.ViewStmt.view !== undefined && node.ViewStmt.view.relpersistence !== 't')
    views.set(tableOf(node.ViewStmt.view), { from, about: JSON.stringify(node.ViewStmt.query) });
  if ('IndexStmt' in node) {
    const { idxname, relation, indexParams = [], whereClause } = node.IndexStmt;
    if (relation === undefined || idxname === undefined || idxname === '') return;
    const about = JSON.stringify([indexParams, whereClause]);
    indexes.set(nameOf(relation.schemaname, idxname), { from, about, table: tableOf(relation) });
  }
}

function change(expected: Expected, node: Node, from: string): void {
  if ('AlterTableStmt' in node) {
    const { relation, cmds = [], objtype, missing_ok } = node.AlterTableStmt;
    if (relation === undefined || objtype !== 'OBJECT_TABLE') return;
    const name = tableOf(relation);
    const known = expected.tables.get(name);
    // One that was there before the migrations: what they added to it is known, and no more.
    const table = known ?? { columns: new Map(), constraints: new Map(), from };
    for (const cmd of cmds) if ('AlterTableCmd' in cmd) alterTable(expected, name, table, cmd.AlterTableCmd, from);
    const isOurs = table.columns.size + table.constraints.size > 0 && missing_ok !== true;
    if (known === undefined && isOurs && !expected.temporary.has(name)) expected.tables.set(name, table);
  }
  if ('RenameStmt' in node) rename(expected, node.RenameStmt);
  if ('AlterObjectSchemaStmt' in node) {
    const { relation, newschema = '' } = node.AlterObjectSchemaStmt;
    if (relation !== undefined) moveTable(expected, tableOf(relation), nameOf(newschema, relation.relname ?? ''));
  }
}

function drop(expected: Expected, object: Node, kind: string | undefined): void {
  const parts = namesIn(object);
  const name = parts.length > 1 ? nameOf(parts.at(-2), parts.at(-1) ?? '') : nameOf(undefined, parts[0] ?? '');
  if (kind === 'OBJECT_INDEX') expected.indexes.delete(name);
  if (kind === 'OBJECT_VIEW' || kind === 'OBJECT_MATVIEW') expected.views.delete(name);
  if (kind === 'OBJECT_TABLE') dropTable(expected, name);
  if (kind === 'OBJECT_SCHEMA') dropSchema(expected, parts[0]);
}

function dropSchema(expected: Expected, schema: string | undefined): void {
  const { tables, views, routines } = expected;
  for (const table of [...tables.keys()]) if (schemaOf(table) === schema) dropTable(expected, table);
  for (const names of [views, routines.functions])
    for (const each of [...names.keys()]) if (schemaOf(each) === schema) names.delete(each);
}

/** CASCADE: views that read what was dropped, those that read them in turn, and foreign keys to it. */
function dropWithIt(expected: Expected, dropped: string): void {
  const names = ({ about }: Made): boolean => about.includes(`"relname":${JSON.stringify(dropped)}`);
  for (const { constraints } of expected.tables.values())
    for (const [name, made] of constraints) if (names(made)) constraints.delete(name);
  for (const [view, made] of [...expected.views])
    if (names(made) && expected.views.delete(view)) dropWithIt(expected, bareName(view));
}

function createTable(
  { tables, temporary }: Expected,
  { relation, tableElts = [], if_not_exists }: CreateStmt,
  from: string,
): void {
  if (relation === undefined) return;
  if (relation.relpersistence === 't') {
    temporary.add(tableOf(relation));
    return;
  }
  if (if_not_exists === true && tables.has(tableOf(relation))) return;
  const table: ExpectedTable = { columns: new Map(), constraints: new Map(), from };
  tables.set(tableOf(relation), table);
  for (const each of tableElts) {
    if ('ColumnDef' in each) addColumn(table, each.ColumnDef, from);
    if ('Constraint' in each) addConstraint(table, each.Constraint, from);
  }
}

function addColumn(table: ExpectedTable, definition: ColumnDef, from: string): void {
  const { colname = '', typeName, constraints = [] } = definition;
  const kinds = constraints.flatMap((each) => ('Constraint' in each ? (each.Constraint.contype ?? []) : []));
  const isSerial = serials.test(baseOf(typeName));
  const isNotNull =
    isSerial || kinds.some((kind) => ['CONSTR_NOTNULL', 'CONSTR_PRIMARY', 'CONSTR_IDENTITY'].includes(kind));
  const { columns } = table;
  columns.set(colname, { type: typeText(typeName), nullable: !isNotNull, default: defaultOf(definition), from });
  for (const each of constraints) if ('Constraint' in each) addConstraint(table, each.Constraint, from);
}

function addConstraint(table: ExpectedTable, constraint: Constraint, from: string): void {
  if (constraint.conname !== undefined && constraint.conname !== '')
    table.constraints.set(constraint.conname, { from, about: JSON.stringify(constraint) });
  if (constraint.contype === 'CONSTR_PRIMARY')
    for (const key of (constraint.keys ?? []).flatMap(namesIn)) {
      const column = table.columns.get(key);
      if (column !== undefined) column.nullable = false;
    }
}

function alterTable(
  expected: Expected,
  name: string,
  table: ExpectedTable,
  command: AlterTableCmd,
  from: string,
): void {
  const { subtype, name: about = '', def, missing_ok } = command;
  if (def !== undefined && 'ColumnDef' in def && subtype === 'AT_AddColumn') {
    if (missing_ok !== true || !table.columns.has(def.ColumnDef.colname ?? '')) addColumn(table, def.ColumnDef, from);
  }
  if (def !== undefined && 'Constraint' in def && subtype === 'AT_AddConstraint') {
    addConstraint(table, def.Constraint, from);
    adoptIndex(expected, name, table, def.Constraint);
  }
  if (subtype === 'AT_DropConstraint') table.constraints.delete(about);
  if (subtype === 'AT_DropColumn') dropColumn(expected, name, table, command);
  const column = table.columns.get(about);
  if (column !== undefined) alterColumn(column, command);
}

function dropColumn(expected: Expected, name: string, table: ExpectedTable, command: AlterTableCmd): void {
  const { name: about = '', behavior } = command;
  table.columns.delete(about);
  forgetMentions(table.constraints, about);
  for (const [index, made] of expected.indexes)
    if (made.table === name && mentions(made, about)) expected.indexes.delete(index);
  if (behavior !== 'DROP_CASCADE') return;
  for (const [view, made] of expected.views) if (readsColumn(made, name, about)) expected.views.delete(view);
}

/** USING INDEX gives the index the constraint's name, and its columns are the index's. postgresql.org/docs/current/sql-altertable.html */
function adoptIndex({ indexes }: Expected, table: string, { constraints }: ExpectedTable, given: Constraint): void {
  const { indexname = '', conname = '' } = given;
  if (indexname === '' || conname === '') return;
  const index = nameOf(schemaOf(table), indexname);
  const made = indexes.get(index);
  const constraint = constraints.get(conname);
  if (made === undefined || constraint === undefined) return;
  constraints.set(conname, { ...constraint, about: made.about });
  move(indexes, index, nameOf(schemaOf(table), conname));
}

function alterColumn(column: ExpectedColumn, { subtype, def }: AlterTableCmd): void {
  if (subtype === 'AT_SetNotNull') column.nullable = false;
  if (subtype === 'AT_DropNotNull') column.nullable = true;
  if (subtype === 'AT_ColumnDefault') column.default = defaultOfNode(def);
  // Identity and computed columns that come and go.
  if (/Identity|Expression/.test(subtype ?? '')) column.default = undefined;
  if (subtype === 'AT_AlterColumnType' && def !== undefined && 'ColumnDef' in def)
    column.type = typeText(def.ColumnDef.typeName);
}

function rename(
  expected: Expected,
  statement: { renameType?: string; relation?: RangeVar; subname?: string; newname?: string },
): void {
  const { renameType, relation, subname = '', newname = '' } = statement;
  const { tables, views, indexes } = expected;
  if (relation === undefined) return;
  const name = tableOf(relation);
  const renamed = nameOf(relation.schemaname, newname);
  const table = tables.get(name);
  if (renameType === 'OBJECT_TABLE') moveTable(expected, name, renamed);
  else if (renameType === 'OBJECT_COLUMN') move(table?.columns, subname, newname);
  else if (renameType === 'OBJECT_TABCONSTRAINT') move(table?.constraints, subname, newname);
  else if (renameType === 'OBJECT_INDEX') move(indexes, name, renamed);
  else if (renameType === 'OBJECT_VIEW' || renameType === 'OBJECT_MATVIEW') move(views, name, renamed);
}

function move<T>(map: Map<string, T> | undefined, from: string, to: string): void {
  const value = map?.get(from);
  if (value === undefined) return;
  map?.delete(from);
  map?.set(to, value);
}

function moveTable({ tables, indexes, routines }: Expected, from: string, to: string): void {
  move(tables, from, to);
  for (const trigger of routines.triggers) if (trigger.table === from) trigger.table = to;
  for (const [name, made] of [...indexes]) {
    if (made.table !== from) continue;
    made.table = to;
    // An index lies in its table's schema.
    move(indexes, name, nameOf(schemaOf(to), bareName(name)));
  }
}

function dropTable({ tables, indexes, routines }: Expected, table: string): void {
  tables.delete(table);
  routines.triggers = routines.triggers.filter((trigger) => trigger.table !== table);
  for (const [name, made] of indexes) if (made.table === table) indexes.delete(name);
}

const mentions = ({ about }: Made, column: string): boolean =>
  about.includes(`"sval":${JSON.stringify(column)}`) || about.includes(`"name":${JSON.stringify(column)}`);

const bareName = (name: string): string =>
  name
    .slice(name.lastIndexOf('."') + 1)
    .slice(1, -1)
    .replaceAll('""', '"');

const readsColumn = ({ about }: Made, table: string, column: string): boolean =>
  about.includes(`"relname":${JSON.stringify(bareName(table))}`) &&
  (about.includes(`"sval":${JSON.stringify(column)}`) || about.includes('"A_Star"'));

function forgetMentions(constraints: Map<string, Made>, column: string): void {
  for (const [name, made] of constraints) if (mentions(made, column)) constraints.delete(name);
}

function namesIn(node: Node): readonly string[] {
  if ('String' in node) return [node.String.sval ?? ''];
  if ('List' in node) return (node.List.items ?? []).flatMap(namesIn);
  return [];
}

const serials = /^(small|big)?serial[248]?$/;
const baseOf = (type: TypeName | undefined): string => (type?.names ?? []).flatMap(namesIn).at(-1) ?? '';

/** What format_type says for the names that PostgreSQL's grammar knows. postgresql.org/docs/18/datatype.html, table 8.1 */
const formatted: Readonly<Record<string, string>> = {
  int2: 'smallint',
  int4: 'integer',
  int: 'integer',
  int8: 'bigint',
  serial: 'integer',
  serial4: 'integer',
  bigserial: 'bigint',
  serial8: 'bigint',
  smallserial: 'smallint',
  serial2: 'smallint',
  float4: 'real',
  float8: 'double precision',
  bool: 'boolean',
  varchar: 'character varying',
  bpchar: 'character',
  decimal: 'numeric',
  timestamp: 'timestamp without time zone',
  timestamptz: 'timestamp with time zone',
  time: 'time without time zone',
  timetz: 'time with time zone',
  varbit: 'bit varying',
};

/** A type as format_type writes it; undefined where its words are not these (intervals with fields, times with a precision). */
export function typeText(type: TypeName | undefined): string | undefined {
  const base = baseOf(type);
  if (type === undefined || base === '' || type.setof === true || base === 'interval') return undefined;
  const words = formatted[base] ?? base;
  const modifiers = (type.typmods ?? []).map((each) =>
    'A_Const' in each ? (each.A_Const.ival?.ival ?? each.A_Const.sval?.sval) : undefined,
  );
  if (modifiers.includes(undefined) || (modifiers.length > 0 && words.startsWith('time'))) return undefined;
  if (words === 'numeric' && modifiers.length === 1) modifiers.push(0);
  const modified = modifiers.length === 0 ? '' : `(${modifiers.join(',')})`;
  return `${words}${modified}${'[]'.repeat(Math.min(1, (type.arrayBounds ?? []).length))}`;
}
