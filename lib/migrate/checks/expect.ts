import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { InvalidEvent } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { distanceSchema } from '../../schema.ts';

/**
 * `migrations/expect.yaml`: what a team holds for true of its stores and no catalog says. All of it may be left out, the file too.
 */

const columnName = z.string().min(1);
const countSchema = z.strictObject({
  atLeast: z.int().nonnegative().optional(),
  atMost: z.int().nonnegative().optional(),
  /** The same number as a table or collection of another store. */
  sameAs: z.strictObject({ store: z.string(), of: z.string() }).optional(),
});
export type ExpectedCount = z.infer<typeof countSchema>;

const tableSchema = z.strictObject({
  /** Column -> its type in PostgreSQL's words, or with whether it takes NULL. */
  columns: z
    .record(
      columnName,
      z.union([
        z.string().min(1),
        z.strictObject({ type: z.string().min(1).optional(), nullable: z.boolean().optional() }),
      ]),
    )
    .default({}),
  indexes: z.array(z.string().min(1)).default([]),
  /** Columns that are alike in no two rows, whether or not an index holds it. */
  unique: z.array(z.array(columnName).min(1)).default([]),
  rows: countSchema.optional(),
  /** Vector column -> the column that names its model, and the floats of each model. */
  models: z
    .record(
      columnName,
      z.strictObject({ column: columnName, dimensions: z.record(z.string(), z.int().positive()).optional() }),
    )
    .default({}),
  /** Rows whose `column` is one of `completed` have all of `filled`; those of `pending` have none. */
  status: z
    .array(
      z.strictObject({
        column: columnName,
        completed: z.array(z.string()).min(1),
        pending: z.array(z.string()).default([]),
        filled: z.array(columnName).min(1),
      }),
    )
    .default([]),
});
export type ExpectTable = z.infer<typeof tableSchema>;

const collectionSchema = z.strictObject({
  /** '' is Qdrant's unnamed vector. */
  vectors: z
    .record(z.string(), z.strictObject({ size: z.int().positive().optional(), distance: distanceSchema.optional() }))
    .default({}),
  payloadIndexes: z.array(z.string().min(1)).default([]),
  count: countSchema.optional(),
});
export type ExpectCollection = z.infer<typeof collectionSchema>;

const storeSchema = z.strictObject({
  tables: z.record(z.string().min(1), tableSchema).default({}),
  collections: z.record(z.string().min(1), collectionSchema).default({}),
  /** Alias -> the collection that it stands for. */
  aliases: z.record(z.string().min(1), z.string().min(1)).default({}),
});
export type ExpectStore = z.infer<typeof storeSchema>;

const knownSchema = z.strictObject({ what: z.string().min(1), because: z.string().trim().min(1) });
export type Accepted = string | z.infer<typeof knownSchema>;

const expectSchema = z.strictObject({
  stores: z.record(z.string(), storeSchema).default({}),
  /** What may stay unchecked, by its words or a part of them: `003_fill, line 4`; with a reason also what is wrong and known. */
  accept: z.array(z.union([z.string().min(1), knownSchema])).default([]),
});

export interface Expectations {
  readonly stores: ReadonlyMap<string, ExpectStore>;
  readonly accept: readonly Accepted[];
}

/** @throws InvalidEvent naming each field that is wrong, and a store that the configuration does not name */
export async function readExpectations(directory: string, stores: readonly string[]): Promise<Expectations> {
  const path = join(directory, 'expect.yaml');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (Object(error).code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return { stores: new Map(), accept: [] };
  const given = parseAs(expectSchema, parseText(text, path), path, InvalidEvent);
  const unknown = Object.keys(given.stores).filter((name) => !stores.includes(name));
  if (unknown.length > 0)
    throw new InvalidEvent(
      `${path} names the store '${unknown[0]}', which vecferry.yaml does not: it has ${stores.join(', ')}`,
      {
        ids: unknown,
      },
    );
  return { stores: new Map(Object.entries(given.stores)), accept: given.accept };
}

function parseText(text: string, path: string): unknown {
  try {
    return parse(text);
  } catch (cause) {
    throw new InvalidEvent(`${path} is no YAML: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
