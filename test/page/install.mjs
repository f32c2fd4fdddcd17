/**
 * Installs Chromium for the test of the report's page where there is none and this machine lets us: Debian's packages, as
 * root. Elsewhere it says what is missing and exits with 1, so that the page never goes untested in silence.
 */
import { spawnSync } from 'node:child_process';
import { findBrowser, howToInstall } from './browsers.mjs';

/** Runs a command quietly; true when it succeeded. */
function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  if (status !== 0)
    process.stderr.write(`${`${stdout ?? ''}${stderr ?? ''}`.trim().split('\n').slice(-6).join('\n')}\n`);
  return status === 0;
}

if (findBrowser() === undefined && process.env.CHROMIUM === undefined) {
  const canInstall = process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0;
  if (canInstall) {
    process.stdout.write('Installing Chromium for the test of the report page; this takes a minute once.\n');
    run('apt-get', ['update', '-qq']);
    run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium', 'fonts-dejavu-core']);
  }
}
if (findBrowser() === undefined) {
  process.stderr.write(`${howToInstall}\n`);
  process.exitCode = 1;
}
