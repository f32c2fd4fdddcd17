import type { Constraint, Node, TypeName } from 'libpg-query';
import { quote } from './names.ts';

/** What stands in the parser's tree, as SQL has it. */

export function constraintsOf(nodes: readonly Node[] | undefined): readonly Constraint[] {
  return (nodes ?? []).flatMap((node) => ('Constraint' in node ? [node.Constraint] : []));
}

export function strings(nodes: readonly Node[] | undefined): readonly string[] {
  return (nodes ?? []).flatMap((node) => ('String' in node ? [node.String.sval ?? ''] : []));
}

/** The parser's own names of types whose SQL has another. */
const sqlNames: Readonly<Record<string, string>> = {
  int2: 'smallint',
  int4: 'integer',
  int8: 'bigint',
  float4: 'real',
  float8: 'double precision',
  bool: 'boolean',
  bpchar: 'char',
};

/** `vector(384)`, `integer`, `s.mood[]`. */
export function typeOf(type: TypeName | undefined): string {
  if (type === undefined) return '';
  const names = strings(type.names);
  const isBuiltIn = names[0] === 'pg_catalog';
  const last = names.at(-1) ?? '';
  // "char" in quotes is a type of one byte; without them it would be char(1).
  const name = isBuiltIn ? (sqlNames[last] ?? last) : last === 'char' ? '"char"' : names.map(quote).join('.');
  // interval's modifier is a mask of fields, not what is written.
  const mods = last === 'interval' ? [] : integers(type.typmods);
  const brackets = '[]'.repeat((type.arrayBounds ?? []).length);
  return `${name}${mods.length === 0 ? '' : `(${mods.join(', ')})`}${brackets}`;
}

export function integers(nodes: readonly Node[] | undefined): readonly number[] {
  return (nodes ?? []).flatMap((node) =>
    'A_Const' in node && node.A_Const.ival !== undefined ? [node.A_Const.ival.ival ?? 0] : [],
  );
}
