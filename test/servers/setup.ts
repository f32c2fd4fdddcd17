/**
 * Jest's globalSetup: listens on a local port for test files that ask for a server (urls.ts), and starts it on the
 * first request. A run whose tests need no server pays nothing.
 *
 * Whatever tests, servers and commands write as temporary lies in one folder, which is taken away at the end: runs by the
 * hundred would fill a disk.
 */
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type RunningServer, type ServerName, serverNames, startServer } from './start.ts';
import { state } from './state.ts';

export default async function setUp(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'vecferry-'));
  // PostgreSQL runs as nobody where the tests run as root.
  await chmod(folder, 0o755);
  // Jest's workers inherit the environment of this process.
  process.env['TMPDIR'] = folder;
  const started = new Map<ServerName | 'qdrant-front', Promise<RunningServer>>();
  const server = createServer((request, response) => {
    // A test file that keeps its process busy for seconds would take up a connection again that was closed meanwhile.
    response.setHeader('connection', 'close');
    const isFront = request.url === '/qdrant-front';
    const name = isFront ? 'qdrant' : serverNames.find((each) => request.url === `/${each}`);
    if (name === undefined) {
      response.writeHead(404).end(`no test server ${request.url}; there are ${serverNames.join(', ')}`);
      return;
    }
    // A real Qdrant in the environment stands beside our front; without one they are the same.
    const key = isFront && process.env['QDRANT_URL'] ? 'qdrant-front' : name;
    const starting = started.get(key) ?? startServer(name, { own: isFront });
    started.set(key, starting);
    starting.then(
      (running) =>
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(running.addresses)),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? error.message : String(error)),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  server.unref();
  const address = server.address();
  if (address === null || typeof address === 'string')
    throw new Error('the supervisor of the test servers has no port');
  process.env['VECFERRY_TEST_SERVERS'] = `http://127.0.0.1:${address.port}`;
  state.stop = async () => {
    server.closeAllConnections();
    server.close();
    for (const each of await Promise.allSettled(started.values())) {
      if (each.status === 'fulfilled') await each.value.stop();
    }
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  };
}
