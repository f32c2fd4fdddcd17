import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Account } from './application.ts';
import type { ApplicationPlace } from './application-parts.ts';

export interface ApplicationProcess {
  /** Ends the application as a deployment would: what is under way is done. */
  stop(): Promise<{ readonly account: Account; readonly background: readonly string[] }>;
  kill(): void;
}

/** @throws Error with the child's words when it ends by itself */
export async function startApplicationProcess(place: ApplicationPlace): Promise<ApplicationProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'application-child.ts'), JSON.stringify(place)], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let out = '';
  let words = '';
  child.stdin.on('error', () => undefined);
  child.stdout.on('data', (data: Buffer) => {
    out += data.toString();
  });
  child.stderr.on('data', (data: Buffer) => {
    words = (words + data.toString()).slice(-4000);
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    ended.then((code) => reject(new Error(`the application ended with ${code}: ${words}`)));
  });
  return {
    stop: async () => {
      child.stdin.end();
      const code = await ended;
      if (code !== 0) throw new Error(`the application ended with ${code}: ${words}`);
      return JSON.parse(out.trim().split('\n').at(-1) ?? '');
    },
    kill: () => child.kill('SIGKILL'),
  };
}
