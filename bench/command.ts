import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** Programs as their users start them. */

const root = fileURLToPath(new URL('..', import.meta.url));

/** @param env beside this process's own @throws Error with the program's output when it fails */
export async function start(program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<void> {
  const options = { cwd: root, env: { ...process.env, NODE_OPTIONS: '', ...env }, maxBuffer: 1 << 26 };
  await promisify(execFile)(program, [...args], options);
}

/** `vecferry`, whose runs lie in `directory`. */
export async function vecferry(directory: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<void> {
  await start(process.execPath, ['infra/local/vecferry.mjs', '--dir', directory, ...args], env);
}
