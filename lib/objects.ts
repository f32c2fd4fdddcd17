import type { z } from 'zod';
import { ShardDamaged } from './errors.ts';
import { parseAs } from './event.ts';

/** Where a run's objects live: S3 on AWS, a directory on one machine. Keys come from keys.ts. */
export interface ObjectStore {
  /** The whole object; undefined when there is none. */
  get(key: string): Promise<Uint8Array | undefined>;
  /** Writes the whole object or nothing: a reader never sees half of one. */
  put(key: string, body: Uint8Array | string, contentType?: string): Promise<void>;
  /** The same where there is no such object yet; false, and nothing is written, where there is: of several at once one wins. */
  create(key: string, body: Uint8Array | string, contentType?: string): Promise<boolean>;
  /** Keys under a prefix, in order of their bytes. */
  list(prefix: string): Promise<readonly string[]>;
  /** What lies right below a prefix that ends with a slash, each with the slash that follows it: `runs/` has `runs/r1/`, however much is in it. */
  folders(prefix: string): Promise<readonly string[]>;
  delete(key: string): Promise<void>;
  /** For people: `s3://bucket/key` or a path. */
  locate(key: string): string;
}

/** A JSON object of ours, parsed with its schema, so that an old or foreign one fails clearly; undefined when there is none. */
export async function getJson<T>(objects: ObjectStore, key: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const body = await objects.get(key);
  if (body === undefined) return undefined;
  return parseJsonObject(body, schema, objects.locate(key));
}

/** The same of an object's bytes. @param where what it is called in an error @throws ShardDamaged */
export function parseJsonObject<T>(body: Uint8Array, schema: z.ZodType<T>, where: string): T {
  return parseAs(schema, parseJson(body, where), where, ShardDamaged);
}

export async function putJson(objects: ObjectStore, key: string, value: unknown): Promise<void> {
  await objects.put(key, JSON.stringify(value), 'application/json');
}

/** False when there is an object already: nothing was written. */
export async function createJson(objects: ObjectStore, key: string, value: unknown): Promise<boolean> {
  return await objects.create(key, JSON.stringify(value), 'application/json');
}

function parseJson(body: Uint8Array, where: string): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (cause) {
    throw new ShardDamaged(`${where} is not JSON: it was cut short or altered; delete it and start the run again`, {
      cause,
    });
  }
}
