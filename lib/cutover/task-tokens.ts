import { createHash, randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  InvalidToken,
  SendTaskSuccessCommand,
  type SFNClient,
  TaskDoesNotExist,
  TaskTimedOut,
} from '@aws-sdk/client-sfn';
import { z } from 'zod';
import { NotFound, ShardDamaged } from '../errors.ts';
import { isAlive, thisProcess } from '../process-owner.ts';

const notWaiting = 'the run no longer waits for an answer: the time was over, it was answered, or it was stopped';

/** How a state that waits for somebody is told to go on. */
export interface TaskTokens {
  /** @throws NotFound when nothing waits for this token any more. */
  succeed(token: string, output: unknown): Promise<void>;
}

export function stepFunctionsTasks(client: SFNClient): TaskTokens {
  return {
    succeed: async (taskToken, output) => {
      try {
        await client.send(new SendTaskSuccessCommand({ taskToken, output: JSON.stringify(output) }));
      } catch (cause) {
        const isOver = cause instanceof TaskDoesNotExist || cause instanceof TaskTimedOut;
        if (!isOver && !(cause instanceof InvalidToken)) throw cause;
        throw new NotFound(notWaiting, { cause });
      }
    },
  };
}

/**
 * The same by files in a directory, for processes of one machine: the one that waits opens the token, looks for its answer,
 * and closes it. Answer and close are one file that is only made where it is not there, so of both exactly one wins.
 */
export interface FileTasks extends TaskTokens {
  /** From here on an answer is taken. Repeatable. */
  open(token: string): Promise<void>;
  /** What was handed in so far; undefined while nothing was. @throws ShardDamaged when the file is not ours. */
  look(token: string): Promise<unknown>;
  /** Takes no answer any more, and gives the one that came before that. */
  close(token: string): Promise<unknown>;
}

export function fileTasks(directory: string): FileTasks {
  const path = (token: string, ending: string): string =>
    join(directory, `${createHash('sha256').update(token).digest('hex')}.${ending}`);
  const look = async (token: string): Promise<unknown> => {
    const text = await readFile(path(token, 'json'), 'utf8').catch(absent);
    return text === undefined ? undefined : parseAnswer(text, path(token, 'json')).output;
  };
  return {
    open: async (token) => {
      await mkdir(directory, { recursive: true });
      await writeFile(path(token, 'waiting'), thisProcess);
    },
    look,
    close: async (token) => {
      const isClosed = await linkNew(path(token, 'json'), JSON.stringify({}));
      await rm(path(token, 'waiting'), { force: true });
      return isClosed ? undefined : await look(token);
    },
    succeed: async (token, output) => {
      const owner = await readFile(path(token, 'waiting'), 'utf8').catch(absent);
      const isWaiting = owner !== undefined && isAlive(owner);
      if (isWaiting && (await linkNew(path(token, 'json'), JSON.stringify({ output })))) return;
      throw new NotFound(notWaiting);
    },
  };
}

/** Writes the file whole, or finds that there is one. */
async function linkNew(path: string, text: string): Promise<boolean> {
  const next = `${path}.${randomUUID()}.next`;
  await writeFile(next, text);
  try {
    await link(next, path);
    return true;
  } catch (error) {
    if (Object(error).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(next, { force: true });
  }
}

function parseAnswer(text: string, path: string): { readonly output?: unknown } {
  try {
    return z.strictObject({ output: z.unknown().optional() }).parse(JSON.parse(text));
  } catch (cause) {
    const what = `${path} is not an answer to a state that waits: it was cut short or altered`;
    throw new ShardDamaged(`${what}; delete it, start the run again and answer again`, { cause });
  }
}

function absent(error: unknown): undefined {
  if (Object(error).code !== 'ENOENT') throw error;
}
