import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, parse as parsePath } from 'node:path';
import { z } from 'zod';
import { Incompatible } from '../../errors.ts';

/**
 * squawk (https://squawkhq.com), the linter that reads a file beside our own rules: what it knows and we do not is reported too. Its
 * binary comes from npm, a package a platform, without an install script.
 */

/** What squawk says of one place; its lines and columns count from 0, columns in bytes. */
export interface SquawkFinding {
  readonly line: number;
  readonly column: number;
  readonly rule: string;
  readonly message: string;
  readonly help: string | null;
}

const outputSchema = z.array(
  z
    .object({
      file: z.string(),
      line: z.number(),
      column: z.number(),
      rule_name: z.string(),
      message: z.string(),
      help: z.string().nullable(),
    })
    .transform(({ file, rule_name: rule, ...rest }): { file: string; finding: SquawkFinding } => ({
      file,
      finding: { rule, ...rest },
    })),
);

/** Rules of squawk that we leave out, with the reason. What it adds in a later release is reported. */
const leftOut: Readonly<Record<string, string>> = {
  'prefer-robust-stmts':
    'each file is one transaction, or one statement: IF NOT EXISTS would hide that the table is another one',
  'prefer-bigint-over-int': 'style',
  'prefer-bigint-over-smallint': 'style',
  'prefer-identity': 'style',
  'prefer-text-field': 'style',
  'prefer-timestamp-tz': 'style',
  'ban-char-field': 'style',
  'require-table-schema': 'style',
  'require-enum-value-ordering': 'style',
  'prefer-repack': 'REPACK is of PostgreSQL 19',
  'require-lock-timeout': 'of the session, which the runner sets',
  'require-statement-timeout': 'of the session, which the runner sets',
  'ban-uncommitted-transaction': 'a file with BEGIN is refused',
  'ban-concurrent-index-creation-in-transaction': 'such a file is not run in a transaction',
};

/** A file is linted in a millisecond; what takes this long hangs. */
const timeoutMs = 60_000;

/** What it is given at once: the names of so many files are far below what a command line holds (128 KiB on Linux). */
const filesAtOnce = 500;

/**
 * One process for many files: to start it takes a hundred times as long as its work (`npm run bench -- lint`).
 *
 * @param texts SQL by a name of the caller's. @param postgres The server's major version. @returns findings by that name
 * @throws Incompatible where squawk has no binary for this machine, or fails.
 */
export async function runSquawk(
  texts: ReadonlyMap<string, string>,
  postgres: number,
): Promise<ReadonlyMap<string, readonly SquawkFinding[]>> {
  const all = [...texts];
  const found = new Map<string, readonly SquawkFinding[]>();
  for (let from = 0; from < all.length; from += filesAtOnce) {
    const some = all.slice(from, from + filesAtOnce);
    const findings = await lintTexts(
      some.map(([, text]) => text),
      postgres,
    );
    for (const [at, [name]] of some.entries()) found.set(name, findings[at] ?? []);
  }
  return found;
}

/** Its own comments switch nothing off, and the fence that pg_dump writes for psql is no SQL (parse.ts passes over it too). */
const readable = (text: string): string =>
  text.replaceAll('squawk-ignore', 'squawk_ignore').replaceAll(/^\\(?:un)?restrict [0-9A-Za-z]+\r?$/gm, '');

/** Findings of each text, which it is given as files: of its standard input it takes a single one. */
async function lintTexts(texts: readonly string[], postgres: number): Promise<readonly (readonly SquawkFinding[])[]> {
  const program = squawkBinary();
  const folder = await mkdtemp(join(tmpdir(), 'vecferry-lint-'));
  try {
    const paths = texts.map((_, at) => join(folder, `${at}.sql`));
    // Its own comments switch rules off without a reason; ours ask for one. As long as before: places stay.
    await Promise.all(paths.map((path, at) => writeFile(path, readable(texts[at] ?? ''))));
    const options = ['--reporter', 'json', '--pg-version', `${postgres}.0`, '--assume-in-transaction'];
    const answer = await start(program, [...options, '--exclude', Object.keys(leftOut).join(','), ...paths]);
    const findings = findingsIn(answer);
    return paths.map((path) => findings.filter(({ file }) => file === path).map(({ finding }) => finding));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function findingsIn({ code, out, errors }: Answer): z.infer<typeof outputSchema> {
  if (code !== 0 && code !== 1) throw new Incompatible(`squawk ended with ${code}: ${errors.trim().slice(0, 500)}`);
  try {
    return outputSchema.parse(JSON.parse(out));
  } catch (cause) {
    throw new Incompatible(
      `squawk answered with something else than its findings: ${(out + errors).trim().slice(0, 300)}`,
      { cause },
    );
  }
}

const releases = 'darwin-arm64, darwin-x64, linux-arm64, linux-x64 and win32-x64';

/** Where npm has put it. @throws Incompatible where it has not. */
export function squawkBinary(platform: string = process.platform, arch: string = process.arch): string {
  const ending = platform === 'win32' ? '.exe' : '';
  // It is looked up from squawk-cli, whose dependency it is: package managers that do not hoist put it there.
  const from = createRequire(createRequire(import.meta.url).resolve('squawk-cli/package.json'));
  try {
    return from.resolve(`@squawk-cli/${platform}-${arch}/bin/squawk${ending}`);
  } catch (cause) {
    throw new Incompatible(
      `the linter squawk is not installed for ${platform}-${arch}; it comes with npm install (optional dependencies, which --omit=optional leaves out) for ${releases}; lint on one of these`,
      { cause },
    );
  }
}

interface Answer {
  readonly code: number | string;
  readonly out: string;
  readonly errors: string;
}

async function start(command: string, args: readonly string[]): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    // It reads a .squawk.toml of the folder it runs in, or of one above: a rule would be off without anyone being told.
    const cwd = parsePath(process.cwd()).root;
    const child = spawn(command, args, { cwd, timeout: timeoutMs, stdio: ['ignore', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (part: Buffer) => out.push(part));
    child.stderr.on('data', (part: Buffer) => errors.push(part));
    child.on('error', (cause) => {
      reject(new Incompatible(`squawk cannot be started: ${cause.message}`, { cause }));
    });
    child.on('close', (code, signal) => {
      const text = (parts: readonly Buffer[]): string => Buffer.concat(parts).toString();
      resolve({ code: code ?? signal ?? 'unknown', out: text(out), errors: text(errors) });
    });
  });
}
