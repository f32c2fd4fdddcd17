import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** The package as an application gets it: packed by npm, unpacked into node_modules of a project of its own. */

export interface PackedProject {
  /** An empty project that has the package and nothing else. */
  readonly directory: string;
  /** Makes the packages of this clone resolvable for the project, as `npm install` would. */
  link(...names: readonly string[]): void;
}

export function packedProject(): PackedProject {
  const project = emptyProject();
  const { directory } = project;
  const modules = join(directory, 'node_modules');
  const packed: readonly { readonly filename: string }[] = JSON.parse(
    run('npm', ['pack', '--json', '--silent', '--pack-destination', directory], process.cwd()),
  );
  run('tar', ['-xzf', packed[0]?.filename ?? '', '-C', modules], directory);
  renameSync(join(modules, 'package'), join(modules, 'vecferry'));
  return project;
}

/** The same without npm, beside others that do it at the same time: `npm pack` builds into dist/ of this clone. */
export function builtProject(): PackedProject {
  const project = emptyProject();
  const folder = join(project.directory, 'node_modules', 'vecferry');
  mkdirSync(folder);
  cpSync('package.json', join(folder, 'package.json'));
  run(process.execPath, ['infra/local/build-client.ts', join(folder, 'dist')], process.cwd());
  return project;
}

function emptyProject(): PackedProject {
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-packed-'));
  const modules = join(directory, 'node_modules');
  mkdirSync(modules);
  return {
    directory,
    link: (...names) => {
      for (const name of names) {
        if (name.startsWith('@')) mkdirSync(join(modules, name.split('/')[0] ?? ''), { recursive: true });
        if (!existsSync(join(modules, name)))
          symlinkSync(join(process.cwd(), 'node_modules', name), join(modules, name));
      }
    },
  };
}

/** What the command prints. @throws Error with its words when it fails */
export function run(command: string, args: readonly string[], cwd: string): string {
  const { NODE_OPTIONS: _, ...env } = process.env;
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, env, encoding: 'utf8' });
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} ended with ${status ?? error?.message}: ${stdout}${stderr}`);
  return stdout;
}

/** A Node of the oldest release that the package says it runs on, where the machine has one; else this one. */
export function oldestNode(): string {
  const places = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'node'));
  const old = places.filter(existsSync).find((node) => run(node, ['--version'], '.').startsWith('v20.'));
  return old ?? process.execPath;
}
