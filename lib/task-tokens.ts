import { createHash, randomUUID } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  InvalidToken,
  SendTaskSuccessCommand,
  type SFNClient,
  TaskDoesNotExist,
  TaskTimedOut,
} from '@aws-sdk/client-sfn';
import { NotFound } from './errors.ts';

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
        throw new NotFound('the run no longer waits for an answer: the time was over, or it was stopped', { cause });
      }
    },
  };
}

/** The embedded engine looks for a file of this name while a state waits. */
export function taskFile(directory: string, token: string): string {
  return join(directory, `${createHash('sha256').update(token).digest('hex')}.json`);
}

export function fileTasks(directory: string): TaskTokens {
  return {
    succeed: async (token, output) => {
      await mkdir(directory, { recursive: true });
      const next = join(directory, `${randomUUID()}.next`);
      await writeFile(next, JSON.stringify(output));
      await rename(next, taskFile(directory, token));
    },
  };
}
