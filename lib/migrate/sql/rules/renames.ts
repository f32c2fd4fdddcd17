import type { AlterObjectSchemaStmt, Node, RangeVar, RenameStmt } from 'libpg-query';
import type { ParsedStatement } from '../parse.ts';
import type { Facts } from './facts.ts';
import { beside, nameOf, quote } from './names.ts';
import type { Rule, Verdict } from './rule.ts';
import { twinSteps } from './steps.ts';

/** Renames in one step: for as long as applications of before and of after run side by side, one of the two fails. */

export const renaming: Rule = ({ statement: { node }, statements, index, facts }): readonly Verdict[] => {
  // With a view of the old name in the same transaction, or what was built beside it put in its place, nobody meets a moment without it.
  const isKeptBy = (old: RangeVar): boolean =>
    statements.slice(index + 1).some(({ node: later }) => isSame(namedBy(later), old));
  if ('AlterObjectSchemaStmt' in node) return anotherSchema(node.AlterObjectSchemaStmt, facts, isKeptBy);
  if (!('RenameStmt' in node)) return [];
  const before = statements.slice(0, index);
  if (node.RenameStmt.renameType === 'OBJECT_SCHEMA') return renamedSchema(node.RenameStmt, before);
  const { renameType, relationType, relation, subname = '', newname = '' } = node.RenameStmt;
  if (relation === undefined || facts.isNew(relation)) return [];
  const table = nameOf(relation);
  if (renameType === 'OBJECT_COLUMN' && relationType === 'OBJECT_TABLE') {
    const type = facts.typeOf(relation, subname) ?? '<its type>';
    const message = `${table}.${quote(subname)} becomes ${quote(newname)} in one step: applications that still name ${quote(subname)} fail at once`;
    const safeSteps = twinSteps(relation, subname, newname, type);
    return [{ rule: 'renaming-column', level: 'error', message, safeSteps }];
  }
  if (renameType === undefined || !relations.has(renameType)) return [];
  if (before.some(({ node: each }) => 'ViewStmt' in each && isSame(each.ViewStmt.view, relation))) return [];
  if (isKeptBy(relation) || isFreed({ ...relation, relname: newname }, before)) return [];
  const made = beside(relation, quote(newname));
  const message = `${table} becomes ${quote(newname)} in one step: applications that still name ${table} fail at once. Keep a view of the old name, in one transaction with the rename:`;
  const safeSteps = [
    `expand: ALTER TABLE ${table} RENAME TO ${quote(newname)}; CREATE VIEW ${table} AS SELECT * FROM ${made};`,
    `deploy: applications name ${made}; a view this simple takes INSERT, UPDATE and DELETE too, but no COPY FROM, TRUNCATE or LOCK of rows by ON CONFLICT in old drivers`,
    `contract: DROP VIEW ${table};`,
  ];
  return [{ rule: 'renaming-table', level: 'error', message, safeSteps }];
};

/** The second half of a swap: what had the name has given it up in this file. */
const isFreed = (name: RangeVar, before: readonly ParsedStatement[]): boolean =>
  before.some(
    ({ node }) =>
      'RenameStmt' in node &&
      node.RenameStmt.relation !== undefined &&
      relations.has(node.RenameStmt.renameType ?? '') &&
      isSame(node.RenameStmt.relation, name),
  );

/** What a view, or a rename, gives its name to. */
function namedBy(node: Node): RangeVar | undefined {
  if ('ViewStmt' in node) return node.ViewStmt.view;
  if (!('RenameStmt' in node) || !relations.has(node.RenameStmt.renameType ?? '')) return undefined;
  const { relation, newname } = node.RenameStmt;
  return relation === undefined || newname === undefined ? undefined : { ...relation, relname: newname };
}

/** What applications name to read it. */
const relations: ReadonlySet<string> = new Set(['OBJECT_TABLE', 'OBJECT_VIEW', 'OBJECT_MATVIEW']);

const isSame = (one: RangeVar | undefined, other: RangeVar): boolean =>
  one?.relname === other.relname && (one?.schemaname ?? 'public') === (other.schemaname ?? 'public');

function anotherSchema(
  { objectType, relation, newschema = '' }: AlterObjectSchemaStmt,
  facts: Facts,
  isKeptBy: (view: RangeVar) => boolean,
): readonly Verdict[] {
  if (objectType !== 'OBJECT_TABLE' || relation === undefined || facts.isNew(relation) || isKeptBy(relation)) return [];
  const [table, made] = [nameOf(relation), nameOf({ ...relation, schemaname: newschema })];
  return [
    {
      rule: 'renaming-table',
      level: 'error',
      message: `${table} becomes ${made} in one step: applications that name it with its schema, or have not the new one in their search_path, fail at once. Keep a view of the old name, in one transaction with the move:`,
      safeSteps: [
        `expand: ALTER TABLE ${table} SET SCHEMA ${quote(newschema)}; CREATE VIEW ${table} AS SELECT * FROM ${made};`,
        `deploy: applications name ${made}`,
        `contract: DROP VIEW ${table};`,
      ],
    },
  ];
}

function renamedSchema(
  { subname = '', newname = '' }: RenameStmt,
  before: readonly ParsedStatement[],
): readonly Verdict[] {
  const isNew = before.some(({ node }) => 'CreateSchemaStmt' in node && node.CreateSchemaStmt.schemaname === subname);
  if (isNew) return [];
  const [old, made] = [quote(subname), quote(newname)];
  return [
    {
      rule: 'renaming-schema',
      level: 'error',
      message: `schema ${old} becomes ${made} in one step: applications that still name ${old}, or have it in their search_path, fail at once`,
      safeSteps: [
        `expand: CREATE SCHEMA ${made};`,
        `expand: of each table ALTER TABLE ${old}.<table> SET SCHEMA ${made}; CREATE VIEW ${old}.<table> AS SELECT * FROM ${made}.<table>;`,
        `deploy: applications name ${made}`,
        `contract: DROP SCHEMA ${old} RESTRICT; once its views are dropped by name`,
      ],
    },
  ];
}
