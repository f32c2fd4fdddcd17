import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { parse as parseJson, parseNumberAndBigInt } from 'lossless-json';
import { isCollection, isNode, isPair, LineCounter, type Node, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { InvalidEvent, NotFound } from '../../errors.ts';
import { type Problem, problemsOf } from '../../event.ts';
import type { MigrationFile } from '../port.ts';
import { type Change, type CollectionFile, collectionFileSchema, fieldsAt, type Seed, seedSchema } from './words.ts';

/**
 * Reads a collection file, YAML or JSON, which is YAML too.
 * @throws InvalidEvent naming the file and, of each thing that is wrong, its line, column and field, and what is accepted
 */
export function readCollectionFile({ path, text }: Pick<MigrationFile, 'path' | 'text'>): CollectionFile {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, intAsBigInt: true });
  const [document, second] = Array.isArray(documents) ? documents : [];
  const refuse = (problems: readonly string[], ids: readonly string[] = [path]): never => {
    throw new InvalidEvent(problems.join('; '), { ids });
  };
  if (document === undefined || document.contents === null)
    return refuse([`${path} is empty; it names a store and a collection`]);
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}, line ${line}, column ${col}`;
  };
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) return refuse(faults.map(({ pos, message }) => `${place(pos[0])}: ${message}`));
  if (second !== undefined)
    return refuse([
      `${place(second.range[0])}: a second document begins; put several collections under "collections:"`,
    ]);
  const parsed = collectionFileSchema.safeParse(withNumbers(document.toJS()));
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.flatMap(problemsIn);
  const found = problems.map(
    (problem) => `${place(nodeAt(document.contents, problem.path)?.range?.[0] ?? 0)}: ${sentence(problem)}`,
  );
  return refuse(
    found,
    problems.map((each) => each.path),
  );
}

/** A field that nobody knows is named itself, with those that are known there. */
function problemsIn(issue: z.core.$ZodIssue): readonly Problem[] {
  if (issue.code !== 'unrecognized_keys') return problemsOf(new z.ZodError([issue]));
  const known = fieldsAt(issue.path)?.join(', ');
  const message = known === undefined ? 'is no field that is known there' : `is no field here; there are ${known}`;
  return issue.keys.map((key) => ({ path: [...issue.path, key].map(String).join('.'), message }));
}

function sentence({ path, message }: Problem): string {
  if (path === '') return `the file ${message}`;
  return `${path} ${message}`;
}

/** Integers that a double holds are numbers again; others stay as they were read, digit by digit. */
function withNumbers(value: unknown): unknown {
  if (typeof value === 'bigint')
    return BigInt(Number(value)) === value && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(withNumbers);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, withNumbers(each)]));
}

/** The node of the field that `path` names, or the nearest one around it. A name may have dots, so the longest one that fits is taken. */
function nodeAt(from: unknown, path: string): Node | undefined {
  if (!isNode(from)) return undefined;
  if (path === '' || !isCollection(from)) return from;
  const steps = path.split('.');
  for (let taken = steps.length; taken > 0; taken--) {
    const name = steps.slice(0, taken).join('.');
    const rest = steps.slice(taken).join('.');
    const item = from.items.find((each, at) => (isPair(each) ? String(each.key) === name : String(at) === name));
    if (item === undefined) continue;
    if (!isPair(item)) return nodeAt(item, rest) ?? from;
    if (rest === '') return isNode(item.key) ? item.key : from;
    return nodeAt(item.value, rest) ?? (isNode(item.key) ? item.key : from);
  }
  return from;
}

const seedLine = z.string().transform((text, { addIssue }): unknown => {
  try {
    return withNumbers(parseJson(text, undefined, parseNumberAndBigInt));
  } catch (error) {
    addIssue({ code: 'custom', message: `is no JSON: ${error instanceof Error ? error.message : error}` });
    return z.NEVER;
  }
});

/**
 * The records that a change seeds: its own, and those of its seed file.
 * @throws NotFound when the seed file is not there @throws InvalidEvent when it is not the one that was meant, or holds no record in a line
 */
export async function seedsOf({ path }: Pick<MigrationFile, 'path'>, change: Change): Promise<readonly Seed[]> {
  const own = change.seed ?? [];
  if (change.seedFile === undefined) return own;
  const { name, sha256 } = change.seedFile;
  const where = join(dirname(path), name);
  const bytes = await readFile(where).catch((cause: unknown) => {
    throw new NotFound(`${path} names the seed file '${name}', and ${where} cannot be read; put it beside the file`, {
      ids: [name],
      cause,
    });
  });
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== sha256) {
    const text = `${where} has the checksum ${found}, and seedFile.sha256 of ${path} is ${sha256}`;
    throw new InvalidEvent(`${text}: it is another file than the one that was meant, or was changed since`, {
      ids: [name],
    });
  }
  const lines = bytes.toString('utf8').split('\n');
  const read = lines.flatMap((line, at): Seed[] => {
    if (line.trim() === '') return [];
    const parsed = seedLine.pipe(seedSchema).safeParse(line);
    if (parsed.success) return [parsed.data];
    const said = problemsOf(parsed.error).map(sentence).join('; ');
    throw new InvalidEvent(`${where}, line ${at + 1}: ${said}`, { ids: [name] });
  });
  return [...own, ...read];
}
