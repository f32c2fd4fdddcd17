import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidEvent, NotFound } from '../errors.ts';
import type { MigrationFile } from './port.ts';
import { fillIn, type Variables } from './variables.ts';

/** The files of a folder of migrations. */

/** `001_articles.sql`, `20261121213000_search.yaml`; the hyphen of other tools is taken too. */
const namePattern = /^(\d+)[_-](.+)\.(sql|yaml|yml|json)$/;
/** What may lie in the folder without being a migration. */
const besides = /^(vecferry\.(yaml|yml|json)|expect\.yaml|README(\.\w+)?|\..*)$/i;

/** Digits of a number that is a time, `20261121213000`: such numbers are in order, and nobody can say whether one is missing. */
const timestampDigits = 14;
export const isTimestamp = (number: number): boolean => String(number).length === timestampDigits;

export interface MigrationFolder {
  /** In order of their numbers. */
  readonly files: readonly MigrationFile[];
  /** What does not fit, a sentence each: a number twice, a number that is missing, a file that is no migration. */
  readonly problems: readonly string[];
}

/** @throws NotFound when there is no such folder. @throws InvalidEvent when a file is no UTF-8, or says a variable that has no value. */
export async function readMigrationFiles(
  directory: string,
  variables: Variables = new Map(),
): Promise<MigrationFolder> {
  const entries = await readdir(directory, { withFileTypes: true }).catch((cause: unknown) => {
    throw new NotFound(`there is no folder of migrations '${directory}'; name it with --migrations`, { cause });
  });
  // Folders hold what files refer to: seed records, notes.
  const names = entries.filter((entry) => !entry.isDirectory() && !besides.test(entry.name)).map(({ name }) => name);
  const files: MigrationFile[] = [];
  const unknown: string[] = [];
  for (const name of names.sort()) {
    const match = namePattern.exec(name);
    if (match === null) unknown.push(name);
    else files.push(await readMigrationFile(directory, name, match, variables));
  }
  files.sort((a, b) => a.number - b.number || (a.name < b.name ? -1 : 1));
  return { files, problems: [...unknown.map(unknownProblem), ...numberProblems(files)] };
}

function unknownProblem(name: string): string {
  const accepted = 'NUMBER_name.sql, or NUMBER_name.yaml, .yml or .json of a collection';
  return `'${name}' is no migration: its name is not ${accepted}; move it out of the folder or rename it`;
}

async function readMigrationFile(
  directory: string,
  name: string,
  match: RegExpExecArray,
  variables: Variables,
): Promise<MigrationFile> {
  const path = join(directory, name);
  const [, digits = '', , ending] = match;
  const number = Number(digits);
  if (!Number.isSafeInteger(number) || number < 1) {
    throw new InvalidEvent(`${path}: its number is ${digits}; numbers begin at 1 and have at most 15 digits`, {
      ids: [path],
    });
  }
  const written = decode(await readFile(path), path);
  const base = name.slice(0, name.lastIndexOf('.'));
  const kind = ending === 'sql' ? 'sql' : 'collection';
  return { number, name: base, path, kind, text: fillIn(written, path, variables), checksum: checksumOf(written) };
}

/** A SQL file that is no migration yet, under whatever name: a draft to be linted. @throws InvalidEvent when it is no UTF-8. */
export async function readSqlFile(path: string, name: string): Promise<MigrationFile> {
  const text = decode(await readFile(path), path);
  return { number: 0, name, path, kind: 'sql', text, checksum: checksumOf(text) };
}

function decode(bytes: Uint8Array, path: string): string {
  try {
    // The mark that some editors put in front is dropped by the decoder.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new InvalidEvent(`${path} is not UTF-8; save it as UTF-8`, { ids: [path], cause });
  }
}

/** The same on every machine: git may give line ends as \r\n. */
export function checksumOf(text: string): string {
  return createHash('sha256').update(text.replaceAll('\r\n', '\n')).digest('hex');
}

/** What is wrong with the numbers: one twice, one missing, both ways of numbering at once. */
function numberProblems(files: readonly MigrationFile[]): readonly string[] {
  const problems: string[] = [];
  const byNumber = Map.groupBy(files, ({ number }) => number);
  for (const [number, same] of byNumber) {
    if (same.length > 1)
      problems.push(
        `number ${number} is there twice: ${same.map(({ path }) => path).join(', ')}; renumber the one that is not applied yet`,
      );
  }
  const counted = [...byNumber.keys()].filter((number) => !isTimestamp(number));
  if (counted.length > 0 && counted.length < byNumber.size)
    problems.push(
      'some files are numbered from 1 on and some by time; the order of the two is not sure: number all in one way',
    );
  return problems;
}

/**
 * Numbers between 1 and the highest that have no file. Those of a time are only ordered: nobody can say whether one is missing.
 * @param known numbers that need none: applied ones are missed by their own problem, forgotten ones by nobody
 */
export function gapsIn(files: readonly MigrationFile[], known: ReadonlySet<number>): readonly number[] {
  const there = new Set(files.map(({ number }) => number));
  const highest = Math.max(0, ...[...there].filter((number) => !isTimestamp(number)));
  return Array.from({ length: highest }, (_, i) => i + 1).filter((number) => !there.has(number) && !known.has(number));
}
