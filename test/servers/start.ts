/**
 * Starts real servers for tests and benchmarks: PostgreSQL with pgvector, Qdrant (its engine behind our front), Chroma.
 * Each runs in a temporary directory under guard.py, which ends it and removes the directory when this process ends in
 * any way. A URL in the environment (POSTGRES_URL, QDRANT_URL and QDRANT_GRPC_URL, CHROMA_URL) uses a server that
 * already runs instead.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';

export const serverNames = ['postgres', 'qdrant', 'chroma'] as const;
export type ServerName = (typeof serverNames)[number];

/** Variables that name a running server, and the keys under which the addresses of a started one are given. */
export const addressNames = {
  postgres: ['POSTGRES_URL'],
  qdrant: ['QDRANT_URL', 'QDRANT_GRPC_URL'],
  chroma: ['CHROMA_URL'],
} as const;
export type AddressName = (typeof addressNames)[ServerName][number];
export type Addresses = Readonly<Partial<Record<AddressName, string>>>;

export interface RunningServer {
  readonly addresses: Addresses;
  /** Process that guards the server; undefined for a server that ran already. */
  readonly pid?: number;
  /** Ends the server and removes its data; does nothing to a server that ran already. */
  stop(): Promise<void>;
}

export interface ServerOptions {
  /** Qdrant only: the server asks for this key. Such a server is always started, whatever the environment says. */
  readonly apiKey?: string;
  /** Started here, whatever the environment says: for tests that are about our own front. */
  readonly own?: boolean;
}

const here = import.meta.dirname;
const python = join(here, '..', '..', '.venv', 'bin', 'python');
const startTimeoutMs = 240_000;

/** Starts all servers named, at once. @throws Error when one does not start; the others are stopped then. */
export async function startServers(names: readonly ServerName[]): Promise<ReadonlyMap<ServerName, RunningServer>> {
  const started = await Promise.allSettled(names.map((name) => startServer(name)));
  const running = started.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const failed = started.find((each) => each.status === 'rejected');
  if (failed !== undefined) {
    await Promise.all(running.map((each) => each.stop()));
    throw failed.reason;
  }
  return new Map(names.map((name, index) => [name, running[index]!]));
}

/** Starts one server and waits until it answers. @throws Error that says what failed, with the server's last words. */
export async function startServer(name: ServerName, options: ServerOptions = {}): Promise<RunningServer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(name, options);
    } catch (error) {
      // Between our look for a free port and the server's bind another process may take it.
      const taken = error instanceof Error && /in use|not available|cannot listen/i.test(error.message);
      if (!taken || attempt === 3) throw error;
    }
  }
}

async function startOnce(name: ServerName, options: ServerOptions): Promise<RunningServer> {
  const isOurs = options.apiKey !== undefined || options.own === true;
  const given = isOurs ? undefined : addressesFromEnvironment(name);
  if (given !== undefined) return { addresses: given, stop: async () => undefined };
  if (!existsSync(python)) {
    throw new Error(
      `the test servers are not installed; run \`node test/servers/install.mjs\` (needs Python 3.11 or newer), then the tests again`,
    );
  }
  const directory = await mkdtemp(join(tmpdir(), `vecferry-${name}-`));
  const port = await freePort();
  switch (name) {
    case 'postgres': {
      const url = `postgresql://postgres@127.0.0.1:${port}/postgres`;
      const script = join(here, 'postgres.py');
      return await launch(name, directory, [script, directory, String(port)], { POSTGRES_URL: url }, () =>
        postgresAnswers(url),
      );
    }
    case 'chroma': {
      const url = `http://127.0.0.1:${port}`;
      const chroma = join(here, '..', '..', '.venv', 'bin', 'chroma');
      const command = [chroma, 'run', '--path', join(directory, 'data'), '--host', '127.0.0.1', '--port', String(port)];
      const args = [join(here, 'guard.py'), directory, ...command];
      return await launch(name, directory, args, { CHROMA_URL: url }, () => httpAnswers(`${url}/api/v2/heartbeat`));
    }
    case 'qdrant': {
      const url = `http://127.0.0.1:${port}`;
      const grpcPort = await freePort();
      const front = [
        python,
        '-m',
        'qdrant',
        '--directory',
        directory,
        '--port',
        String(port),
        '--grpc-port',
        String(grpcPort),
      ];
      if (options.apiKey !== undefined) front.push('--api-key', options.apiKey);
      const args = [join(here, 'guard.py'), directory, ...front];
      const addresses = { QDRANT_URL: url, QDRANT_GRPC_URL: `http://127.0.0.1:${grpcPort}` };
      return await launch(name, directory, args, addresses, () => httpAnswers(`${url}/readyz`));
    }
  }
}

/** The addresses that the environment names for a server; undefined when it names none. */
function addressesFromEnvironment(name: ServerName): Addresses | undefined {
  const given = addressNames[name].flatMap((variable) => {
    const value = process.env[variable];
    return value === undefined || value === '' ? [] : [[variable, value] as const];
  });
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

async function launch(
  name: ServerName,
  directory: string,
  args: readonly string[],
  addresses: Addresses,
  answers: () => Promise<boolean>,
): Promise<RunningServer> {
  const child = spawn(python, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {
      ...process.env,
      PYTHONPATH: here,
      PYTHONDONTWRITEBYTECODE: '1',
      ANONYMIZED_TELEMETRY: 'False',
      DO_NOT_TRACK: '1',
    },
  });
  let words = '';
  const remember = (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(-4000);
  };
  // Closing the pipe of a server that has ended is no fault.
  child.stdin.on('error', () => undefined);
  child.stdout.on('data', remember);
  child.stderr.on('data', remember);
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stop = async () => {
    child.ref();
    child.stdin.end();
    await ended;
  };
  const deadline = Date.now() + startTimeoutMs;
  while (!(await answers())) {
    if (child.exitCode !== null || child.signalCode !== null) {
      // Normally the guard does this; it may be the guard that could not start.
      await rm(directory, { recursive: true, force: true });
      throw new Error(`test server ${name} ended while starting: ${words}`);
    }
    if (Date.now() > deadline) {
      await stop();
      throw new Error(`test server ${name} did not answer within ${startTimeoutMs / 1000} s: ${words}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  unref(child);
  return { addresses, ...(child.pid === undefined ? {} : { pid: child.pid }), stop };
}

/** A server must not keep a finished process alive; the closing pipe ends it. */
function unref(child: ChildProcess): void {
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) {
    if (stream !== null && 'unref' in stream && typeof stream.unref === 'function') stream.unref();
  }
}

async function postgresAnswers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function httpAnswers(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', resolve);
  });
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no free port on 127.0.0.1');
  return address.port;
}
