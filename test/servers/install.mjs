/**
 * Puts the Python packages of the test servers into .venv at the project's root.
 * Runs under any Node from 20 on, without dependencies, because it runs before anything is installed; twice at once is
 * safe (the second waits), and a repeated run with the same requirements does nothing.
 * Exits with 1 and one sentence that says what is missing.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const environment = join(root, '.venv');
const python =
  process.platform === 'win32' ? join(environment, 'Scripts', 'python.exe') : join(environment, 'bin', 'python');
const stampFile = join(environment, 'requirements.sha256');
const lockFile = join(root, '.venv.lock');
const requirements = join(here, 'requirements.txt');
const stamp = createHash('sha256').update(readFileSync(requirements)).digest('hex');
/** Longer than any installation takes; a lock that is older belongs to a process that died. */
const lockTimeoutMs = 15 * 60_000;

function isInstalled() {
  return existsSync(python) && existsSync(stampFile) && readFileSync(stampFile, 'utf8').trim() === stamp;
}

function fail(sentence) {
  console.error(sentence);
  process.exitCode = 1;
}

/** Runs a command and returns what went wrong as text, or undefined when it succeeded. */
function run(command, args) {
  const done = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20 });
  if (done.error !== undefined) return done.error.message;
  if (done.status === 0) return undefined;
  const output = `${done.stdout}\n${done.stderr}`.trim().split('\n');
  return output.slice(-6).join('\n');
}

function findPython() {
  for (const candidate of ['python3', 'python']) {
    const check = 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else 1)';
    if (run(candidate, ['-c', check]) === undefined) return candidate;
  }
  return undefined;
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Takes the lock; waits while a living process holds it. Returns false when it was held all the time. */
async function lock() {
  const deadline = Date.now() + lockTimeoutMs;
  while (Date.now() < deadline) {
    try {
      const handle = openSync(lockFile, 'wx');
      writeFileSync(handle, String(process.pid));
      closeSync(handle);
      return true;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    const holder = existsSync(lockFile) ? Number(readFileSync(lockFile, 'utf8')) : 0;
    if (holder > 0 && !isAlive(holder)) rmSync(lockFile, { force: true });
  }
  return false;
}

function install() {
  const base = findPython();
  if (base === undefined) {
    return fail(
      'The test servers need Python 3.11 or newer as python3; install it (Debian: apt-get install python3 python3-venv) and run this again.',
    );
  }
  const where = relative(process.cwd(), environment) || '.venv';
  console.log(
    `Installing the test servers (PostgreSQL, Qdrant, Chroma) into ${where}; this takes about half a minute once.`,
  );
  // What is there stays: servers may be running from it, and pip adds only what changed.
  const created =
    run(python, ['-m', 'pip', '--version']) === undefined
      ? undefined
      : run(base, ['-m', 'venv', '--clear', environment]);
  if (created !== undefined) {
    return fail(
      `Cannot make a Python virtual environment; install python3-venv and run this again. Python said: ${created}`,
    );
  }
  const arguments_ = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements];
  const installed = run(python, arguments_);
  if (installed !== undefined) {
    return fail(
      `Cannot install test/servers/requirements.txt; check the network and pip's settings, and run this again. pip said: ${installed}`,
    );
  }
  writeFileSync(stampFile, stamp);
  console.log('The test servers are installed.');
}

async function main() {
  if (isInstalled()) return console.log('The test servers are installed already.');
  if (!(await lock()))
    return fail(`Another installation has held ${lockFile} for 15 minutes; delete the file and run this again.`);
  try {
    if (isInstalled()) return console.log('The test servers were installed meanwhile.');
    install();
  } finally {
    rmSync(lockFile, { force: true });
  }
}

await main();
