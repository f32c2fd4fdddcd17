import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { inFolder } from './folder.ts';
import { type BenchRow, medianMs } from './row.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const runs = 5;

const engineOnly = `
const [{ startEngine }, { loadDeployment }] = await Promise.all([import('./infra/local/engine.ts'), import('./infra/local/synthesize.ts')]);
const directory = process.argv[1];
const engine = await startEngine({ directory, deployment: await loadDeployment(directory) });
await engine.close();`;

/** How long a person waits: for an engine without work, and for `npm start` once everything is installed. */
export async function run(): Promise<BenchRow[]> {
  const node = async (...args: string[]): Promise<void> => {
    await promisify(execFile)(process.execPath, args, { cwd: root, maxBuffer: 1 << 26 });
  };
  const bare = await medianMs(runs, () => node('-e', '0'));
  const engine = (directory: string): Promise<void> => node('--input-type=module', '-e', engineOnly, directory);
  const fresh = await medianMs(runs, () => inFolder(engine));
  const again = await inFolder((kept) => medianMs(runs, () => engine(kept)));
  const command = (env: NodeJS.ProcessEnv) => async (): Promise<void> => {
    await promisify(execFile)(process.execPath, ['infra/local/vecferry.mjs', 'stores'], { cwd: root, env });
  };
  const cached = await medianMs(runs, command(process.env));
  const uncached = await medianMs(runs, command({ ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' }));
  const sample = await medianMs(1, () => node('infra/local/start.ts'));
  const row = (name: string, ms: number, goal: string): BenchRow => ({
    name,
    value: ms / 1000,
    unit: 's',
    against: 'an empty Node process',
    ratio: ms / bare,
    goal,
  });
  return [
    row('engine start without work, definition synthesized', fresh, '< 5 s'),
    row('engine start without work, definition kept', again, '< 5 s'),
    {
      name: 'vecferry stores, the least of commands',
      value: cached / 1000,
      unit: 's',
      against: 'the same without the cache of compiled code',
      ratio: cached / uncached,
    },
    row('npm start after installation: 10,000 vectors, PGlite to LanceDB', sample, '< 60 s'),
  ];
}
