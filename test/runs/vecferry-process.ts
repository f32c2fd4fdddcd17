import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../until.ts';

/** The command line as a process of its own, which can be killed. */
export interface VecferryProcess {
  /** @returns standard output @throws Error when it ends otherwise than with 0 */
  run(...args: readonly string[]): Promise<string>;
  /** Kills it, SIGKILL, as soon as a folder of the run's objects holds so many files. */
  killWhen(args: readonly string[], folder: string, count: number): Promise<void>;
  /** Kills it, SIGKILL, as soon as something is seen. */
  killOnce(args: readonly string[], isSeen: () => Promise<boolean> | boolean): Promise<void>;
  /** Those that were killed in their middle: on a busy machine one may have ended by itself before it was hit. */
  kills(): number;
  /** Files of a folder of the run's objects. */
  files(folder: string): readonly string[];
  readonly objects: (name: string) => string;
}

export function vecferryProcess(directory: string, run: string): VecferryProcess {
  const start = (args: readonly string[]) => {
    const child = spawn(process.execPath, ['infra/local/vecferry.mjs', '--dir', directory, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '' },
      // A group of its own: the kill reaches whatever the command has started.
      detached: true,
    });
    const out: string[] = [];
    child.stdout.on('data', (data: Buffer) => out.push(data.toString()));
    child.stderr.on('data', (data: Buffer) => out.push(data.toString()));
    const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
    return { child, ended, out };
  };
  const objects = (name: string): string => join(directory, 'runs', run, name);
  const files = (folder: string): readonly string[] =>
    existsSync(objects(folder)) ? readdirSync(objects(folder)).filter((name) => /\.(parquet|json)$/.test(name)) : [];
  let kills = 0;
  const killOnce = async (
    args: readonly string[],
    isSeen: () => Promise<boolean> | boolean,
    what: string,
  ): Promise<void> => {
    const { child, ended, out } = start(args);
    const words = (): string => out.join('').slice(-2000);
    const end = (): string | undefined => {
      const how = child.exitCode ?? child.signalCode;
      return how === null ? undefined : `it ended with ${how}`;
    };
    try {
      await until(isSeen, () => `never saw ${what} (${words()})`, end);
    } finally {
      // A busy test may see it only when the process has ended too: that is a kill after the last step.
      if (end() === undefined) process.kill(-(child.pid ?? 0), 'SIGKILL');
    }
    const code = await ended;
    if (code === null) kills += 1;
    else if (code !== 0) throw new Error(`it ended with ${code} before it was killed: ${words()}`);
  };
  return {
    objects,
    files,
    kills: () => kills,
    run: async (...args) => {
      const { ended, out } = start(args);
      const code = await ended;
      if (code !== 0) throw new Error(`vecferry ${args[0]} ended with ${code}: ${out.join('').slice(-3000)}`);
      return out.join('');
    },
    killWhen: async (args, folder, count) =>
      await killOnce(args, () => files(folder).length >= count, `${count} files in ${folder}`),
    killOnce: async (args, isSeen) => await killOnce(args, isSeen, 'what it was to be killed at'),
  };
}
