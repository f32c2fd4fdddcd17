import type { AlterTableCmd, ColumnDef, Constraint, ConstrType, RangeVar } from 'libpg-query';
import type { ParsedStatement } from '../parse.ts';
import type { Facts } from './facts.ts';
import { nameOf, quote } from './names.ts';
import { constraintsOf, typeOf } from './tree.ts';

/** What a rule says of one statement; the linter adds the file and the line. */
export interface Verdict {
  readonly rule: string;
  readonly level: 'error' | 'warning';
  readonly message: string;
  readonly safeSteps: readonly string[];
  /** Byte offset of the clause that is meant, where it is not the statement's beginning. */
  readonly at?: number | undefined;
}

export interface Linted {
  readonly statement: ParsedStatement;
  /** Where it stands among the up part's statements. */
  readonly index: number;
  readonly statements: readonly ParsedStatement[];
  readonly facts: Facts;
  /** Of the statement at that index: transactional.ts. */
  isTransactional(index: number): boolean;
  /** The server's major version, which decides what the safe steps are. */
  readonly postgres: number;
}

/** One file of lib/migrate/sql/rules holds the rules of one kind of change. */
export type Rule = (linted: Linted) => readonly Verdict[];

/** A command of ALTER TABLE on a table that was there before this file; others have no rows and no readers to be kept waiting. */
export interface TableCommand {
  readonly relation: RangeVar;
  /** As SQL writes it. */
  readonly table: string;
  readonly command: AlterTableCmd;
}

export function tableCommands({ statement: { node }, facts }: Linted): readonly TableCommand[] {
  if (!('AlterTableStmt' in node)) return [];
  const { relation, cmds, objtype } = node.AlterTableStmt;
  if (relation === undefined || objtype !== 'OBJECT_TABLE' || facts.isNew(relation)) return [];
  return (cmds ?? []).flatMap((cmd) =>
    'AlterTableCmd' in cmd ? [{ relation, table: nameOf(relation), command: cmd.AlterTableCmd }] : [],
  );
}

/** A column that ALTER TABLE adds. */
export interface AddedColumn extends TableCommand {
  readonly column: ColumnDef;
  readonly name: string;
  readonly type: string;
  constraint(kind: ConstrType): Constraint | undefined;
}

export function addedColumns(linted: Linted): readonly AddedColumn[] {
  return tableCommands(linted).flatMap((command) => {
    const { subtype, def } = command.command;
    if (subtype !== 'AT_AddColumn' || def === undefined || !('ColumnDef' in def)) return [];
    const column = def.ColumnDef;
    return [
      {
        ...command,
        column,
        name: quote(column.colname ?? ''),
        type: typeOf(column.typeName),
        constraint: (kind) => constraintsOf(column.constraints).find(({ contype }) => contype === kind),
      },
    ];
  });
}

/** A constraint that ALTER TABLE … ADD adds to the table. */
export function addedConstraints(linted: Linted): readonly (TableCommand & { readonly constraint: Constraint })[] {
  return tableCommands(linted).flatMap((command) => {
    const { subtype, def } = command.command;
    if (subtype !== 'AT_AddConstraint' || def === undefined || !('Constraint' in def)) return [];
    return [{ ...command, constraint: def.Constraint }];
  });
}
