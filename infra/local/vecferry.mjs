#!/usr/bin/env node
// Plain JavaScript that any Node can read: the command line itself is TypeScript, which Node 24 runs as it is.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const wanted = 24;
const cli = new URL('./cli/cli.ts', import.meta.url);
const ours = fileURLToPath(new URL('../../node_modules/node/bin/node', import.meta.url));

if (!existsSync(cli)) {
  process.stderr.write(
    'this is the package of vecferry/client, without the command line; run vecferry in a clone of its repository\n',
  );
  process.exit(2);
} else if (Number(process.versions.node.split('.')[0]) >= wanted) {
  // Halves the time a command takes to begin. Beside the packages, not in a folder that other users may write to.
  module.enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/vecferry', import.meta.url)));
  await import(cli.href);
} else if (existsSync(ours)) {
  // Ctrl-C reaches both processes of the group; the inner one decides when to end.
  process.on('SIGINT', () => {});
  const child = spawn(ours, process.argv.slice(1), { stdio: 'inherit' });
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 1 : 130)));
} else {
  process.stderr.write(
    `vecferry needs Node ${wanted} or newer, this is ${process.version}; run npm install in its folder, which brings the right one\n`,
  );
  process.exit(2);
}
