import type { Node, RangeVar } from 'libpg-query';
import { listedNames } from './indexes.ts';
import { columnOf } from './made.ts';
import { nameOf, quote } from './names.ts';
import type { Linted, Rule, Verdict } from './rule.ts';
import { backfill, clear } from './steps.ts';

/** Statements that change or lose data. */

export const updatingAll: Rule = (linted): readonly Verdict[] => {
  const { node } = linted.statement;
  if (!('UpdateStmt' in node)) return [];
  const { relation, whereClause, targetList, fromClause } = node.UpdateStmt;
  if (relation === undefined || linted.facts.isNew(relation)) return [];
  const isAll = whereClause === undefined;
  // "where it is not filled yet" is most of the table the first time.
  const isNulls =
    whereClause !== undefined && 'NullTest' in whereClause && whereClause.NullTest.nulltesttype === 'IS_NULL';
  if ((!isAll && !isNulls) || (fromClause ?? []).length > 0) return [];
  const columns = (targetList ?? []).flatMap((target) =>
    'ResTarget' in target ? [quote(target.ResTarget.name ?? '')] : [],
  );
  const { text } = linted.statement;
  const assignment = /\bset\b([\s\S]*?)(\bwhere\b[\s\S]*|\breturning\b[\s\S]*)?$/i
    .exec(text)?.[1]
    ?.trim()
    .replace(/\s+/g, ' ');
  const condition = isNulls ? nullCondition(whereClause) : `${columns[0] ?? '<the column>'} IS DISTINCT FROM <value>`;
  return [
    {
      rule: 'backfill-in-one-statement',
      level: isAll ? 'error' : 'warning',
      message: `${isAll ? 'every row' : 'each row that is null'} of ${nameOf(relation)} is written in one transaction: writers to them wait until its end, and as many dead rows are left at once`,
      safeSteps: [backfill(relation, assignment ?? '<assignments>', condition)],
    },
  ];
};

function nullCondition(where: Node | undefined): string {
  const arg = where !== undefined && 'NullTest' in where ? where.NullTest.arg : undefined;
  const column = arg === undefined ? undefined : columnOf(arg);
  return `${column === undefined ? '<the column>' : quote(column)} IS NULL`;
}

/** Locks on a table that was there are held to the file's end: what takes long must not come after them. */
export const longWorkWhileLocked: Rule = ({ statement: { node }, facts }): readonly Verdict[] => {
  const changed = facts.changed();
  if (changed === undefined) return [];
  const relation = written(node);
  if (relation === undefined || facts.isNew(relation)) return [];
  return [
    {
      rule: 'data-after-schema-change',
      // Of a few rows that are named nobody need be afraid.
      level: isOfSome(node) ? 'warning' : 'error',
      message: `${nameOf(changed)} has been changed by ALTER TABLE in this transaction, and stays locked for reads and writes while rows of ${nameOf(relation)} are written`,
      safeSteps: ['backfill: this statement, in a file of its own after this one'],
    },
  ];
};

function isOfSome(node: Node): boolean {
  if ('UpdateStmt' in node) return node.UpdateStmt.whereClause !== undefined;
  return 'DeleteStmt' in node && node.DeleteStmt.whereClause !== undefined;
}

/** The table that rows of another are written to, or that loses or changes rows. VALUES are few, and harmless. */
function written(node: Node): RangeVar | undefined {
  if ('UpdateStmt' in node) return node.UpdateStmt.relation;
  if ('DeleteStmt' in node) return node.DeleteStmt.relation;
  if ('MergeStmt' in node) return node.MergeStmt.relation;
  if ('CopyStmt' in node) return node.CopyStmt.relation;
  if (!('InsertStmt' in node)) return undefined;
  const { relation, selectStmt } = node.InsertStmt;
  const isValues =
    selectStmt === undefined || ('SelectStmt' in selectStmt && (selectStmt.SelectStmt.valuesLists ?? []).length > 0);
  return isValues ? undefined : relation;
}

const backupStep = 'deploy: a backup is there: vecferry migrate backup';

export const losingData: Rule = (linted): readonly Verdict[] => {
  const {
    statement: { node, text },
    facts,
  } = linted;
  const verdict = (rule: string, message: string, ...safeSteps: readonly string[]): readonly Verdict[] => [
    { rule, level: 'error', message, safeSteps },
  ];
  if ('DeleteStmt' in node) {
    const { relation, whereClause } = node.DeleteStmt;
    if (relation === undefined || whereClause !== undefined || facts.isNew(relation)) return [];
    const table = nameOf(relation);
    return verdict('delete-without-where', `every row of ${table} is lost`, backupStep, clear(relation, '<condition>'));
  }
  if ('TruncateStmt' in node) {
    const tables = (node.TruncateStmt.relations ?? []).flatMap((one) =>
      'RangeVar' in one && !facts.isNew(one.RangeVar) ? [one.RangeVar] : [],
    );
    if (tables.length === 0) return [];
    const names = tables.map(nameOf).join(', ');
    const isCascade = node.TruncateStmt.behavior === 'DROP_CASCADE';
    return isCascade
      ? verdict(
          'ban-truncate-cascade',
          `every row of ${names} is lost, and of each table that refers to it, and theirs`,
          backupStep,
          `contract: TRUNCATE ${names}; with each other table that is meant named beside it, without CASCADE`,
        )
      : verdict('ban-truncate', `every row of ${names} is lost`, backupStep, `contract: ${text};`);
  }
  if ('DropdbStmt' in node)
    return verdict(
      'ban-drop-database',
      'a database is lost with all that is in it; no migration takes this back',
      backupStep,
    );
  if ('DropOwnedStmt' in node)
    return verdict(
      'ban-drop-table',
      'every table of that role is lost with its rows, and every right that it was given',
      backupStep,
      'contract: REASSIGN OWNED BY <role> TO <another>; then DROP TABLE of each that is meant, by its name',
    );
  if (!('DropStmt' in node)) return [];
  const { removeType, objects, behavior } = node.DropStmt;
  const names = listedNames(objects);
  if (behavior === 'DROP_CASCADE' && removeType !== undefined && typed.has(removeType))
    return verdict(
      'ban-drop-column',
      `each column whose type is of ${names.join(', ') || 'it'} is lost with its data, in every table: CASCADE says not which`,
      backupStep,
      'contract: ALTER TABLE … DROP COLUMN of each that is meant, then this statement with RESTRICT',
    );
  const cascade = behavior === 'DROP_CASCADE' ? ', and what depends on it: CASCADE says not what' : '';
  if (removeType === 'OBJECT_SCHEMA')
    return verdict(
      'ban-drop-schema',
      `schema ${names.join(', ')} is lost${cascade}`,
      backupStep,
      ...names.map((name) => `contract: DROP SCHEMA ${name} RESTRICT; once each object in it is dropped by name`),
    );
  if (removeType !== 'OBJECT_TABLE') return [];
  const kept = droppedTables(objects)
    .filter((relation) => !facts.isNew(relation))
    .map(nameOf);
  if (kept.length === 0) return [];
  return verdict(
    'ban-drop-table',
    `${kept.join(', ')} is lost with its rows${cascade}`,
    'deploy: no application reads or writes it',
    ...kept.map(
      (name) =>
        `expand: ALTER TABLE ${name} RENAME TO <its name>_dropped; kept for as long as somebody may come back for it`,
    ),
    backupStep,
    ...kept.map((name) => `contract: DROP TABLE ${name} RESTRICT;`),
  );
};

/** What columns hang on, so that its CASCADE takes them: of `vector` every embedding. */
const typed: ReadonlySet<string> = new Set(['OBJECT_EXTENSION', 'OBJECT_TYPE', 'OBJECT_DOMAIN']);

function droppedTables(objects: readonly Node[] | undefined): readonly RangeVar[] {
  return (objects ?? []).flatMap((object) => {
    if (!('List' in object)) return [];
    const names = (object.List.items ?? []).flatMap((item) => ('String' in item ? [item.String.sval ?? ''] : []));
    const relname = names.at(-1) ?? '';
    const schemaname = names.at(-2);
    return [schemaname === undefined ? { relname } : { schemaname, relname }];
  });
}

/** ALTER TYPE … ADD VALUE: the value cannot be used before the transaction that adds it is committed (ALTER TYPE's notes). */
export const enumValueTooEarly: Rule = (linted: Linted): readonly Verdict[] => {
  const {
    statement: { node },
    statements,
    index,
  } = linted;
  if (!('AlterEnumStmt' in node)) return [];
  const { newVal = '', oldVal } = node.AlterEnumStmt;
  const literal = `'${newVal.replaceAll("'", "''")}'`;
  const use =
    oldVal === undefined
      ? statements.slice(index + 1).find((later) => !('AlterEnumStmt' in later.node) && later.text.includes(literal))
      : undefined;
  if (use === undefined) return [];
  return [
    {
      rule: 'enum-value-used-too-early',
      level: 'error',
      message: `${literal} is used in the transaction that adds it (line ${use.line}): PostgreSQL refuses that`,
      safeSteps: ['expand: ADD VALUE in a file of its own', 'backfill: what uses it, in the next'],
    },
  ];
};
