import type { Constraint } from 'libpg-query';
import type { ParsedStatement } from '../parse.ts';
import { madeName, nameOf, quote } from './names.ts';
import { addedColumns, addedConstraints, type Rule, type TableCommand, tableCommands, type Verdict } from './rule.ts';
import { backfill, notNullSteps } from './steps.ts';
import { strings } from './tree.ts';

/** Constraints that read the whole table, or build an index, while nobody may write. */

type Added = TableCommand & { readonly constraint: Constraint };

export const addingConstraint: Rule = (linted) =>
  addedConstraints(linted).flatMap((added): readonly Verdict[] => {
    const { constraint } = added;
    const at = constraint.location;
    switch (constraint.contype) {
      case 'CONSTR_UNIQUE':
      case 'CONSTR_PRIMARY':
        return constraint.indexname === undefined
          ? [{ ...indexVerdict(added, strings(constraint.keys), linted.postgres), at }]
          : [];
      case 'CONSTR_FOREIGN':
        return constraint.skip_validation === true
          ? []
          : [{ ...foreignVerdict(added, strings(constraint.fk_attrs)), at }];
      case 'CONSTR_CHECK':
        return constraint.skip_validation === true ? [] : [{ ...checkVerdict(added, linted.statement), at }];
      case 'CONSTR_NOTNULL':
        return constraint.skip_validation === true ? [] : [{ ...notNullVerdict(added, linted.postgres), at }];
      case 'CONSTR_EXCLUSION':
        return [{ ...exclusionVerdict(added), at }];
      default:
        return [];
    }
  });

/** ADD COLUMN … UNIQUE, PRIMARY KEY, CHECK, REFERENCES: the same, written with the column. */
export const addingColumnConstraint: Rule = (linted) =>
  addedColumns(linted).flatMap((added): readonly Verdict[] => {
    const { table, name, type, column, constraint } = added;
    const plain = `expand: ALTER TABLE ${table} ADD COLUMN ${name} ${type};`;
    const fill = backfill(added.relation, `${name} = <value>`, `${name} IS NULL`);
    const verdicts: Verdict[] = [];
    const after = (verdict: Verdict, ...steps: readonly string[]): void => {
      verdicts.push({ ...verdict, safeSteps: [...steps, ...verdict.safeSteps], at: column.location });
    };
    for (const kind of ['CONSTR_UNIQUE', 'CONSTR_PRIMARY'] as const) {
      const found = constraint(kind);
      if (found !== undefined)
        after(indexVerdict({ ...added, constraint: found }, [column.colname ?? ''], linted.postgres), plain, fill);
    }
    const check = constraint('CONSTR_CHECK');
    if (check !== undefined) after(checkVerdict({ ...added, constraint: check }, linted.statement), plain);
    const foreign = constraint('CONSTR_FOREIGN');
    // Without a default all of them are null: there is nothing to check (transformAlterTableStmt skips it), and the locks are short.
    if (foreign !== undefined && constraint('CONSTR_DEFAULT') !== undefined)
      after(foreignVerdict({ ...added, constraint: foreign }, [column.colname ?? '']), plain, fill);
    return verdicts;
  });

function indexVerdict({ relation, table, constraint }: Added, keys: readonly string[], postgres: number): Verdict {
  const isPrimary = constraint.contype === 'CONSTR_PRIMARY';
  const word = isPrimary ? 'PRIMARY KEY' : 'UNIQUE';
  const index =
    constraint.conname === undefined
      ? madeName(relation, ...(isPrimary ? ['pkey'] : [...keys, 'key']))
      : quote(constraint.conname);
  const columns = keys.map(quote).join(', ');
  const nulls = constraint.nulls_not_distinct === true ? ' NULLS NOT DISTINCT' : '';
  return {
    // squawk's names of the two.
    rule: isPrimary ? 'adding-serial-primary-key-field' : 'disallowed-unique-constraint',
    level: 'error',
    message: `${word} (${columns}) on ${table} builds its index under a lock that stops reads and writes`,
    safeSteps: [
      `expand: CREATE UNIQUE INDEX CONCURRENTLY ${index} ON ${table} (${columns})${nulls};`,
      // ADD PRIMARY KEY would check for nulls by a scan of its own.
      ...(isPrimary ? keys.flatMap((key) => notNullSteps(relation, key, postgres)) : []),
      `contract: ALTER TABLE ${table} ADD CONSTRAINT ${index} ${word} USING INDEX ${index};`,
    ],
  };
}

function foreignVerdict({ relation, table, constraint }: Added, keys: readonly string[]): Verdict {
  const other = constraint.pktable === undefined ? '<the other table>' : nameOf(constraint.pktable);
  const name = nameOfConstraint(relation, constraint, [...keys, 'fkey']);
  const columns = keys.map(quote).join(', ');
  const keysThere = strings(constraint.pk_attrs).map(quote).join(', ');
  const there = keysThere === '' ? other : `${other} (${keysThere})`;
  const actions = [action('DELETE', constraint.fk_del_action), action('UPDATE', constraint.fk_upd_action)].join('');
  return {
    rule: 'adding-foreign-key-constraint',
    level: 'error',
    message: `the foreign key ${name} reads all of ${table} while nobody may write to it, nor to ${other}`,
    safeSteps: [
      `expand: ALTER TABLE ${table} ADD CONSTRAINT ${name} FOREIGN KEY (${columns}) REFERENCES ${there}${actions} NOT VALID;`,
      `deploy: rows without a partner are mended${orphans(table, columns, other, keysThere)}`,
      `contract: ALTER TABLE ${table} VALIDATE CONSTRAINT ${name};`,
    ],
  };
}

/** The condition as it is written, with its parentheses: the first that opens after CHECK, to where it closes. */
function parenthesized({ text, from }: ParsedStatement, location: number | undefined): string {
  const rest = Buffer.from(text)
    .subarray((location ?? from) - from)
    .toString();
  const start = rest.indexOf('(');
  let depth = 0;
  // Texts and quoted names may hold parentheses of their own.
  for (const { 0: token, index } of rest.slice(start).matchAll(/'(?:[^']|'')*'|"[^"]*"|[()]/g)) {
    if (token === '(') depth++;
    if (token === ')' && --depth === 0) return rest.slice(start, start + index + 1).replace(/\s+/g, ' ');
  }
  return '(<the condition>)';
}

/** How they are found, for a key of one column. */
function orphans(table: string, column: string, other: string, key: string): string {
  if (key === '' || column.includes(',')) return '';
  return `: SELECT * FROM ${table} WHERE ${column} IS NOT NULL AND NOT EXISTS (SELECT FROM ${other} AS there WHERE there.${key} = ${table}.${column})`;
}

/** The parser's letters, FKCONSTR_ACTION_ of parsenodes.h; a is NO ACTION. */
const actionWords: Readonly<Record<string, string>> = { r: 'RESTRICT', c: 'CASCADE', n: 'SET NULL', d: 'SET DEFAULT' };

function action(on: string, letter: string | undefined): string {
  const word = actionWords[letter ?? ''];
  return word === undefined ? '' : ` ON ${on} ${word}`;
}

function checkVerdict({ relation, table, constraint }: Added, statement: ParsedStatement): Verdict {
  const name = nameOfConstraint(relation, constraint, ['check']);
  return {
    rule: 'constraint-missing-not-valid',
    level: 'error',
    message: `the check ${name} reads all of ${table} under a lock that stops reads and writes`,
    safeSteps: [
      `expand: ALTER TABLE ${table} ADD CONSTRAINT ${name} CHECK ${parenthesized(statement, constraint.location)} NOT VALID;`,
      'deploy: rows that do not meet it are mended',
      `contract: ALTER TABLE ${table} VALIDATE CONSTRAINT ${name};`,
    ],
  };
}

function notNullVerdict({ relation, table, constraint }: Added, postgres: number): Verdict {
  const column = strings(constraint.keys)[0] ?? '';
  return {
    rule: 'constraint-missing-not-valid',
    level: 'error',
    message: `NOT NULL ${quote(column)} reads all of ${table} under a lock that stops reads and writes`,
    safeSteps: [
      backfill(relation, `${quote(column)} = <value>`, `${quote(column)} IS NULL`),
      ...notNullSteps(relation, column, postgres),
    ],
  };
}

function exclusionVerdict({ table }: Added): Verdict {
  return {
    rule: 'adding-exclusion-constraint',
    level: 'error',
    message: `an EXCLUDE constraint builds its index on ${table} under a lock that stops reads and writes, and PostgreSQL has no way to build it beforehand`,
    safeSteps: [
      `expand: a new table with the constraint, CREATE TABLE … (LIKE ${table} INCLUDING ALL)`,
      'deploy: writers write to both; rows are copied in batches',
      'contract: both are renamed in one transaction',
    ],
  };
}

function nameOfConstraint(
  relation: TableCommand['relation'],
  { conname }: Constraint,
  parts: readonly string[],
): string {
  return conname === undefined ? madeName(relation, ...parts) : quote(conname);
}

/** VALIDATE in the transaction of its ADD: the lock of ADD is held while the table is read, which NOT VALID was to spare. */
export const validatingTooEarly: Rule = (linted) =>
  tableCommands(linted).flatMap(({ relation, table, command }): readonly Verdict[] => {
    const { subtype, name = '' } = command;
    if (subtype !== 'AT_ValidateConstraint' || !linted.facts.isAddedHere(relation, name)) return [];
    return [
      {
        rule: 'validating-in-same-transaction',
        level: 'error',
        message: `${quote(name)} is validated in the transaction that adds it: its lock on ${table} is held while the table is read`,
        safeSteps: [`contract: ALTER TABLE ${table} VALIDATE CONSTRAINT ${quote(name)}; in the next file`],
      },
    ];
  });

export const detachingPartition: Rule = (linted) =>
  tableCommands(linted).flatMap(({ table, command }): readonly Verdict[] => {
    const { subtype, def } = command;
    if (def === undefined || !('PartitionCmd' in def) || def.PartitionCmd.name === undefined) return [];
    const part = nameOf(def.PartitionCmd.name);
    if (subtype === 'AT_DetachPartition' && def.PartitionCmd.concurrent !== true)
      return [
        {
          rule: 'require-concurrent-partition-detach',
          level: 'warning',
          message: `DETACH PARTITION stops reads and writes of all of ${table}`,
          safeSteps: [`contract: ALTER TABLE ${table} DETACH PARTITION ${part} CONCURRENTLY;`],
        },
      ];
    if (subtype !== 'AT_AttachPartition' || linted.facts.isNew(def.PartitionCmd.name)) return [];
    const name = madeName(def.PartitionCmd.name, 'fits');
    return [
      {
        rule: 'attaching-unchecked-partition',
        level: 'warning',
        message: `ATTACH PARTITION reads all of ${part} while nobody may use it, unless a validated CHECK says that its rows fit`,
        safeSteps: [
          `expand: ALTER TABLE ${part} ADD CONSTRAINT ${name} CHECK (<the bound>) NOT VALID;`,
          `expand: ALTER TABLE ${part} VALIDATE CONSTRAINT ${name};`,
          `contract: ALTER TABLE ${table} ATTACH PARTITION ${part} FOR VALUES <the bound>;`,
          `contract: ALTER TABLE ${part} DROP CONSTRAINT ${name};`,
        ],
      },
    ];
  });
