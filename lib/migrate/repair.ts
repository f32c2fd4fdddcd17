import type { IndexStmt } from 'libpg-query';
import { Incompatible, InvalidEvent, NotFound } from '../errors.ts';
import { followsOn, isSameText } from './following.ts';
import { dropInvalid, invalidIndexes } from './invalid-indexes.ts';
import type { HistoryEntry, MigrationFile } from './port.ts';
import { type Migrator, overviewOf } from './runner.ts';
import type { SqlSession } from './session.ts';
import { type ParsedStatement, parseSql } from './sql/parse.ts';
import { sqlParts } from './sql/parts.ts';
import { firstLine } from './sql-error.ts';
import { historyNumber, nextSeq, type Standing } from './standing.ts';

/**
 * A person says how things are, or has what a dead step left cleared away. Nothing is taken out of the history: a line is added that says so.
 */

export interface RepairInput {
  /** The migration; `history`: lines of the history that are not as they were written are right as they stand. */
  readonly what: number | 'history';
  readonly as: HistoryEntry['as'];
  /** The statement to go on with, from 1, where a person knows how far it came. */
  readonly from: number | undefined;
  readonly reason: string;
}

export interface Repaired {
  readonly number: number;
  /** For people: what was found, done and noted. */
  readonly lines: readonly string[];
}

/**
 * Must be called with the lock.
 * @throws NotFound when there is no such migration. @throws Incompatible where nobody but a person can tell what stands.
 */
export async function repair(migrator: Migrator, input: RepairInput): Promise<Repaired> {
  if (input.what === 'history') return await acceptHistory(migrator, input.reason);
  const number = input.what;
  const { standings, entries } = await overviewOf(migrator);
  const standing = standings.get(number);
  const file = migrator.folder.files.find((each) => each.number === number);
  if (standing === undefined && file === undefined) {
    throw new NotFound(
      `there is no migration ${number}, neither a file nor in the history; vecferry migrate status lists them`,
    );
  }
  const said =
    input.as === undefined ? await cleared(migrator, input, standing, file) : declared(input, standing, file);
  const name = file?.name ?? standing?.entry.name ?? '';
  const note = input.reason === '' ? said.lines.join('; ') : `${said.lines.join('; ')} (${input.reason})`;
  await migrator.history.append({
    seq: nextSeq(entries),
    number,
    name,
    checksum: file?.checksum ?? standing?.entry.checksum ?? '',
    kind: file?.kind ?? standing?.entry.kind ?? 'sql',
    action: 'repaired',
    at: migrator.now().toISOString(),
    by: migrator.by,
    milliseconds: 0,
    ...said.entry,
    detail: note,
  });
  return { number, lines: said.lines };
}

interface Said {
  readonly lines: readonly string[];
  readonly entry: Partial<HistoryEntry>;
}

async function acceptHistory(migrator: Migrator, reason: string): Promise<Repaired> {
  const faults = await migrator.history.faults();
  if (faults.length === 0) throw new Incompatible('the history is as it was written; there is nothing to repair');
  const entries = await migrator.history.entries();
  const lines = [...faults, 'held for right as it stands'];
  await migrator.history.append({
    seq: nextSeq(entries),
    number: historyNumber,
    name: 'history',
    checksum: '',
    action: 'repaired',
    at: migrator.now().toISOString(),
    by: migrator.by,
    milliseconds: 0,
    detail: [...lines, ...(reason === '' ? [] : [reason])].join('; '),
  });
  return { number: historyNumber, lines };
}

/** What a person says, as it is. */
function declared({ as }: RepairInput, standing: Standing | undefined, file: MigrationFile | undefined): Said {
  if (as === 'forgotten') {
    if (file !== undefined)
      throw new Incompatible(
        `${file.path} is there; take the file away first, since what is forgotten is neither applied nor pending`,
      );
    return { entry: { as }, lines: ['its file is gone for good: neither applied nor pending from now on'] };
  }
  if (file === undefined) {
    const how = 'bring it back, or say --as forgotten';
    throw new Incompatible(`${standing?.entry.name} has no file, so it cannot be said to be ${as}; ${how}`);
  }
  if (as === 'pending')
    return { entry: { as }, lines: ['nothing of it stands: up applies it from its first statement'] };
  const rollback =
    file.kind === 'sql'
      ? sqlParts(file.text, file.path).down?.trim()
      : (standing?.applied ?? standing?.begun)?.rollback;
  return {
    entry: { as: 'applied', ...(rollback !== undefined && { rollback }) },
    lines: ['all of it stands, as the file is now; down takes it back by the down part that the file has now'],
  };
}

/** Looks at what a step left that died half way, clears it away where that is sure, and says from where to go on. */
async function cleared(
  { session }: Migrator,
  { what, from }: RepairInput,
  standing: Standing | undefined,
  file: MigrationFile | undefined,
): Promise<Said> {
  const ways = `say how it is: vecferry migrate repair ${what} --as applied, pending or forgotten`;
  if (standing?.state !== 'half') throw new Incompatible(`migration ${what} is not half way; ${ways}`);
  if (session === undefined || (standing.entry.kind ?? file?.kind) === 'collection')
    throw new Incompatible(
      `a collection's step may be repeated as it is: vecferry migrate up goes on with it; or ${ways}`,
    );
  const { statements, where } = await partOf(standing, file, ways);
  const at = from ?? standing.statement;
  const current = await begunAt(standing, statements, at, where);
  // One past the last: all of them are done.
  if (current === undefined && at !== statements.length + 1)
    throw new InvalidEvent(`--from ${at}: ${where} has ${statements.length} statements`);
  const { next, lines } =
    from === undefined && current !== undefined
      ? await lookAt(session, current, at, ways)
      : { next: at, lines: ['as a person says'] };
  if (next > at && !isSameText(current?.text, statements[at - 1]?.text))
    throw new Incompatible(
      `${lines.join('; ')}, as it was begun, and ${where} says something else by now; bring it back as it was, or take back by hand what stands and ${ways}`,
    );
  if (next <= statements.length) {
    return {
      entry: { statement: next },
      lines: [...lines, `${standing.direction} goes on with statement ${next} of ${statements.length}`],
    };
  }
  if (standing.direction === 'down') return { entry: { as: 'pending' }, lines: [...lines, 'all of it is taken back'] };
  const rollback = file === undefined ? undefined : sqlParts(file.text, file.path).down?.trim();
  return {
    entry: { as: 'applied', ...(rollback !== undefined && { rollback }) },
    lines: [...lines, 'all of it stands'],
  };
}

/** The statements that are gone on with: of the file as it is now, where what stands of it is as it was. */
async function partOf(
  standing: Standing,
  file: MigrationFile | undefined,
  ways: string,
): Promise<{ readonly statements: readonly ParsedStatement[]; readonly where: string }> {
  if (standing.direction === 'down') {
    const where = `what takes ${standing.entry.name} back`;
    return { statements: await parseSql(standing.applied?.rollback ?? '', where), where };
  }
  const name = standing.entry.name;
  if (file === undefined)
    throw new Incompatible(`${name} has no file any more, so its statements cannot be told; bring it back, or ${ways}`);
  const statements = await parseSql(sqlParts(file.text, file.path).up, file.path);
  if (followsOn(statements, file, standing)) return { statements, where: file.path };
  const what = 'was changed since it was begun, or its variables were, in statements that stand';
  throw new Incompatible(`${file.path} ${what}; bring it back as it was, or ${ways}`);
}

/** The statement that did not end, as it was begun. */
async function begunAt(
  { said, statement }: Standing,
  statements: readonly ParsedStatement[],
  at: number,
  where: string,
): Promise<ParsedStatement | undefined> {
  const text = at === statement ? said?.[at - 1] : undefined;
  return text === undefined || text === '' ? statements[at - 1] : (await parseSql(text, where))[0];
}

/** What became of one statement: from where to go on. */
async function lookAt(
  session: SqlSession,
  { text, node }: ParsedStatement,
  at: number,
  ways: string,
): Promise<{ readonly next: number; readonly lines: readonly string[] }> {
  const shown = `statement ${at} (${firstLine(text)})`;
  if ('IndexStmt' in node) return await lookAtIndex(session, node.IndexStmt, at, shown);
  // What may be said twice without harm. A second DROP of what is gone would fail, so it is left out.
  if ('VacuumStmt' in node || 'ReindexStmt' in node || 'ClusterStmt' in node) {
    const dropped = await dropInvalid(session, node, await invalidIndexes(session));
    const lines = dropped.map((name) => `${name} was not valid and is dropped`);
    return { next: at, lines: [...lines, `${shown} may be repeated`] };
  }
  if ('DropStmt' in node && node.DropStmt.removeType === 'OBJECT_INDEX') {
    const names = (node.DropStmt.objects ?? []).map((object) => nameIn(object));
    const left = await Promise.all(names.map((name) => hasIndex(session, name)));
    if (left.every((isThere) => !isThere)) return { next: at + 1, lines: [`${shown} is done`] };
    if (left.every((isThere) => isThere)) return { next: at, lines: [`${shown} did nothing that stands`] };
  }
  const choose = `look at it, and name the statement to go on with: --from ${at} where it is to be repeated, --from ${at + 1} where it is done; or ${ways}`;
  throw new Incompatible(`nobody can tell from outside whether ${shown} is done; ${choose}`);
}

async function lookAtIndex(
  session: SqlSession,
  node: IndexStmt,
  at: number,
  shown: string,
): Promise<{ readonly next: number; readonly lines: readonly string[] }> {
  const { idxname, relation } = node;
  const dropped = await dropInvalid(session, { IndexStmt: node }, await invalidIndexes(session));
  if (dropped.length > 0) return { next: at, lines: dropped.map((name) => `${name} was not valid and is dropped`) };
  if (idxname !== undefined && (await hasIndex(session, idxname, relation?.schemaname)))
    return { next: at + 1, lines: [`${shown} stands: ${idxname} is valid`] };
  return { next: at, lines: [`nothing of ${shown} stands`] };
}

/** Of a list of names in the parser's tree the last one. */
function nameIn(node: unknown): string {
  const names = [...JSON.stringify(node).matchAll(/"sval":("(?:[^"\\]|\\.)*")/g)].map(([, text = '""']) =>
    String(JSON.parse(text)),
  );
  return names.at(-1) ?? '';
}

/** @param schema left out: where the search path finds it */
async function hasIndex(session: SqlSession, name: string, schema?: string): Promise<boolean> {
  const rows = await session.rows(
    `SELECT 1::text AS there FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
     WHERE c.relname = $1 AND c.relkind IN ('i', 'I')
       AND CASE WHEN $2::text IS NULL THEN pg_table_is_visible(c.oid) ELSE c.relnamespace = to_regnamespace(quote_ident($2)) END`,
    [name, schema ?? null],
  );
  return rows.length > 0;
}
