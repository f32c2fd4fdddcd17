import type { AlterTableCmd, AlterTableStmt, Constraint, CreateStmt, Node, RangeVar } from 'libpg-query';
import { notNullColumn, relationsMade } from './made.ts';
import { constraintsOf, typeOf } from './tree.ts';

/**
 * What earlier statements, of this file and of the files before it, say of the tables: the linter asks no server. What it has not
 * seen it takes for a table with rows and readers.
 */
export interface Facts {
  /** True when this file has made the table: nobody reads it yet. */
  isNew(relation: RangeVar): boolean;
  /** True once this file has put rows into it. */
  isFilled(relation: RangeVar): boolean;
  /** True when a file has made it PARTITION BY. */
  isPartitioned(relation: RangeVar): boolean;
  /** The column's type, `vector(384)`; undefined where no file said. */
  typeOf(relation: RangeVar, column: string): string | undefined;
  /** True when a validated constraint of an earlier file says that the column is not null. */
  isProvedNotNull(relation: RangeVar, column: string): boolean;
  /** True when the constraint was added NOT VALID by this very file: its lock is still held. */
  isAddedHere(relation: RangeVar, constraint: string): boolean;
  /** This file has changed a table that was there before: its lock is held until the end. */
  changed(): RangeVar | undefined;
}

interface Table {
  isPartitioned?: boolean;
  readonly columns: Map<string, string>;
  /** Columns that a CHECK (c IS NOT NULL) or NOT NULL c speaks of, by the constraint's name. */
  readonly notNull: Map<string, { readonly column: string; isValidated: boolean }>;
}

/** The first schema of SET search_path, which a name without one means from there on; '' where the statement says none. */
function searchedSchema(node: Node): string | undefined {
  if (!('VariableSetStmt' in node) || node.VariableSetStmt.name !== 'search_path') return undefined;
  const [first] = node.VariableSetStmt.args ?? [];
  return (first !== undefined && 'A_Const' in first ? first.A_Const.sval?.sval : undefined) ?? '';
}

/** The table that a statement gives another name or schema, and what it is called from then on. */
function movedTable(node: Node): { readonly from: RangeVar; readonly to: RangeVar } | undefined {
  if ('RenameStmt' in node && node.RenameStmt.renameType === 'OBJECT_TABLE') {
    const { relation: from, newname } = node.RenameStmt;
    return from === undefined || newname === undefined ? undefined : { from, to: { ...from, relname: newname } };
  }
  if (!('AlterObjectSchemaStmt' in node) || node.AlterObjectSchemaStmt.objectType !== 'OBJECT_TABLE') return undefined;
  const { relation: from, newschema } = node.AlterObjectSchemaStmt;
  return from === undefined || newschema === undefined ? undefined : { from, to: { ...from, schemaname: newschema } };
}

/** `begin` at each file, `learn` after each of its statements. */
export interface Memory extends Facts {
  begin(): void;
  learn(node: Node): void;
}

export function makeMemory(): Memory {
  const tables = new Map<string, Table>();
  let made = new Set<string>();
  let filled = new Set<string>();
  let added = new Set<string>();
  let changed: RangeVar | undefined;
  let schema = '';
  const keyOf = ({ schemaname, relname = '' }: RangeVar): string =>
    JSON.stringify([schemaname ?? (schema === '' ? 'public' : schema), relname]);
  const at = (relation: RangeVar): Table => {
    const key = keyOf(relation);
    const table = tables.get(key) ?? { columns: new Map(), notNull: new Map() };
    tables.set(key, table);
    return table;
  };
  const isNew = (relation: RangeVar): boolean => relation.relpersistence === 't' || made.has(keyOf(relation));

  const learnColumns = (relation: RangeVar, nodes: readonly Node[]): void => {
    for (const node of nodes) {
      if ('ColumnDef' in node) at(relation).columns.set(node.ColumnDef.colname ?? '', typeOf(node.ColumnDef.typeName));
    }
  };

  const learnTable = (relation: RangeVar, { tableElts, partspec }: CreateStmt): void => {
    learnColumns(relation, tableElts ?? []);
    if (partspec !== undefined) at(relation).isPartitioned = true;
  };

  const learnConstraint = (relation: RangeVar, constraint: Constraint): void => {
    const { conname = '', skip_validation = false } = constraint;
    if (skip_validation) added.add(`${keyOf(relation)} ${conname}`);
    const column = notNullColumn(constraint);
    if (column !== undefined) at(relation).notNull.set(conname, { column, isValidated: !skip_validation });
  };

  const learnCommand = (relation: RangeVar, { subtype, name = '', def }: AlterTableCmd): void => {
    const { columns, notNull } = at(relation);
    const known = notNull.get(name);
    if (subtype === 'AT_ValidateConstraint' && known !== undefined) known.isValidated = true;
    if (subtype === 'AT_DropConstraint') notNull.delete(name);
    if (def === undefined) return;
    if (subtype === 'AT_AddColumn') learnColumns(relation, [def]);
    if (subtype === 'AT_AlterColumnType' && 'ColumnDef' in def) columns.set(name, typeOf(def.ColumnDef.typeName));
    if (subtype === 'AT_AddConstraint') for (const one of constraintsOf([def])) learnConstraint(relation, one);
  };

  const learnAlter = ({ relation, cmds }: AlterTableStmt): void => {
    if (relation === undefined) return;
    for (const command of cmds ?? []) if ('AlterTableCmd' in command) learnCommand(relation, command.AlterTableCmd);
    if (!isNew(relation)) changed ??= relation;
  };

  /** What is said of its columns goes along: later files say its new name. */
  const learnMove = (node: Node): void => {
    const moved = movedTable(node);
    if (moved === undefined) return;
    const [from, to] = [keyOf(moved.from), keyOf(moved.to)];
    for (const set of [made, filled]) if (set.delete(from)) set.add(to);
    const known = tables.get(from);
    if (known !== undefined && tables.delete(from)) tables.set(to, known);
  };

  return {
    begin: () => {
      made = new Set();
      filled = new Set();
      added = new Set();
      changed = undefined;
      schema = '';
    },
    learn: (node) => {
      schema = searchedSchema(node) ?? schema;
      learnMove(node);
      for (const relation of relationsMade(node)) made.add(keyOf(relation));
      if ('CreateStmt' in node && node.CreateStmt.relation !== undefined)
        learnTable(node.CreateStmt.relation, node.CreateStmt);
      const target = rowsInto(node);
      if (target !== undefined) filled.add(keyOf(target));
      if ('AlterTableStmt' in node) learnAlter(node.AlterTableStmt);
    },
    isNew,
    isFilled: (relation) => filled.has(keyOf(relation)),
    isPartitioned: (relation) => tables.get(keyOf(relation))?.isPartitioned === true,
    typeOf: (relation, column) => tables.get(keyOf(relation))?.columns.get(column),
    isProvedNotNull: (relation, column) =>
      [...(tables.get(keyOf(relation))?.notNull.values() ?? [])].some(
        (proof) => proof.isValidated && proof.column === column,
      ),
    isAddedHere: (relation, constraint) => added.has(`${keyOf(relation)} ${constraint}`),
    changed: () => changed,
  };
}

function rowsInto(node: Node): RangeVar | undefined {
  if ('InsertStmt' in node) return node.InsertStmt.relation;
  if ('CopyStmt' in node && node.CopyStmt.is_from === true) return node.CopyStmt.relation;
  // CREATE TABLE … AS and SELECT INTO.
  return 'CreateTableAsStmt' in node || 'SelectStmt' in node ? relationsMade(node)[0] : undefined;
}
