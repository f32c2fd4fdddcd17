import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** Node processes whose time and memory are measured. */

const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs Node and watches its memory. @throws Error with its output when it fails */
export async function timed(args: readonly string[]): Promise<{ seconds: number; peakMb: number }> {
  const begin = performance.now();
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  const output: string[] = [];
  child.stdout.on('data', (data: Buffer) => output.push(data.toString()));
  child.stderr.on('data', (data: Buffer) => output.push(data.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  let peakMb = 0;
  while (child.exitCode === null) {
    peakMb = Math.max(peakMb, await peakOf(child.pid ?? 0));
    await Promise.race([ended, sleep(200)]);
  }
  if ((await ended) !== 0) throw new Error(`it failed:\n${output.join('')}`);
  return { seconds: (performance.now() - begin) / 1000, peakMb };
}

/** The highest resident memory the process ever had, in MB (10^6 bytes): the kernel keeps it as VmHWM. */
async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return (Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024) / 1e6;
}
