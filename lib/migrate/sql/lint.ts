import type { RangeVar } from 'libpg-query';
import { InvalidEvent } from '../../errors.ts';
import type { MigrationFile } from '../port.ts';
import { type Ignored, ignoreForm, ignoresIn } from './ignore.ts';
import { type ParsedStatement, parseSql } from './parse.ts';
import { sqlParts } from './parts.ts';
import { ownRuleNames, rules, squawkSteps } from './rules/all.ts';
import { type Memory, makeMemory } from './rules/facts.ts';
import { transactionInFile } from './rules/rewrites.ts';
import { addedColumns, type Linted, type Verdict } from './rules/rule.ts';
import { runSquawk, type SquawkFinding } from './squawk.ts';
import { isTransactional } from './transactional.ts';

/** What a linter says of one place of a file, and how it is done safely. */
export interface LintFinding {
  readonly path: string;
  readonly line: number;
  /** Its name, to be switched off by: `adding-required-field`. */
  readonly rule: string;
  /** error: locks or loses; warning: may, on a large table. */
  readonly level: 'error' | 'warning';
  readonly message: string;
  /** Expand, backfill, contract: the steps that do the same without harm, each a migration of its own. */
  readonly safeSteps: readonly string[];
}

export interface LintOptions {
  /** Rules that are left out. @throws InvalidEvent for a name that is none. */
  readonly ignore?: readonly string[];
  /** The server's major version; 18 where nobody says, the newest that the parser knows. */
  readonly postgres?: number;
  /** The paths that are reported; the others are read for what they say of the tables. Left out: all. */
  readonly only?: ReadonlySet<string>;
}

const newestPostgres = 18;

/**
 * What is not safe practice in these SQL files, in the order of their lines; collection files are passed over. The up part is held
 * against our rules and squawk's; of the down part it is asked that it can run: to lose what up has made is what it is for. A file
 * that is no SQL is one finding, `syntax-error`.
 *
 * @param files In order of their numbers: what earlier ones say of a table, later ones are judged by.
 * @throws InvalidEvent for a rule to leave out that is none. @throws Incompatible where squawk has no binary for this machine.
 */
export async function lintFiles(
  files: readonly MigrationFile[],
  options: LintOptions = {},
): Promise<readonly LintFinding[]> {
  const { ignore = [], postgres = newestPostgres, only } = options;
  for (const rule of ignore) {
    if (lintRuleNames.has(rule)) continue;
    throw new InvalidEvent(`'${rule}' is no rule of the linter; the rules are ${[...lintRuleNames].sort().join(', ')}`);
  }
  const memory = makeMemory();
  const findings: LintFinding[] = [];
  const sql = files.filter(({ kind }) => kind === 'sql');
  const isAsked = ({ path }: MigrationFile): boolean => only?.has(path) !== false;
  const squawk = await runSquawk(upPartsOf(sql.filter(isAsked)), postgres);
  for (const file of sql) {
    if (!isAsked(file)) await learnFile(file, memory);
    else {
      const found = await lintFile(file, memory, postgres, squawk.get(file.path) ?? []);
      findings.push(...found.filter(({ rule }) => !ignore.includes(rule)));
    }
  }
  return findings;
}

/** By path; without files whose parts cannot be told, which lintFile says. */
function upPartsOf(files: readonly MigrationFile[]): ReadonlyMap<string, string> {
  const parts = new Map<string, string>();
  for (const { text, path } of files) {
    try {
      parts.set(path, sqlParts(text, path).up);
    } catch (error) {
      if (!(error instanceof InvalidEvent)) throw error;
    }
  }
  return parts;
}

/** Of the linter itself. */
const ownKinds = ['syntax-error', 'ignore-without-reason', 'ignore-without-effect'];
/** Every name that a finding may have; squawk may add one in a later release. */
export const lintRuleNames: ReadonlySet<string> = new Set([...ownRuleNames, ...Object.keys(squawkSteps), ...ownKinds]);

/** What a file says of the tables, where nobody asks what is wrong with it: one that cannot be read says nothing. */
async function learnFile({ text, path }: MigrationFile, memory: Memory): Promise<void> {
  memory.begin();
  try {
    for (const { node } of await parseSql(sqlParts(text, path).up, path)) memory.learn(node);
  } catch (error) {
    if (!(error instanceof InvalidEvent)) throw error;
  }
}

async function lintFile(
  file: MigrationFile,
  memory: Memory,
  postgres: number,
  squawk: readonly SquawkFinding[],
): Promise<readonly LintFinding[]> {
  const { path } = file;
  memory.begin();
  const made = (verdict: Verdict, line: number): LintFinding => {
    const { rule, level, message, safeSteps } = verdict;
    return { path, line, rule, level, message, safeSteps };
  };
  const findings: LintFinding[] = [];
  const orFinding = async <T>(read: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof InvalidEvent)) throw error;
      findings.push(made(...unreadable(error, path)));
      return undefined;
    }
  };
  const parts = await orFinding(() => sqlParts(file.text, path));
  if (parts === undefined) return findings;
  const up = await orFinding(() => parseSql(parts.up, path));
  const down = await orFinding(() => parseSql(parts.down ?? '', path));
  if (up === undefined) return findings;
  const bytes = Buffer.from(parts.up);
  const lineAt = (offset: number): number => bytes.subarray(0, offset).toString().split('\n').length;
  const alone = await Promise.all(up.map(async ({ text, node }) => !(await isTransactional(text, node))));
  const common = { postgres, facts: memory };
  const seen = squawkFilter(squawk, bytes, up);
  up.forEach((statement, index) => {
    const linted: Linted = { ...common, statement, index, statements: up, isTransactional: (at) => alone[at] !== true };
    const verdicts = rules.flatMap((rule) => rule(linted));
    const others = seen(index).filter((other) => isNews(other, verdicts, linted));
    for (const verdict of verdicts)
      findings.push(made(verdict, verdict.at === undefined ? statement.line : lineAt(verdict.at)));
    for (const other of others) findings.push(made(verdictOf(other), other.line + 1));
    memory.learn(statement.node);
  });
  for (const [index, statement] of (down ?? []).entries()) {
    const linted: Linted = { ...common, statement, index, statements: down ?? [], isTransactional: () => true };
    for (const verdict of transactionInFile(linted)) findings.push(made(verdict, statement.line));
  }
  return applyIgnores(findings, ignoresIn(parts.up), up, made).sort((a, b) => a.line - b.line);
}

/** The messages of parts.ts and parse.ts begin with file, line and, of the parser, column. */
function unreadable({ message: whole }: InvalidEvent, path: string): readonly [Verdict, number] {
  const [, line = '1', message = whole] = /^:(\d+)(?::\d+)?: ([\s\S]*)$/.exec(whole.slice(path.length)) ?? [];
  return [{ rule: 'syntax-error', level: 'error', message, safeSteps: [] }, Number(line)];
}

/** squawk's findings by the statement that they lie in. What lies in none is of the file, and told with the first. */
function squawkFilter(
  findings: readonly SquawkFinding[],
  bytes: Uint8Array,
  statements: readonly ParsedStatement[],
): (index: number) => readonly SquawkFinding[] {
  const starts = [0];
  bytes.forEach((byte, at) => {
    if (byte === 0x0a) starts.push(at + 1);
  });
  const placed = findings.map((finding) => {
    const offset = (starts[finding.line] ?? 0) + finding.column;
    return {
      finding,
      index: Math.max(
        0,
        statements.findIndex(({ from, to }) => offset >= from && offset < to),
      ),
    };
  });
  return (index) => placed.filter((one) => one.index === index).map(({ finding }) => finding);
}

/** Rules of squawk that say of a constraint what ours say under a name of its own. */
const sameAs: Readonly<Record<string, readonly string[]>> = {
  'constraint-missing-not-valid': [
    'disallowed-unique-constraint',
    'adding-serial-primary-key-field',
    'adding-foreign-key-constraint',
    'adding-exclusion-constraint',
    'validating-in-same-transaction',
  ],
  'changing-column-type': ['changing-vector-dimension'],
};

/** False where our rules have said it, or have looked at the very thing and know better. */
function isNews({ rule }: SquawkFinding, verdicts: readonly Verdict[], linted: Linted): boolean {
  const names = [rule, ...(sameAs[rule] ?? [])];
  if (verdicts.some((verdict) => names.includes(verdict.rule))) return false;
  if (decided.has(rule)) return false;
  // A table that this file makes has no readers yet, also under another name and where squawk cannot see that it made it: CREATE TABLE AS.
  const target = targetOf(linted.statement);
  if (ofOthers.has(rule) && target !== undefined && linted.facts.isNew(target)) return false;
  if (rule !== 'adding-field-with-default') return true;
  // squawk takes every generated column for a stored one.
  return !addedColumns(linted).some(({ constraint }) => constraint('CONSTR_GENERATED')?.generated_kind === 'v');
}

/** The table that a statement changes. */
function targetOf({ node }: ParsedStatement): RangeVar | undefined {
  if ('AlterTableStmt' in node) return node.AlterTableStmt.relation;
  return 'RenameStmt' in node ? node.RenameStmt.relation : undefined;
}

/** Rules of squawk about those who use a table meanwhile, or its rows of before. */
const ofOthers: ReadonlySet<string> = new Set([
  'adding-field-with-default',
  'adding-required-field',
  'adding-serial-primary-key-field',
  'ban-drop-column',
  'ban-drop-not-null',
  'constraint-missing-not-valid',
  'disallowed-unique-constraint',
  'renaming-column',
  'require-concurrent-partition-detach',
]);

/** Rules on which ours see more than squawk, who does not know the files before, or our tables of the same file; they have the last word. */
const decided: ReadonlySet<string> = new Set([
  'adding-not-nullable-field',
  'changing-column-type',
  'renaming-table',
  'adding-foreign-key-constraint',
  'ban-drop-table',
  'require-concurrent-index-creation',
]);

function verdictOf({ rule, message, help }: SquawkFinding): Verdict {
  if (rule === 'syntax-error') {
    // PostgreSQL's own parser has taken the file already.
    const text = `squawk does not know this form (${message}), so its rules did not look at it; PostgreSQL knows it`;
    return { rule, level: 'warning', message: text, safeSteps: [] };
  }
  return {
    rule,
    level: 'warning',
    message,
    safeSteps: squawkSteps[rule] ?? (help === null ? [] : [`expand: ${help}`]),
  };
}

function applyIgnores(
  findings: readonly LintFinding[],
  ignores: readonly Ignored[],
  statements: readonly ParsedStatement[],
  made: (verdict: Verdict, line: number) => LintFinding,
): LintFinding[] {
  const used = new Set<string>();
  // A clause's finding may be meant by the line before its statement too.
  const lineOfStatement = (line: number): number => statements.findLast((one) => one.line <= line)?.line ?? line;
  const left = findings.filter(({ line, rule }) => {
    const by = ignores.find(
      ({ of, rules, reason }) => reason !== '' && rules.includes(rule) && (of === line || of === lineOfStatement(line)),
    );
    if (by !== undefined) used.add(`${by.line} ${rule}`);
    return by === undefined;
  });
  for (const { line, rules, reason } of ignores) {
    if (rules.length === 0 || reason === '') {
      const message = `this comment switches nothing off: write ${ignoreForm}, the reason for the one who reads it next year`;
      left.push(made({ rule: 'ignore-without-reason', level: 'error', message, safeSteps: [] }, line));
      continue;
    }
    for (const rule of rules) {
      if (used.has(`${line} ${rule}`)) continue;
      const message = `the statement below has no finding '${rule}'; take this comment out`;
      left.push(made({ rule: 'ignore-without-effect', level: 'warning', message, safeSteps: [] }, line));
    }
  }
  return left;
}
