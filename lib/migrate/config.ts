import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { InvalidEvent, NotFound } from '../errors.ts';
import { parseAs } from '../event.ts';
import { connectionSchema } from '../event-endpoint.ts';
import type { MigrateConfig, MigratedStore } from './port.ts';
import { type Variables, variableName } from './variables.ts';

/**
 * `migrations/vecferry.yaml`: the stores that a folder of migrations changes. It holds names of secrets, never their values, so the same
 * folder runs on every stage: the process's environment says which one it is.
 */

/** The names that are looked for in the folder, when the command line names no other. */
const usualNames = ['vecferry.yaml', 'vecferry.yml', 'vecferry.json'];

/** The history's word for files below the directory of runs; a bucket is `s3://bucket`. */
export const historyInFiles = 'files';
export const isInFiles = (history: string): boolean => history === historyInFiles || /^s3:\/\/[^/]+$/.test(history);

const storeSchema = z.strictObject({
  store: z.string().min(1),
  connection: connectionSchema,
  options: z.record(z.string(), z.unknown()).default({}),
  backup: z.strictObject({ collections: z.array(z.string().min(1)).min(1) }).exactOptional(),
});

/** Whose backup is of one collection after the other: of the others it is the database or the folder. */
const keptByCollection: readonly string[] = ['qdrant', 'chroma'];

const configSchema = z.strictObject({
  stores: z.record(z.string().regex(/^[\w-]+$/, 'must be letters, digits, - and _'), storeSchema),
  sql: z.string().optional(),
  history: z.string().optional(),
  historySchema: z.string().min(1).max(63).optional(),
  variables: z
    .record(z.string().regex(variableName, 'must be letters, digits and _'), z.string().nullable())
    .default({}),
  backup: z.boolean().default(false),
  lint: z.strictObject({ ignore: z.array(z.string().min(1)).default([]) }).default({ ignore: [] }),
});

export interface MigrateSettings extends MigrateConfig {
  /** The file that says so. */
  readonly path: string;
  /** What files say as `${name}`. */
  readonly variables: Variables;
  /** A backup is made before anything is changed, without being asked for. */
  readonly backup: boolean;
  /** Rules of the linter that this team does without. */
  readonly lintIgnore: readonly string[];
}

/**
 * @param directory The folder of migrations. @param path Another file than that of the folder.
 * @throws NotFound where there is none, saying what to write. @throws InvalidEvent naming what is wrong in it.
 */
export async function readMigrateConfig(directory: string, path?: string): Promise<MigrateSettings> {
  const found = path ?? (await findConfig(directory));
  const text = await readFile(found, 'utf8').catch((cause: unknown) => {
    throw new NotFound(`the configuration '${found}' cannot be read: ${messageOf(cause)}`, { cause });
  });
  const {
    stores: given,
    sql: named,
    history,
    historySchema,
    variables,
    backup,
    lint,
  } = parseAs(configSchema, parseText(text, found), found, InvalidEvent);
  const stores = new Map<string, MigratedStore>(
    Object.entries(given).map(([name, store]) => [name, { name, ...store }]),
  );
  for (const { name, store, backup: kept } of stores.values()) {
    if (kept !== undefined && !keptByCollection.includes(store))
      throw new InvalidEvent(
        `${found}: stores.${name} is ${store}, whose backup is all that it holds, and backup.collections names some; it is of ${keptByCollection.join(' and ')}: leave it out`,
        { ids: [name] },
      );
  }
  const sql = named ?? onlyPostgres(stores, found);
  if (sql !== undefined) mustBePostgres(stores, sql, 'sql', found);
  const place = history ?? sql ?? historyInFiles;
  if (!isInFiles(place)) mustBePostgres(stores, place, 'history', found);
  else if (historySchema !== undefined)
    throw new InvalidEvent(
      `${found}: historySchema is '${historySchema}', and the history is kept in ${place}, which has no schemas; leave it out`,
      { ids: ['historySchema'] },
    );
  if (sql !== undefined && place !== sql) {
    // Elsewhere a line of the history could be lost after its SQL was committed, or stand without it.
    const why = `a SQL migration and its line in the history are one transaction, so the history is kept in '${sql}'`;
    throw new InvalidEvent(`${found}: history is '${place}' and sql is '${sql}': ${why}; leave history out`, {
      ids: ['history'],
    });
  }
  const schema = historySchema === undefined ? {} : { historySchema };
  const declared = new Map(Object.entries(variables).map(([name, value]) => [name, value ?? undefined]));
  return {
    directory,
    path: found,
    stores,
    sql,
    history: place,
    ...schema,
    variables: declared,
    backup,
    lintIgnore: lint.ignore,
  };
}

async function findConfig(directory: string): Promise<string> {
  const names = await readdir(directory).catch((cause: unknown) => {
    const text = `there is no folder of migrations '${directory}'`;
    throw new NotFound(`${text}; name it with --migrations, or begin one with \`vecferry migrate new NAME\``, {
      cause,
    });
  });
  const found = usualNames.filter((name) => names.includes(name));
  const [first, second] = found;
  if (second !== undefined) {
    throw new InvalidEvent(`${directory} holds ${found.join(' and ')}; keep one, or name one with --config`);
  }
  if (first !== undefined) return join(directory, first);
  const example = '{"stores": {"db": {"store": "pgvector", "connection": {"secret": "app/db"}}}}';
  throw new NotFound(`${directory} has no vecferry.yaml (or .json), which names the stores: ${example}`);
}

function parseText(text: string, where: string): unknown {
  try {
    return where.endsWith('.json') ? JSON.parse(text) : parse(text);
  } catch (cause) {
    throw new InvalidEvent(`${where} is no ${where.endsWith('.json') ? 'JSON' : 'YAML'}: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** One PostgreSQL store is meant; of several one has to be named. */
function onlyPostgres(stores: ReadonlyMap<string, MigratedStore>, where: string): string | undefined {
  const names = [...stores.values()].filter(({ store }) => store === 'pgvector').map(({ name }) => name);
  if (names.length < 2) return names[0];
  throw new InvalidEvent(
    `${where}: ${names.join(' and ')} are PostgreSQL; say which one SQL files run on: "sql": "${names[0]}"`,
    {
      ids: ['sql'],
    },
  );
}

function mustBePostgres(
  stores: ReadonlyMap<string, MigratedStore>,
  name: string,
  field: 'sql' | 'history',
  where: string,
): void {
  const store = stores.get(name);
  const accepted = [...stores.values()].filter((each) => each.store === 'pgvector').map((each) => each.name);
  const names = [...accepted, ...(field === 'history' ? [historyInFiles, 's3://bucket'] : [])].join(', ');
  if (store?.store === 'pgvector') return;
  const what = store === undefined ? `no store of this file` : `${store.store}, not pgvector`;
  throw new InvalidEvent(
    `${where}: ${field} names '${name}', which is ${what}; what can be named: ${names || 'none'}`,
    {
      ids: [field],
    },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
