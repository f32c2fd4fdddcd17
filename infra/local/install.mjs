// Plain JavaScript for whatever Node the machine has, with no packages: it is what brings them.
// Installs what package-lock.json names when it is not there; `npm start` and `npm test` call it first.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The packages of a lock file by their folder, those left out that only some machines get. */
function packagesIn(file) {
  const { packages } = JSON.parse(readFileSync(root + file, 'utf8'));
  return Object.entries(packages).filter(([folder, { optional }]) => folder !== '' && !optional);
}

/** True when npm's own record of what it installed has every package in the version that the lock file names. */
function isInstalled() {
  try {
    const installed = new Map(packagesIn('node_modules/.package-lock.json'));
    return packagesIn('package-lock.json').every(([folder, { version }]) => installed.get(folder)?.version === version);
  } catch {
    return false;
  }
}

if (!isInstalled()) {
  console.log('installing the packages that package-lock.json names; this takes a minute or two');
  // npm names itself to the scripts it runs; on Windows its command is no program of its own.
  const npm = process.env.npm_execpath;
  const [command, args] = npm === undefined ? ['npm', []] : [process.execPath, [npm]];
  // Not npm ci: it refuses a lock file that leaves out the packages of other platforms. This one takes the locked versions
  // too, and with --no-save it writes neither package.json nor the lock file.
  const { status, stdout, stderr } = spawnSync(command, [...args, 'install', '--no-save', '--no-audit', '--no-fund'], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) {
    process.stderr.write(`${stdout}${stderr}\nnpm install failed; what it says stands above\n`);
    process.exit(1);
  }
}
