import { Worker } from 'node:worker_threads';
import { expect, test } from '@jest/globals';
import { withTimeout } from '../../lib/client/timeout.ts';
import { never } from './sides.ts';

/** Says that it was asked, answers once the asking thread stands still, and says there that the answer lies with the system. */
const server = `
  const { createServer } = require('node:http');
  const { parentPort, workerData } = require('node:worker_threads');
  const server = createServer((_, response) => {
    response.on('finish', () => {
      Atomics.store(workerData, 1, 1);
      Atomics.notify(workerData, 1);
    });
    const answerOnceItStands = () => {
      if (Atomics.load(workerData, 0) === 0) setTimeout(answerOnceItStands, 5);
      else response.end(JSON.stringify({ found: 'x'.repeat(10000) }));
    };
    answerOnceItStands();
    parentPort.postMessage('asked');
  });
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`;

test('an answer that came while the process itself stood still is no late one: a frozen function blames no target', async () => {
  const stands = new Int32Array(new SharedArrayBuffer(8));
  const worker = new Worker(server, { eval: true, workerData: stands });
  const said = (): Promise<unknown> => new Promise((resolve) => worker.once('message', resolve));
  const port = await said();
  const asked = said();
  const answer = fetch(`http://127.0.0.1:${port}/`).then((response) => response.json());
  await asked;
  const given = withTimeout(answer, 30, 'qdrant:words');
  Atomics.store(stands, 0, 1);
  Atomics.wait(stands, 1, 0);
  const from = performance.now();
  while (performance.now() - from < 100);
  expect(await given).toEqual({ found: expect.any(String) });
  await worker.terminate();
});

test('an answer that does not come is given up, with what to do', async () => {
  await expect(withTimeout(never, 5, 'qdrant:words')).rejects.toThrow(
    'qdrant:words has not answered within 5 ms; see whether it is up, or raise the timeout',
  );
});
