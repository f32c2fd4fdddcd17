import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { main } from '../../../infra/local/cli/main.ts';

/** The command line as its users meet it: a process, its exit code, and what it prints. */

export interface Answer {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  /** Standard output's lines as JSON; of --json alone. */
  readonly events: () => readonly Event[];
}
export interface Event {
  readonly type: string;
  readonly [field: string]: unknown;
}

export interface Watching {
  readonly input?: string;
  /** Sees each line of standard output; `kill` is Ctrl-C. */
  readonly onLine?: (line: string, kill: () => void) => void;
}

/** Of a process of these tests, in milliseconds; a run takes three seconds, and some wait for a person or for readers. */
const longestMs = 200_000;

/** `vecferry --dir DIRECTORY`, with the arguments that follow. */
export function commandLine(directory: string): (args: readonly string[], options?: Watching) => Promise<Answer> {
  return (args, options = {}) => spawnCommand(['--dir', directory, ...args], options);
}

/** `vecferry` with these arguments. */
export function spawnCommand(args: readonly string[], options: Watching = {}): Promise<Answer> {
  return new Promise<Answer>((resolve, reject) => {
    const reports = mkdtempSync(join(tmpdir(), 'vecferry-report-'));
    const reporting = ['--report-on-signal', `--report-directory=${reports}`, '--report-exclude-env'];
    const child = spawn(process.execPath, [...reporting, 'infra/local/vecferry.mjs', ...args], {
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    let out = '';
    let err = '';
    createInterface({ input: child.stdout }).on('line', (line) => {
      out += `${line}\n`;
      options.onLine?.(line, () => child.kill('SIGINT'));
    });
    child.stderr.on('data', (data) => (err += data));
    child.on('error', reject);
    // Told by what it has said, and not by a test that has no more time.
    const late = setTimeout(async () => {
      child.kill('SIGUSR2');
      await sleep(5000);
      err += `killed by its test: it has not ended after ${longestMs / 1000} s; ${whereItIs(reports)}`;
      child.kill('SIGKILL');
    }, longestMs);
    child.on('close', (code) => {
      clearTimeout(late);
      rmSync(reports, { recursive: true, force: true });
      resolve({ code, out, err, events: () => eventsOf(out) });
    });
    // One that has ended already takes no input: what it says and its code are what counts.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

/** What Node's diagnostic report says that a process is at, and what it has open. */
function whereItIs(reports: string): string {
  const [name] = readdirSync(reports);
  if (name === undefined) return 'it does not say where it is, so it is busy in one call';
  const { javascriptStack, libuv } = JSON.parse(readFileSync(join(reports, name), 'utf8'));
  const open = libuv.filter((handle: Record<string, unknown>) => handle['is_active'] && handle['is_referenced']);
  return JSON.stringify({ javascriptStack, open });
}

/**
 * The same in this process: for what a command does and says, where nothing is about processes. A process of its own takes
 * longer to begin than most commands take.
 */
export async function callCommand(args: readonly string[]): Promise<Answer> {
  const keep = () => {
    const chunks: Buffer[] = [];
    const write = (chunk: Buffer, _: unknown, done: () => void): void => {
      chunks.push(chunk);
      done();
    };
    return { stream: new Writable({ write }), text: () => Buffer.concat(chunks).toString() };
  };
  const [out, err] = [keep(), keep()];
  const code = await main(args, { stdout: out.stream, stderr: err.stream });
  return { code, out: out.text(), err: err.text(), events: () => eventsOf(out.text()) };
}

function eventsOf(out: string): readonly Event[] {
  return out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Writes `name` into the folder: so many records as JSON lines, with vectors of 8 dimensions. */
export async function writeRecords(folder: string, name: string, records: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const lines = Array.from({ length: records }, (_, i) =>
    JSON.stringify({ id: i + 1, embedding: Array.from({ length: 8 }, (_, j) => Math.sin((i + 1) * (j + 1))), n: i }),
  );
  await writeFile(join(folder, name), `${lines.join('\n')}\n`);
}
