import { readFile, stat } from 'node:fs/promises';
import { S3Client } from '@aws-sdk/client-s3';
import { InvalidEvent, NotFound } from '../errors.ts';
import { parseAs, type RunEvent } from '../event.ts';
import { type GivenQuery, givenQuerySchema } from '../event-queries.ts';
import { openS3Objects, parseS3 } from '../objects-s3.ts';
import { bytes, count, plural } from '../words.ts';

/** A query file is read whole; 10,000 queries of 1,536 floats with nine digits are some 180 MiB. */
const maxFileBytes = 256 * 1024 * 1024;
const maxFileQueries = 10_000;
/** Lines that an error speaks about one by one. */
const maxLinesNamed = 20;
/** Lines that it names by their number. */
const maxLineNumbers = 120;
/** Characters about one line. */
const maxProblemLength = 300;

/** Where the files of query sets come from. */
export interface QueryFiles {
  /**
   * The whole file. @param location `s3://BUCKET/KEY`, or a path where the run is on one machine
   * @throws InvalidEvent when it is too large or a path on AWS, NotFound when it is not there.
   */
  read(location: string): Promise<Uint8Array>;
}

/** @param isLocal true where the run is on one machine, so that a path means the same file to every function */
export function openQueryFiles({ isLocal }: { readonly isLocal: boolean }): QueryFiles {
  return {
    read: async (location) => {
      if (location.startsWith('s3://')) return await readObject(location);
      if (isLocal) return await readPath(location);
      const text = `the query file '${location}' is a path, which a function on AWS does not have`;
      throw new InvalidEvent(`${text}; put it into a bucket and write s3://BUCKET/KEY`, { ids: [location] });
    },
  };
}

/** Where no file can be read. */
export const noFiles: QueryFiles = {
  read: async (location) => {
    throw new InvalidEvent(`the query file '${location}' cannot be read here; give its queries in the event`, {
      ids: [location],
    });
  },
};

/** The queries of an event and its files that are given as texts. @throws as `read` and parseQueryFile do */
export async function givenTexts({ validate: { recall } }: RunEvent, files: QueryFiles): Promise<readonly string[]> {
  const texts: string[] = [];
  for (const { file, queries } of recall?.sets ?? []) {
    const given = file === undefined ? (queries ?? []) : parseQueryFile(await files.read(file), file);
    texts.push(...given.flatMap(({ text }) => (text === undefined ? [] : [text])));
  }
  return texts;
}

async function readObject(location: string): Promise<Uint8Array> {
  const { bucket = '', key = '' } = parseS3(location) ?? {};
  if (key === '') {
    throw new InvalidEvent(`the query file '${location}' must be s3://BUCKET/KEY`, { ids: [location] });
  }
  const objects = openS3Objects(bucket, new S3Client({}));
  const entry = (await objects.entries(key)).find((each) => each.key === key);
  if (entry === undefined) throw missing(location);
  refuseLarge(location, entry.size);
  return await objects.range(entry, 0, entry.size);
}

async function readPath(location: string): Promise<Uint8Array> {
  const found = await stat(location).catch(() => undefined);
  if (found?.isFile() !== true) throw missing(location);
  refuseLarge(location, found.size);
  return await readFile(location);
}

function missing(location: string): NotFound {
  return new NotFound(`the query file '${location}' is not there; see that validate.recall.sets names it right`, {
    ids: [location],
  });
}

function refuseLarge(location: string, size: number): void {
  if (size <= maxFileBytes) return;
  throw new InvalidEvent(
    `the query file '${location}' has ${bytes(size)}, more than the ${bytes(maxFileBytes)} that are read; split it`,
    { ids: [location] },
  );
}

/**
 * The queries of a file, a JSON object a line as in an event's `queries`; empty lines are passed over.
 * @throws InvalidEvent that names every line which is none, the first twenty with what is wrong and up to a hundred by
 * number: a file of something else has millions, and a cause that Step Functions takes has 32,768 characters.
 */
export function parseQueryFile(body: Uint8Array, location: string): GivenQuery[] {
  const queries: GivenQuery[] = [];
  const problems: { readonly line: string; readonly problem: string }[] = [];
  let [lines, wrong] = [0, 0];
  for (const [at, text] of linesOf(body)) {
    if (text.trim() === '') continue;
    lines++;
    // As many queries as that are refused anyway, whatever the lines hold.
    if (lines > maxFileQueries) continue;
    try {
      queries.push(parseAs(givenQuerySchema, parseLine(text), `line ${at}`, InvalidEvent));
    } catch (error) {
      if (!(error instanceof InvalidEvent)) throw error;
      wrong++;
      if (problems.length < maxLineNumbers) problems.push({ line: String(at), problem: shorten(error.message) });
    }
  }
  if (problems.length > 0) {
    const named = problems.slice(0, maxLinesNamed).map(({ problem }) => problem);
    const others = problems.slice(maxLinesNamed).map(({ line }) => line);
    const more = wrong > problems.length ? ` and ${count(wrong - problems.length)} more` : '';
    const rest = others.length > 0 ? `; so are lines ${others.join(', ')}${more}` : '';
    throw new InvalidEvent(`the query file '${location}': ${named.join('; ')}${rest}`, {
      ids: problems.map(({ line }) => line),
    });
  }
  if (lines === 0 || lines > maxFileQueries) {
    const text = `the query file '${location}' holds ${plural(lines, 'line')} of queries`;
    throw new InvalidEvent(`${text}; it takes 1 to ${count(maxFileQueries)}`, { ids: [location] });
  }
  return queries;
}

/** Number from 1 and text of each line; the file's text is never held as a whole. */
function* linesOf(body: Uint8Array): Generator<readonly [number, string]> {
  const decoder = new TextDecoder();
  for (let [from, at] = [0, 1]; from < body.length; at++) {
    const end = body.indexOf(10, from);
    const to = end === -1 ? body.length : end;
    yield [at, decoder.decode(body.subarray(from, to))];
    from = to + 1;
  }
}

/** A schema names every float that is wrong; a line's first problems tell enough. */
function shorten(message: string): string {
  return message.length <= maxProblemLength ? message : `${message.slice(0, maxProblemLength)}…`;
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
