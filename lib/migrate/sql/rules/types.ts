import type { Node } from 'libpg-query';
import { madeName, quote } from './names.ts';
import { type Rule, type TableCommand, tableCommands, type Verdict } from './rule.ts';
import { twinSteps } from './steps.ts';
import { typeOf } from './tree.ts';

/** Columns whose type changes. */

/** pgvector's types, whose modifier is the number of dimensions. */
const vectorType = /^(?:\w+\.)?(vector|halfvec|sparsevec|bit)\((\d+)\)$/;

/** Types that some others become without a row being written: varchar to text, varchar(10) to varchar(20), numeric(10,2) to numeric. */
const mayStay = /^(text|varchar|character varying|numeric|varbit|timestamptz|timestamp)\b/;

export const changingColumnType: Rule = (linted) =>
  tableCommands(linted).flatMap((command): readonly Verdict[] => {
    const { subtype, name = '', def } = command.command;
    if (subtype !== 'AT_AlterColumnType' || def === undefined || !('ColumnDef' in def)) return [];
    const type = typeOf(def.ColumnDef.typeName);
    const before = linted.facts.typeOf(command.relation, name);
    const at = def.ColumnDef.location;
    const using = def.ColumnDef.raw_default;
    const dims = vectorType.exec(type);
    if (dims !== null && dims[1] !== 'bit') return [{ ...vectorVerdict(command, name, type, before), at }];
    if (using === undefined && staysAsIs(before, type)) return [];
    return [{ ...typeVerdict(command, name, type, before, using), at }];
  });

/**
 * Changes known to leave every row as it is (ALTER TABLE's notes: "binary coercible"; varchar's and numeric's length coercion,
 * varchar_support and numeric_support). undefined type before: not known, so not harmless.
 */
function staysAsIs(before: string | undefined, type: string): boolean {
  if (before === undefined) return false;
  if (before === type) return true;
  const [was, now] = [parts(before), parts(type)];
  if (was.name === 'varchar' && now.name === 'text') return true;
  if (was.name !== now.name || !['varchar', 'varbit', 'numeric'].includes(now.name)) return false;
  const [length, scale] = now.mods;
  if (length === undefined) return true;
  const [lengthBefore, scaleBefore] = was.mods;
  return lengthBefore !== undefined && length >= lengthBefore && (scale ?? 0) === (scaleBefore ?? 0);
}

function parts(type: string): { readonly name: string; readonly mods: readonly number[] } {
  const [name = '', mods = ''] = type.replace(')', '').split('(');
  return { name, mods: mods === '' ? [] : mods.split(',').map(Number) };
}

function typeVerdict(
  { relation, table }: TableCommand,
  name: string,
  type: string,
  before: string | undefined,
  using: Node | undefined,
): Verdict {
  const may = before === undefined && using === undefined && mayStay.test(type);
  const what = `${table}.${quote(name)}${before === undefined ? '' : ` from ${before}`} to ${type}`;
  const message = may
    ? `changing ${what} rewrites the table under a lock that stops reads and writes, unless the type before is a narrower one of the same kind`
    : `changing ${what} rewrites the table and its indexes under a lock that stops reads and writes`;
  const safeSteps = twinSteps(relation, name, `${name}_new`, type);
  return { rule: 'changing-column-type', level: may ? 'warning' : 'error', message, safeSteps };
}

/** pgvector's cast to another number of dimensions fails on the first row ("expected 768 dimensions, not 384"; vector.c, CheckExpectedDim). */
function vectorVerdict(
  { relation, table }: TableCommand,
  name: string,
  type: string,
  before: string | undefined,
): Verdict {
  const column = quote(name);
  const made = quote(`${name}_new`);
  const index = madeName(relation, `${name}_new`, 'idx');
  const from = before === undefined ? '' : `${before} `;
  return {
    rule: 'changing-vector-dimension',
    level: 'error',
    message: `${table}.${column} ${from}to ${type}: vectors of other dimensions cannot be cast, so this fails on the first row, and rewrites the table where it does not. Vectors of another model are computed anew from the texts:`,
    safeSteps: [
      `expand: ALTER TABLE ${table} ADD COLUMN ${made} ${type};`,
      `deploy: a vecferry run with "embed" in place fills ${made} from the texts while the application goes on (docs/in-place.md)`,
      `contract: CREATE INDEX CONCURRENTLY ${index} ON ${table} USING hnsw (${made} <its operator class>);`,
      `deploy: searches read ${made}; recall is compared before: vecferry validate`,
      `contract: ALTER TABLE ${table} DROP COLUMN ${column};`,
    ],
  };
}
