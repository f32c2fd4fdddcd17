import { beside, nameOf, quote } from './names.ts';
import type { Rule, Verdict } from './rule.ts';
import { twinSteps } from './steps.ts';

/** Renames in one step: for as long as applications of before and of after run side by side, one of the two fails. */

export const renaming: Rule = ({ statement: { node }, statements, index, facts }): readonly Verdict[] => {
  if (!('RenameStmt' in node)) return [];
  const { renameType, relationType, relation, subname = '', newname = '' } = node.RenameStmt;
  if (relation === undefined || facts.isNew(relation)) return [];
  const table = nameOf(relation);
  if (renameType === 'OBJECT_COLUMN' && relationType === 'OBJECT_TABLE') {
    const type = facts.typeOf(relation, subname) ?? '<its type>';
    const message = `${table}.${quote(subname)} becomes ${quote(newname)} in one step: applications that still name ${quote(subname)} fail at once`;
    const safeSteps = twinSteps(relation, subname, newname, type);
    return [{ rule: 'renaming-column', level: 'error', message, safeSteps }];
  }
  if (renameType !== 'OBJECT_TABLE') return [];
  // With a view of the old name in the same transaction nobody meets a moment without it.
  const isKept = statements.slice(index + 1).some(({ node: later }) => {
    const view = 'ViewStmt' in later ? later.ViewStmt.view : undefined;
    return view?.relname === relation.relname && (view?.schemaname ?? 'public') === (relation.schemaname ?? 'public');
  });
  if (isKept) return [];
  const made = beside(relation, quote(newname));
  const message = `${table} becomes ${quote(newname)} in one step: applications that still name ${table} fail at once. Keep a view of the old name, in one transaction with the rename:`;
  const safeSteps = [
    `expand: ALTER TABLE ${table} RENAME TO ${quote(newname)}; CREATE VIEW ${table} AS SELECT * FROM ${made};`,
    `deploy: applications name ${made}; a view this simple takes INSERT, UPDATE and DELETE too, but no COPY FROM, TRUNCATE or LOCK of rows by ON CONFLICT in old drivers`,
    `contract: DROP VIEW ${table};`,
  ];
  return [{ rule: 'renaming-table', level: 'error', message, safeSteps }];
};
