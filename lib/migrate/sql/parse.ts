import type { Node } from 'libpg-query';
import { InvalidEvent } from '../../errors.ts';

/** One statement as PostgreSQL's own parser cuts it, with its tree. */
export interface ParsedStatement {
  readonly text: string;
  /** Of its first character, from 1; comments before it are not counted. */
  readonly line: number;
  /** Its place in the file, in bytes of UTF-8: the parser's unit. */
  readonly from: number;
  readonly to: number;
  readonly node: Node;
}

/**
 * The statements of a SQL file, cut and read by PostgreSQL 18's own grammar (libpg-query). Comments between them are left out, those
 * within stay. The parser is WebAssembly of 1.7 MB and is loaded by the first call.
 *
 * @param where The file, as messages name it.
 * @throws InvalidEvent naming file, line, column and what the parser says; for what only psql understands too: `\i`, `:variable`, and
 * the lines of data after COPY … FROM stdin.
 */
export async function parseSql(sql: string, where: string): Promise<readonly ParsedStatement[]> {
  // Windows' editors begin a file with this mark; psql skips it, the server refuses it.
  return await parseText(sql.startsWith('\uFEFF') ? sql.slice(1) : sql, where);
}

async function parseText(text: string, where: string): Promise<readonly ParsedStatement[]> {
  const zero = text.indexOf('\0');
  // The parser takes a C string: it would read no further, and what follows would be lost without a word.
  if (zero >= 0)
    throw refusal(where, text, zero, 'the file holds a zero byte, which ends a text for PostgreSQL; take it out');
  if (text.trim() === '') return [];
  const { parse, hasSqlDetails } = await import('libpg-query');
  const tree = await parse(text).catch(async (cause: unknown) => {
    if (!hasSqlDetails(cause)) throw cause;
    const at = unitOfCodePoint(text, cause.sqlDetails?.cursorPosition ?? 0);
    const fence = dumpFence.exec(text.slice(at))?.[0];
    if (fence !== undefined) return text.slice(0, at) + ' '.repeat(fence.length) + text.slice(at + fence.length);
    throw refusal(where, text, at, await explain(text, at, cause.message), cause);
  });
  if (typeof tree === 'string') return await parseText(tree, where);
  // The parser counts bytes.
  const bytes = Buffer.from(text);
  const lineOf = lineCounter(bytes);
  const statements: ParsedStatement[] = [];
  for (const { stmt, stmt_location: from = 0, stmt_len: length } of tree.stmts ?? []) {
    if (stmt === undefined) continue;
    // Without a length it is the last one, without a semicolon.
    const end = length === undefined || length === 0 ? bytes.length : from + length;
    const line = lineOf(from);
    const statement = { text: bytes.subarray(from, end).toString().trim(), line, from, to: end, node: stmt };
    if ('CopyStmt' in stmt && stmt.CopyStmt.filename === undefined && stmt.CopyStmt.is_program !== true)
      throw refusal(where, text, bytes.subarray(0, from).toString().length, copyRefused);
    statements.push(statement);
  }
  return statements;
}

/**
 * What pg_dump writes around its statements, so that psql runs no command of its own from there on. Here nothing does, and it is passed
 * over where the parser stops at it. postgresql.org/docs/18/app-psql.html
 */
const dumpFence = /^\\(?:un)?restrict [0-9A-Za-z]+(?=\r?(?:\n|$))/;

const copyRefused =
  'COPY FROM stdin and TO stdout need psql, which a migration is not sent through; write INSERT … VALUES, or load the data with COPY … FROM a file of the server';

/** What is meant by text that is no SQL, in place of the parser's "syntax error". `at`: where it stopped, in UTF-16 units. */
async function explain(text: string, at: number, message: string): Promise<string> {
  if (text[at] === '\\')
    return `${message}: ${/^\\[\w!?]*/.exec(text.slice(at))?.[0]} is a command of psql, which a migration is not sent through; write what it does as SQL`;
  if (text[at] === ':')
    return `${message}: a variable of psql (:name) is filled in by psql, which a migration is not sent through; write the value`;
  return (await isDataOfCopy(text.slice(0, at))) ? `${message}: ${copyRefused}` : message;
}

/** True when the last whole statement of `before` is COPY … FROM stdin: what follows is its data. */
async function isDataOfCopy(before: string): Promise<boolean> {
  const copy = /^[\s\S]*\bcopy\b[^;]*\bfrom\s+stdin\b[^;]*;/i.exec(before)?.[0];
  if (copy === undefined) return false;
  const { parse } = await import('libpg-query');
  try {
    const last = (await parse(copy)).stmts?.at(-1)?.stmt;
    return last !== undefined && 'CopyStmt' in last && last.CopyStmt.is_from === true;
  } catch {
    // Then it is not COPY that the error is about, and the parser's own message stands.
    return false;
  }
}

function refusal(where: string, text: string, at: number, message: string, cause?: unknown): InvalidEvent {
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  const column = [...before.slice(before.lastIndexOf('\n') + 1)].length + 1;
  return new InvalidEvent(`${where}:${line}:${column}: ${message}`, { cause });
}

/** The server's error positions count characters, as its log does: an emoji is one. */
function unitOfCodePoint(text: string, position: number): number {
  let units = 0;
  let points = 0;
  for (const character of text) {
    if (points === position) break;
    points++;
    units += character.length;
  }
  return units;
}

/** Lines of ascending byte offsets, from 1, read once from the front. */
function lineCounter(bytes: Uint8Array): (offset: number) => number {
  let line = 1;
  let at = 0;
  return (offset) => {
    for (; at < offset; at++) if (bytes[at] === 0x0a) line++;
    return line;
  };
}
