import type { Constraint, Node, RangeVar } from 'libpg-query';
import { strings } from './tree.ts';

/** The tables and materialized views that a statement makes. IF NOT EXISTS may make nothing, so it counts for nothing. */
export function relationsMade(node: Node): readonly RangeVar[] {
  if ('CreateStmt' in node && node.CreateStmt.if_not_exists !== true) return listed(node.CreateStmt.relation);
  if ('CreateTableAsStmt' in node && node.CreateTableAsStmt.if_not_exists !== true)
    return listed(node.CreateTableAsStmt.into?.rel);
  if ('SelectStmt' in node) return listed(node.SelectStmt.intoClause?.rel);
  return [];
}

const listed = (relation: RangeVar | undefined): readonly RangeVar[] => (relation === undefined ? [] : [relation]);

/** The column of NOT NULL c, or of CHECK (c IS NOT NULL), which SET NOT NULL takes for a proof since PostgreSQL 12. */
export function notNullColumn({ contype, keys, raw_expr }: Constraint): string | undefined {
  if (contype === 'CONSTR_NOTNULL') return strings(keys)[0];
  if (contype !== 'CONSTR_CHECK' || raw_expr === undefined || !('NullTest' in raw_expr)) return undefined;
  const { nulltesttype, arg } = raw_expr.NullTest;
  return nulltesttype === 'IS_NOT_NULL' && arg !== undefined ? columnOf(arg) : undefined;
}

/** The last name of a reference to a column: `v` of `t.v`. */
export function columnOf(node: Node): string | undefined {
  if (!('ColumnRef' in node)) return undefined;
  const last = node.ColumnRef.fields?.at(-1);
  return last !== undefined && 'String' in last ? last.String.sval : undefined;
}
