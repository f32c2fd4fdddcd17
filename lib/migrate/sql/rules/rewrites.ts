import type { AlterTableType } from 'libpg-query';
import { nameOf } from './names.ts';
import { type Rule, tableCommands, type Verdict } from './rule.ts';

/** Whole tables written again, or read, under a lock; and transactions. */

/** ALTER TABLE's forms that write the whole table, by what they do. */
const rewriting: Partial<Record<AlterTableType, string>> = {
  AT_SetLogged: 'SET LOGGED',
  AT_SetUnLogged: 'SET UNLOGGED',
  AT_SetTableSpace: 'SET TABLESPACE',
  AT_SetAccessMethod: 'SET ACCESS METHOD',
  AT_SetExpression: 'SET EXPRESSION of a stored column',
};

export const rewritingTable: Rule = (linted): readonly Verdict[] => {
  const {
    statement: { node },
    facts,
  } = linted;
  const verdict = (message: string, ...safeSteps: readonly string[]): Verdict => ({
    rule: 'rewriting-table',
    level: 'error',
    message: `${message} writes the whole table again under a lock that stops reads and writes`,
    safeSteps,
  });
  const copy =
    'deploy: a new table as wanted is filled by a vecferry run while the application goes on, and readers are moved to it (docs/cutover.md)';
  if ('VacuumStmt' in node) {
    const isFull = (node.VacuumStmt.options ?? []).some(
      (option) => 'DefElem' in option && option.DefElem.defname === 'full',
    );
    const rels = (node.VacuumStmt.rels ?? []).flatMap((rel) =>
      'VacuumRelation' in rel && rel.VacuumRelation.relation !== undefined ? [nameOf(rel.VacuumRelation.relation)] : [],
    );
    return isFull
      ? [
          verdict(
            `VACUUM FULL ${rels.join(', ')}`,
            `expand: VACUUM ${rels.join(', ')};`,
            'deploy: where the space must go back to the disk: pg_repack, or a copy',
            copy,
          ),
        ]
      : [];
  }
  if ('ClusterStmt' in node) {
    const { relation } = node.ClusterStmt;
    if (relation !== undefined && facts.isNew(relation)) return [];
    return [verdict(`CLUSTER ${relation === undefined ? 'of every table' : nameOf(relation)}`, copy)];
  }
  return tableCommands(linted).flatMap(({ table, command }) => {
    const what = rewriting[command.subtype ?? 'AT_AddColumn'];
    return what === undefined ? [] : [verdict(`${what} of ${table}`, copy)];
  });
};

export const refreshing: Rule = ({ statement: { node }, facts }): readonly Verdict[] => {
  if (!('RefreshMatViewStmt' in node)) return [];
  const { relation, concurrent, skipData } = node.RefreshMatViewStmt;
  if (relation === undefined || concurrent === true || skipData === true || facts.isNew(relation)) return [];
  const view = nameOf(relation);
  return [
    {
      rule: 'refresh-without-concurrently',
      level: 'warning',
      message: `nobody can read ${view} while it is computed`,
      safeSteps: [
        `expand: CREATE UNIQUE INDEX ON ${view} (<its key>);`,
        `expand: REFRESH MATERIALIZED VIEW CONCURRENTLY ${view};`,
      ],
    },
  ];
};

/** PostgreSQL's numbers of lock modes (lockdefs.h): from SHARE on they stop writes. */
const shareLock = 5;

export const lockingTable: Rule = ({ statement: { node }, facts }): readonly Verdict[] => {
  if (!('LockStmt' in node) || (node.LockStmt.mode ?? 0) < shareLock) return [];
  const tables = (node.LockStmt.relations ?? []).flatMap((one) =>
    'RangeVar' in one && !facts.isNew(one.RangeVar) ? [nameOf(one.RangeVar)] : [],
  );
  if (tables.length === 0) return [];
  return [
    {
      rule: 'locking-table',
      level: 'warning',
      message: `${tables.join(', ')} is locked against writes until the file's end`,
      safeSteps: [
        'expand: a lock of rows, SELECT … FOR UPDATE of some at a time, or an advisory lock that applications take too',
      ],
    },
  ];
};

export const transactionInFile: Rule = ({ statement: { node } }): readonly Verdict[] => {
  if (!('TransactionStmt' in node)) return [];
  return [
    {
      rule: 'transaction-nesting',
      level: 'error',
      message: 'a file must not begin or end transactions: it runs in one of ours, with its line in the history',
      safeSteps: ['expand: leave it out; what must be committed apart goes into a file of its own'],
    },
  ];
};

/** What no transaction may hold, in one file with what should be in one: the runner refuses such a file. SET is harmless. */
export const notAlone: Rule = ({ isTransactional, index, statements }): readonly Verdict[] => {
  if (isTransactional(index)) return [];
  const other = statements.find(({ node }, at) => isTransactional(at) && !('VariableSetStmt' in node));
  if (other === undefined) return [];
  return [
    {
      rule: 'not-alone',
      level: 'error',
      message: `PostgreSQL runs this statement in no transaction, and line ${other.line} should be in one: either could stand half done`,
      safeSteps: ['expand: this statement in a file of its own'],
    },
  ];
};
