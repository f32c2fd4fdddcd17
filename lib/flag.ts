import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { GetParameterCommand, ParameterNotFound, PutParameterCommand, type SSMClient } from '@aws-sdk/client-ssm';
import { z } from 'zod';
import { ShardDamaged } from './errors.ts';
import { parseAs } from './event.ts';

/** The routing flag: which store an application reads, when source and target are different stores. docs/concepts.md shows it. */
export const flagSchema = z.strictObject({
  /** The store that serves reads, `store:collection`. */
  active: z.string(),
  /** The store that a share of the reads may go to; equal to `active` when nothing is under way. */
  candidate: z.string(),
  /** Percent of reads that go to the candidate. */
  weight: z.int().min(0).max(100),
});
export type Flag = z.infer<typeof flagSchema>;

export interface FlagStore {
  /** undefined when the flag was never set. */
  read(name: string): Promise<Flag | undefined>;
  /** Replaces the flag's value at once. */
  write(name: string, flag: Flag): Promise<void>;
  /** For people: where the flag is. */
  locate(name: string): string;
}

/** Flags as files in a directory; a write is a rename, so a reader sees the old flag or the new one. */
export function fileFlags(directory: string): FlagStore {
  const path = (name: string): string => join(directory, `${name}.json`);
  return {
    read: async (name) => {
      try {
        return parseFlag(await readFile(path(name), 'utf8'), path(name));
      } catch (error) {
        if (Object(error).code === 'ENOENT') return undefined;
        throw error;
      }
    },
    write: async (name, flag) => {
      await mkdir(dirname(path(name)), { recursive: true });
      const next = `${path(name)}.${process.pid}.next`;
      await writeFile(next, `${JSON.stringify(flag)}\n`);
      await rename(next, path(name));
    },
    locate: path,
  };
}

/** Flags as SSM parameters under `prefix`, which begins and ends with a slash. */
export function ssmFlags(client: SSMClient, prefix: string): FlagStore {
  const parameter = (name: string): string => `${prefix}${name}`;
  return {
    read: async (name) => {
      try {
        const { Parameter } = await client.send(new GetParameterCommand({ Name: parameter(name) }));
        return parseFlag(Parameter?.Value ?? '', parameter(name));
      } catch (error) {
        if (error instanceof ParameterNotFound) return undefined;
        throw error;
      }
    },
    write: async (name, flag) => {
      await client.send(
        new PutParameterCommand({
          Name: parameter(name),
          Value: JSON.stringify(flag),
          Type: 'String',
          Overwrite: true,
        }),
      );
    },
    locate: parameter,
  };
}

function parseFlag(text: string, where: string): Flag {
  const what = `the routing flag ${where}`;
  try {
    return parseAs(flagSchema, JSON.parse(text), what, ShardDamaged);
  } catch (cause) {
    if (cause instanceof ShardDamaged) throw cause;
    throw new ShardDamaged(`${what} is not JSON; set it to {"active": …, "candidate": …, "weight": 0}`, { cause });
  }
}
