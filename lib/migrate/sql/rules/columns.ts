import type { Node } from 'libpg-query';
import { beside, madeName, quote } from './names.ts';
import { type AddedColumn, addedColumns, type Linted, type Rule, tableCommands, type Verdict } from './rule.ts';
import { backfill, notNullSteps } from './steps.ts';

/** Columns that are added, changed or taken away. */

/** Types that fill each row with a value of its own. */
const integerOf: Readonly<Record<string, string>> = {
  smallserial: 'smallint',
  serial2: 'smallint',
  serial: 'integer',
  serial4: 'integer',
  bigserial: 'bigint',
  serial8: 'bigint',
};
const serials = new Set(Object.keys(integerOf));

/**
 * PostgreSQL's and pgcrypto's functions that give each row another value, pg_proc.provolatile 'v'; squawk adds those that it knows no
 * better of. now() is stable: since 11 its value is stored once and no row is rewritten.
 */
const volatile = new Set(
  `random random_normal gen_random_uuid uuidv4 uuidv7 uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 nextval setval
clock_timestamp timeofday gen_salt gen_random_bytes currval lastval`.split(/\s+/),
);

const isVolatile = (expression: Node): boolean => {
  const names = [...JSON.stringify(expression).matchAll(/"funcname":(\[.*?\]),"/g)].map(
    ([, list = '']) => [...list.matchAll(/"sval":"([^"]*)"/g)].at(-1)?.[1] ?? '',
  );
  return names.some((name) => volatile.has(name));
};

/** The column without its rule about null and without its default. */
const addPlain = ({ table, name, type }: AddedColumn): string =>
  `expand: ALTER TABLE ${table} ADD COLUMN ${name} ${type};`;

export const addingRequiredField: Rule = (linted) =>
  addedColumns(linted).flatMap((added): readonly Verdict[] => {
    const { constraint, relation, table, name, type, column } = added;
    if (constraint('CONSTR_NOTNULL') === undefined) return [];
    const filled = ['CONSTR_DEFAULT', 'CONSTR_GENERATED', 'CONSTR_IDENTITY'] as const;
    if (filled.some((kind) => constraint(kind) !== undefined) || serials.has(type)) return [];
    const message = `${table}.${name} is NOT NULL without a default: PostgreSQL refuses it on a table with rows, and every writer that does not know it yet fails. A constant DEFAULT rewrites nothing (PostgreSQL 11 and later); without one:`;
    const safeSteps = [
      addPlain(added),
      `deploy: every writer sets ${name}`,
      backfill(relation, `${name} = <value>`, `${name} IS NULL`),
      ...notNullSteps(relation, column.colname ?? '', linted.postgres),
    ];
    return [{ rule: 'adding-required-field', level: 'error', message, safeSteps, at: column.location }];
  });

/** ADD COLUMN that writes each row again, under ACCESS EXCLUSIVE. */
export const addingFieldWithDefault: Rule = (linted) =>
  addedColumns(linted).flatMap((added): readonly Verdict[] => {
    const found = numbered(added, linted) ?? stored(added) ?? differing(added, linted);
    if (found === undefined) return [];
    const [what, safeSteps] = found;
    const message = `${what} rewrites ${added.table} under a lock that stops reads and writes`;
    return [{ rule: 'adding-field-with-default', level: 'error', message, safeSteps, at: added.column.location }];
  });

type Rewrite = readonly [what: string, safeSteps: readonly string[]] | undefined;

function numbered(added: AddedColumn, { postgres }: Linted): Rewrite {
  const { constraint, relation, table, name, type, column } = added;
  if (!serials.has(type) && constraint('CONSTR_IDENTITY') === undefined) return undefined;
  const sequence = beside(relation, madeName(relation, column.colname ?? '', 'seq'));
  return [
    `a number of its own in ${table}.${name} of each row`,
    [
      `expand: CREATE SEQUENCE ${sequence};`,
      addPlain({ ...added, type: integerOf[type] ?? type }),
      `expand: ALTER TABLE ${table} ALTER COLUMN ${name} SET DEFAULT nextval('${sequence.replaceAll("'", "''")}');`,
      backfill(relation, `${name} = DEFAULT`, `${name} IS NULL`),
      ...notNullSteps(relation, column.colname ?? '', postgres),
      `contract: ALTER SEQUENCE ${sequence} OWNED BY ${table}.${name};`,
    ],
  ];
}

function stored({ constraint, relation, table, name, type }: AddedColumn): Rewrite {
  if (constraint('CONSTR_GENERATED')?.generated_kind !== 's') return undefined;
  return [
    `the computed and stored ${table}.${name} (VIRTUAL, from PostgreSQL 18 on, stores nothing)`,
    [
      `expand: ALTER TABLE ${table} ADD COLUMN ${name} ${type};`,
      `deploy: a trigger BEFORE INSERT OR UPDATE, or every writer, sets ${name}`,
      backfill(relation, `${name} = <value>`, `${name} IS NULL`),
    ],
  ];
}

function differing(added: AddedColumn, { postgres }: Linted): Rewrite {
  const { constraint, relation, table, name, column } = added;
  const expression = constraint('CONSTR_DEFAULT')?.raw_expr;
  if (expression === undefined || !isVolatile(expression)) return undefined;
  const isRequired = constraint('CONSTR_NOTNULL') !== undefined;
  return [
    `the default of ${table}.${name}, another value in each row,`,
    [
      addPlain(added),
      `expand: ALTER TABLE ${table} ALTER COLUMN ${name} SET DEFAULT ${defaultText(expression)};`,
      backfill(relation, `${name} = DEFAULT`, `${name} IS NULL`),
      ...(isRequired ? notNullSteps(relation, column.colname ?? '', postgres) : []),
    ],
  ];
}

/** A call without arguments as SQL; others are left to the reader. */
function defaultText(expression: Node): string {
  if (!('FuncCall' in expression) || (expression.FuncCall.args ?? []).length > 0) return '<the default>';
  const names = (expression.FuncCall.funcname ?? []).flatMap((n) =>
    'String' in n ? [quote(n.String.sval ?? '')] : [],
  );
  return `${names.join('.')}()`;
}

export const addingNotNullableField: Rule = (linted) =>
  tableCommands(linted).flatMap(({ relation, table, command }): readonly Verdict[] => {
    if (command.subtype !== 'AT_SetNotNull') return [];
    const { name = '' } = command;
    if (linted.facts.isProvedNotNull(relation, name)) return [];
    const column = quote(name);
    const message = `SET NOT NULL reads all of ${table} under a lock that stops reads and writes, unless a validated constraint proves it`;
    const safeSteps = [
      backfill(relation, `${column} = <value>`, `${column} IS NULL`),
      ...notNullSteps(relation, name, linted.postgres),
    ];
    return [{ rule: 'adding-not-nullable-field', level: 'error', message, safeSteps }];
  });

export const dropColumn: Rule = (linted) =>
  tableCommands(linted).flatMap(({ table, command }): readonly Verdict[] => {
    if (command.subtype !== 'AT_DropColumn') return [];
    const column = quote(command.name ?? '');
    const message = `${table}.${column} is lost with its data, its indexes and its constraints, and whoever still names it fails`;
    const safeSteps = [
      `expand: ALTER TABLE ${table} ALTER COLUMN ${column} DROP NOT NULL;`,
      `deploy: no application reads or writes ${column}, SELECT * and ORMs that list every column included`,
      'deploy: a backup is there: vecferry migrate backup',
      `contract: ALTER TABLE ${table} DROP COLUMN ${column};`,
    ];
    return [{ rule: 'ban-drop-column', level: 'warning', message, safeSteps }];
  });

/** strong_migrations, "Adding a json column": json has no equality operator, so a SELECT DISTINCT of all columns begins to fail. */
export const addingJsonColumn: Rule = (linted: Linted): readonly Verdict[] =>
  addedColumns(linted).flatMap(({ table, name, type }) =>
    type === 'json'
      ? [
          {
            rule: 'adding-json-column',
            level: 'warning',
            message: `${table}.${name} is json, which has no equality: SELECT DISTINCT, GROUP BY and UNION over the table's rows fail from then on`,
            safeSteps: [`expand: ALTER TABLE ${table} ADD COLUMN ${name} jsonb;`],
          },
        ]
      : [],
  );
