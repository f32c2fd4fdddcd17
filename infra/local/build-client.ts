import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/**
 * Makes what an application imports, before every `npm pack`: dist/*.js for any Node from 20 on, none of which runs the
 * TypeScript of a package, and dist/types/ for its compiler. `vecferry/client` imports nothing but Node; the others leave
 * the clients of AWS and of stores to the package's dependencies.
 */

const root = fileURLToPath(new URL('../../', import.meta.url));
/** Another folder than dist/ where the first argument names one. */
const out = resolve(process.argv[2] ?? join(root, 'dist'));

/** What package.json exports, by its name there. */
const entries = { client: 'lib/client/package.ts', aws: 'lib/client/aws.ts', stores: 'lib/client/stores.ts' };

const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

rmSync(out, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  outdir: out,
  entryPoints: entries,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  // What they share lies in a file of its own: one class of each error, so that instanceof holds.
  splitting: true,
  chunkNames: 'shared-[hash]',
  external: Object.keys(dependencies),
});

declarations();

/** TypeScript leaves `.ts` in the imports of declarations: github.com/microsoft/TypeScript/issues/61037 */
function declarations(): void {
  const options = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', join(out, 'types')];
  const files = [...Object.values(entries)];
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const config = join(out, 'tsconfig.json');
  writeFileSync(
    config,
    JSON.stringify({
      extends: join(root, 'tsconfig.json'),
      compilerOptions: { typeRoots: [join(root, 'node_modules', '@types')] },
      include: [],
      files: files.map((file) => join(root, file)),
    }),
  );
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', config, ...options, '--rootDir', root], {
    cwd: root,
    encoding: 'utf8',
  });
  rmSync(config);
  if (status !== 0) throw new Error(`the declarations could not be made:\n${stdout}`);
  for (const entry of readdirSync(join(out, 'types'), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    writeFileSync(path, readFileSync(path, 'utf8').replace(/(['"]\.\.?\/[^'"]*)\.ts(['"])/g, '$1.js$2'));
  }
}
