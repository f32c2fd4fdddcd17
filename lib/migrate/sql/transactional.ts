import type { AlterSubscriptionStmt, DefElem, Node } from 'libpg-query';

/**
 * False for what PostgreSQL refuses inside a transaction block: the callers of PreventInTransactionBlock in PostgreSQL 18
 * (src/backend/tcop/utility.c, commands/{indexcmds,tablecmds,cluster,vacuum,dbcommands,discard,subscriptioncmds}.c), and DO blocks
 * that commit ("invalid transaction termination", plpgsql's "Transaction Management"). What depends on the catalog cannot be seen
 * here and counts as transactional: REINDEX and CLUSTER of a partitioned table, CALL of a procedure that commits; the server refuses them,
 * and the migration's transaction is taken back. ALTER TYPE … ADD VALUE may run in a transaction since 12, though its value
 * cannot be used before the commit.
 */
export async function isTransactional(text: string, node: Node): Promise<boolean> {
  if ('DoStmt' in node) return !(await doCommits(text, node.DoStmt.args ?? []));
  return !isRefusedInBlock(node);
}

function isRefusedInBlock(node: Node): boolean {
  for (const kind of alwaysAlone) if (kind in node) return true;
  if ('IndexStmt' in node) return node.IndexStmt.concurrent === true;
  if ('DropStmt' in node) return node.DropStmt.concurrent === true;
  if ('VacuumStmt' in node) return node.VacuumStmt.is_vacuumcmd === true;
  if ('ClusterStmt' in node) return node.ClusterStmt.relation === undefined;
  if ('DiscardStmt' in node) return node.DiscardStmt.target === 'DISCARD_ALL';
  if ('ReindexStmt' in node) {
    const { kind, params } = node.ReindexStmt;
    const isOne = kind === 'REINDEX_OBJECT_INDEX' || kind === 'REINDEX_OBJECT_TABLE';
    return !isOne || isOn(params, 'concurrently', false);
  }
  if ('AlterTableStmt' in node) return (node.AlterTableStmt.cmds ?? []).some(detachesConcurrently);
  if ('AlterDatabaseStmt' in node) return option(node.AlterDatabaseStmt.options, 'tablespace') !== undefined;
  if ('CreateSubscriptionStmt' in node) {
    const { options } = node.CreateSubscriptionStmt;
    // create_slot's default is what connect is.
    return isOn(options, 'create_slot', isOn(options, 'connect', true));
  }
  if ('AlterSubscriptionStmt' in node) return refreshes(node.AlterSubscriptionStmt);
  if ('TransactionStmt' in node) return preparedKinds.has(node.TransactionStmt.kind ?? '');
  return false;
}

const alwaysAlone = [
  'CreatedbStmt',
  'DropdbStmt',
  'CreateTableSpaceStmt',
  'DropTableSpaceStmt',
  'AlterSystemStmt',
  // Refused where the subscription has a slot, which is the common case.
  'DropSubscriptionStmt',
] as const;

const preparedKinds = new Set<string>(['TRANS_STMT_COMMIT_PREPARED', 'TRANS_STMT_ROLLBACK_PREPARED']);

function detachesConcurrently(node: Node): boolean {
  if (!('AlterTableCmd' in node)) return false;
  const { def } = node.AlterTableCmd;
  return def !== undefined && 'PartitionCmd' in def && def.PartitionCmd.concurrent === true;
}

function refreshes({ kind, options }: AlterSubscriptionStmt): boolean {
  switch (kind) {
    case 'ALTER_SUBSCRIPTION_REFRESH':
      return true;
    case 'ALTER_SUBSCRIPTION_SET_PUBLICATION':
    case 'ALTER_SUBSCRIPTION_ADD_PUBLICATION':
    case 'ALTER_SUBSCRIPTION_DROP_PUBLICATION':
      return isOn(options, 'refresh', true);
    case 'ALTER_SUBSCRIPTION_OPTIONS':
      return option(options, 'failover') !== undefined || option(options, 'two_phase') !== undefined;
    default:
      return false;
  }
}

function option(options: readonly Node[] | undefined, name: string): DefElem | undefined {
  for (const node of options ?? []) if ('DefElem' in node && node.DefElem.defname === name) return node.DefElem;
  return undefined;
}

/** A Boolean option as defGetBoolean (commands/define.c) reads it: without a value it is on. */
function isOn(options: readonly Node[] | undefined, name: string, standard: boolean): boolean {
  const given = option(options, name);
  if (given === undefined) return standard;
  const { arg } = given;
  if (arg === undefined) return true;
  if ('Integer' in arg) return arg.Integer.ival === 1;
  if ('Boolean' in arg) return arg.Boolean.boolval === true;
  if ('String' in arg) return ['true', 'on', '1'].includes((arg.String.sval ?? '').toLowerCase());
  return standard;
}

/** True when a DO block of PL/pgSQL holds COMMIT or ROLLBACK, as one does that backfills in batches. */
async function doCommits(text: string, args: readonly Node[]): Promise<boolean> {
  const language = option(args, 'language')?.arg;
  if (language !== undefined && (!('String' in language) || language.String.sval?.toLowerCase() !== 'plpgsql'))
    return false;
  const { parsePlPgSQL } = await import('libpg-query');
  try {
    return /"PLpgSQL_stmt_(commit|rollback)"/.test(JSON.stringify(await parsePlPgSQL(text)));
  } catch {
    // The server may know types that this parser does not: it is refused there, or here by what a block that commits must hold.
    return /\b(commit|rollback)\s*(;|and\b)/i.test(text);
  }
}
