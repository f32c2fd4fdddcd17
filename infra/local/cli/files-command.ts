import { open, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { InvalidEvent, NotFound } from '../../../lib/errors.ts';
import { endpointSchema, parseAs, parseEvent } from '../../../lib/event.ts';
import { kindOf, refuseOthersTools } from '../../../lib/stores/files/kinds.ts';
import { type CommandContext, runCommand } from './commands.ts';
import { newRunId, parseJson, readText, shownEvent } from './event-input.ts';
import { quoted, shownCommand } from './shown-command.ts';

/**
 * `vecferry export` and `vecferry import`: each makes an event and runs it as `vecferry run` does, validated as ever. Readers are
 * moved by neither: files answer no searches, and what is imported is read once the application says so.
 */

export interface ExportOptions {
  readonly to: string;
  readonly format: string;
  readonly lists?: string;
  readonly run?: string;
}

/** @param argument a collection, or an event whose source and mapping are taken: JSON, a file, - */
export async function exportCommand(
  context: CommandContext,
  argument: string,
  options: ExportOptions,
): Promise<number> {
  const { to, format, lists = 'list' } = options;
  const given = await readObject(argument);
  const isEvent = 'source' in given;
  const event = {
    ...(isEvent ? given : { source: endpointOf(given, argument) }),
    target: {
      store: 'files',
      ...folderAt(to),
      options: { format, lists, ...(format === 'parquet' && { layout: 'columns' }) },
    },
    validate: validationOf(given),
    cutover: null,
  };
  const flags = `--to ${quoted(to)} --format ${format}${lists === 'list' ? '' : ` --lists ${lists}`}`;
  return await start(context, event, `export ${shownEvent(argument)} ${flags}`, options.run);
}

export interface ImportOptions {
  readonly into?: string;
  readonly id?: string;
  readonly idType?: string;
  readonly vectors?: string;
  readonly payload?: string;
  readonly distance?: string;
  readonly existing: boolean;
  readonly run?: string;
}

/** @param path a file, a folder or s3://BUCKET/PREFIX @param target a collection, or an event whose target and mapping are taken */
export async function importCommand(
  context: CommandContext,
  path: string,
  target: string | undefined,
  options: ImportOptions,
): Promise<number> {
  const argument = target ?? options.into;
  if (argument === undefined)
    throw new InvalidEvent(
      'say into what: vecferry import FILE \'{"store":"qdrant","connection":{…},"collection":"words"}\'',
    );
  const given = await readObject(argument);
  const { id, idType, vectors, payload, distance, existing } = options;
  const said = {
    ...(id !== undefined && { id }),
    ...(idType !== undefined && { idType }),
    ...(vectors !== undefined && { vectors: vectors.split(',') }),
    ...(payload !== undefined && { payload }),
    ...(distance !== undefined && { distance }),
  };
  const isEvent = 'target' in given;
  const into = existing ? { into: 'existing' } : {};
  const event = {
    ...(isEvent
      ? { ...given, target: { ...Object(given['target']), ...into } }
      : { target: { ...endpointOf(given, argument), ...into } }),
    cutover: null,
    source: { ...(await sourceOf(path)), options: said },
  };
  const names = { id, 'id-type': idType, vectors, payload, distance };
  const flags = Object.entries(names).flatMap(([name, value]) =>
    value === undefined ? [] : [` --${name} ${quoted(value)}`],
  );
  const again = `import ${quoted(path)} ${shownEvent(argument)}${flags.join('')}${existing ? ' --existing' : ''}`;
  return await start(context, event, again, options.run);
}

async function start(
  context: CommandContext,
  event: object,
  again: string,
  given: string | undefined,
): Promise<number> {
  const run = given ?? newRunId();
  const raw = { ...event, run };
  const parsed = parseEvent(raw);
  return await runCommand(context, run, { raw, parsed }, shownCommand(context, `${again} --run ${run}`));
}

/** @throws InvalidEvent for the name of a file: what is written is several */
function folderAt(to: string): object {
  if (to.startsWith('s3://')) return { connection: { url: to }, collection: '.' };
  if (kindOf(to) !== undefined)
    throw new InvalidEvent(`--to '${to}' is named as a file, and an export is a folder of files; name a folder`);
  return { connection: { path: dirname(resolve(to)) }, collection: basename(resolve(to)) };
}

/** Files are searched exactly, so there is no recall to measure. */
function validationOf(given: Readonly<Record<string, unknown>>): object {
  return { ...Object(given['validate']), recall: null };
}

async function readObject(argument: string): Promise<Readonly<Record<string, unknown>>> {
  const { text, where } = await readText(argument);
  return { ...Object(parseJson(text, where)) };
}

function endpointOf(given: object, argument: string): object {
  const where = argument.trimStart().startsWith('{') ? 'the collection' : argument;
  return parseAs(endpointSchema, given, where, InvalidEvent);
}

/** @throws NotFound; Incompatible for a file that is another tool's */
async function sourceOf(path: string): Promise<object> {
  const store = 'files';
  if (path.startsWith('s3://')) return { store, connection: { url: path }, collection: '.' };
  const found = await stat(path).catch((cause: unknown) => {
    throw new NotFound(`there is no file or folder '${path}'`, { cause });
  });
  if (found.isFile()) {
    const file = await open(path);
    const start = Buffer.alloc(5);
    await file.read(start, 0, 5, 0).finally(() => file.close());
    refuseOthersTools(path, path, start);
  }
  return { store, connection: { path: dirname(resolve(path)) }, collection: basename(resolve(path)) };
}
