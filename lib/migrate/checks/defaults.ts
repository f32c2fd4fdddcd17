import type { ColumnDef, Node } from 'libpg-query';
import { quoteText } from '../../stores/pgvector/names.ts';
import { parseSql } from '../sql/parse.ts';

/**
 * What a column is when nobody says: as a migration wrote it, held against what the server says, which writes it in its own words
 * (`'pending'::text`). A constant is compared as a value, by the server; of an expression the functions and texts in it are compared.
 */

/** none: the column has no default. A value is as the server's input takes it. */
export type ExpectedDefault =
  | { readonly kind: 'none' }
  | { readonly kind: 'constant'; readonly value: string }
  | ({ readonly kind: 'expression' } & Words)
  | { readonly kind: 'generated' };

interface Words {
  /** Those called, by their last names, sorted. */
  readonly functions: readonly string[];
  readonly texts: readonly string[];
}

const serials = /^(small|big)?serial[248]?$/;

export function defaultOf({ typeName, constraints = [] }: ColumnDef): ExpectedDefault {
  const given = constraints.flatMap((each) => ('Constraint' in each ? [each.Constraint] : []));
  if (given.some(({ contype }) => contype === 'CONSTR_GENERATED' || contype === 'CONSTR_IDENTITY'))
    return { kind: 'generated' };
  const last = (typeName?.names ?? []).at(-1);
  const type = last !== undefined && 'String' in last ? (last.String.sval ?? '') : '';
  if (serials.test(type)) return { kind: 'expression', functions: ['nextval'], texts: [] };
  return defaultOfNode(given.find(({ contype }) => contype === 'CONSTR_DEFAULT')?.raw_expr);
}

/** @param node undefined: DROP DEFAULT */
export function defaultOfNode(node: Node | undefined): ExpectedDefault {
  if (node === undefined) return { kind: 'none' };
  const value = constantOf(node);
  if (value === undefined) return { kind: 'expression', ...wordsIn(node) };
  return value === null ? { kind: 'none' } : { kind: 'constant', value };
}

/** null: NULL, which is no default; undefined: no constant. */
function constantOf(node: Node): string | null | undefined {
  if ('TypeCast' in node) return node.TypeCast.arg === undefined ? undefined : constantOf(node.TypeCast.arg);
  if (!('A_Const' in node)) return undefined;
  const { isnull, ival, fval, boolval, sval, bsval } = node.A_Const;
  if (isnull === true) return null;
  if (boolval !== undefined) return String(boolval.boolval ?? false);
  // The parser leaves zeros and empty texts out.
  if (ival !== undefined) return String(ival.ival ?? 0);
  // b0101, x1F: with the letter, as the input of bit takes them too.
  return sval?.sval ?? fval?.fval ?? bsval?.bsval ?? (sval === undefined ? undefined : '');
}

/** What an expression is made of. */
function wordsIn(node: Node): Words {
  const functions: string[] = [];
  const texts: string[] = [];
  const visit = (each: unknown): void => {
    if (typeof each !== 'object' || each === null) return;
    const { FuncCall, SQLValueFunction, TypeCast, A_Const }: Record<string, unknown> = { ...each };
    if (FuncCall !== undefined) functions.push(lastName(Reflect.get(Object(FuncCall), 'funcname')));
    if (SQLValueFunction !== undefined) functions.push(String(Reflect.get(Object(SQLValueFunction), 'op')));
    const text: unknown = Reflect.get(Object(Reflect.get(Object(A_Const), 'sval')), 'sval');
    if (typeof text === 'string') texts.push(text);
    // The server writes the text of another type anew: '24:00:00' of an interval.
    const type = lastName(Reflect.get(Object(Reflect.get(Object(TypeCast), 'typeName')), 'names'));
    const arg: unknown = Reflect.get(Object(TypeCast), 'arg');
    const isConstant = typeof arg === 'object' && arg !== null && 'A_Const' in arg;
    if (TypeCast === undefined) Object.values(each).forEach(visit);
    else if (!isConstant || type === 'text' || type === 'varchar') visit(arg);
  };
  visit(node);
  return { functions: functions.sort(), texts };
}

function lastName(names: unknown): string {
  const last: unknown = Array.isArray(names) ? names.at(-1) : undefined;
  return String(Reflect.get(Object(Reflect.get(Object(last), 'String')), 'sval') ?? '');
}

/** As the server writes it, `'pending'::text`; of a varchar(20) also `NULL::character varying`, which is none. */
export async function readDefault(written: string): Promise<ExpectedDefault> {
  const [statement] = await parseSql(`SELECT ${written}`, 'a default of the server');
  const select = statement !== undefined && 'SelectStmt' in statement.node ? statement.node.SelectStmt : undefined;
  const [target] = select?.targetList ?? [];
  return defaultOfNode(target !== undefined && 'ResTarget' in target ? target.ResTarget.val : undefined);
}

/**
 * Whether a default of the server is what a migration wrote.
 * @returns SQL with a text column `same`, 't' or 'f', where the server has to say whether two constants are one value of the type
 */
export function compareDefault(expected: ExpectedDefault, there: ExpectedDefault, type: string): boolean | string {
  if (expected.kind === 'expression' && there.kind === 'expression')
    // A text that a migration gave to a function may be of another type by now: nextval('numbers'::regclass).
    return (
      expected.functions.join() === there.functions.join() && there.texts.every((each) => expected.texts.includes(each))
    );
  if (expected.kind !== 'constant' || there.kind !== 'constant') return false;
  if (expected.value === there.value) return true;
  const asText = (value: string): string => `(${quoteText(value)}::${type})::text`;
  return `SELECT (${asText(expected.value)} = ${asText(there.value)})::text AS same`;
}
