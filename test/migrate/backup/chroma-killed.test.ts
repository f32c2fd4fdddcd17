import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { callCommand } from '../../local/cli/command-line.ts';
import { type RunningServer, startServer } from '../../servers/start.ts';

/** The commands killed at each kind of step, by what they ask of a real server: what is left is told, and taken up or cleaned by the next. */

/** Asked of Chroma, in its order: `POST /get`, `PUT`, `DELETE`. */
interface Asked {
  readonly step: string;
  /** The how manieth of its kind, from 1. */
  readonly time: number;
}

let server: RunningServer;
let front: Server;
let root: string;
let folder: string;
let asked: string[] = [];
/** Called before a request goes on to the server, and after its answer has come; until it returns nobody goes on. */
let atStep: (asked: Asked, when: 'before' | 'after') => Promise<void> = async () => undefined;

/** `/collections/ID/get` is `get`, `/collections/NAME` is its method alone. */
const stepOf = (method: string, url: string): string => {
  const [, , verb] = /\/collections(?:\/([^/?]+))?(?:\/([^/?]+))?/.exec(url) ?? [];
  return verb ?? method;
};

beforeAll(async () => {
  server = await startServer('chroma', { own: true });
  const target = server.addresses.CHROMA_URL ?? '';
  front = createServer(async (request, response) => {
    const { method = '', url = '' } = request;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const step = stepOf(method, url);
    asked.push(step);
    const one = { step, time: asked.filter((each) => each === step).length };
    await atStep(one, 'before');
    const hasBody = method !== 'GET' && method !== 'DELETE';
    const answer = await fetch(`${target}${url}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(hasBody && { body: Buffer.concat(chunks) }),
    });
    const text = await answer.text();
    await atStep(one, 'after');
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  const address = front.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  root = `${target}/api/v2/tenants/default_tenant/databases/default_database/collections`;
  folder = await mkdtemp(join(tmpdir(), 'chroma-killed-'));
  await mkdir(join(folder, 'migrations'));
  await writeFile(
    join(folder, 'migrations', 'vecferry.yaml'),
    `stores:\n  notes: {store: chroma, connection: {url: 'http://127.0.0.1:${port}'}}\n`,
  );
});
afterAll(async () => {
  front?.close();
  front?.closeAllConnections();
  await server?.stop();
});

const args = (...own: readonly string[]): readonly string[] => [
  '--dir',
  join(folder, 'state'),
  'migrate',
  ...own,
  '--migrations',
  join(folder, 'migrations'),
];
const done = async (...own: readonly string[]): Promise<string> => {
  const listed = own[0] === 'backups' ? args(...own).slice(0, -2) : args(...own);
  const { code, out, err } = await callCommand(listed);
  if (code !== 0) throw new Error(`${own.join(' ')} ended with ${code}: ${out}${err}`);
  return out;
};

/** Runs the command as a process of its own, and kills it at this step. @returns false where it ended before it came there */
async function killedAt(wanted: Asked, when: 'before' | 'after', ...own: readonly string[]): Promise<boolean> {
  asked = [];
  const child = spawn(process.execPath, ['infra/local/vecferry.mjs', ...args(...own)], {
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: 'ignore',
  });
  const exit = once(child, 'exit');
  let isKilled = false;
  atStep = async (one, at) => {
    if (isKilled || one.step !== wanted.step || one.time !== wanted.time || at !== when) return;
    isKilled = true;
    child.kill('SIGKILL');
    await exit;
  };
  await exit;
  atStep = async () => undefined;
  return isKilled;
}

const call = async (method: string, path: string, body?: unknown) => {
  const answer = await fetch(`${root}${path}`, {
    method,
    headers: { 'content-type': 'application/json' },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text === '' ? undefined : JSON.parse(text);
};
const idOf = async (name: string): Promise<string> => (await call('GET', `/${name}`)).id;
const names = async (): Promise<readonly string[]> =>
  (await call('GET', '?limit=100')).map(({ name }: { name: string }) => name).sort();

/** Records `from` to `to`; the text of every second one says `word`. */
async function fill(name: string, from: number, to: number, word: string): Promise<void> {
  const id = await idOf(name);
  for (let at = from; at < to; at += 2000) {
    const ids = Array.from({ length: Math.min(2000, to - at) }, (_, i) => at + i);
    await call('POST', `/${id}/upsert`, {
      ids: ids.map((n) => `r${n}`),
      embeddings: ids.map((n) => Array.from({ length: 8 }, (_, i) => Math.sin((n + 1) * (i + 1)))),
      metadatas: ids.map((n) => ({ n, word })),
      documents: ids.map((n) => (n % 2 === 0 ? `${word} ${n}` : null)),
    });
  }
}

/** All that a collection holds, a line a record. */
async function linesOf(name: string): Promise<readonly string[]> {
  const { ids, metadatas, documents } = await call('POST', `/${await idOf(name)}/get`, {
    include: ['metadatas', 'documents'],
  });
  return ids.map((id: string, at: number) => `${id} ${metadatas[at].n} ${metadatas[at].word} ${documents[at]}`).sort();
}

/** More than one request of a backup takes. Tried with 2,400 and more steps too. */
const records = 1200;

const held = async () => ({ words: await linesOf('words'), other: await linesOf('other') });
const unfinished = async (): Promise<readonly string[]> =>
  (await readdir(join(folder, 'state', 'backups'))).filter((name) => name.endsWith('.part'));
let backup: string;
/** What the backup holds, and what was there when it was brought back. */
let kept: Awaited<ReturnType<typeof held>>;
let since: Awaited<ReturnType<typeof held>>;

describe('a backup of Chroma', () => {
  test('that is killed is no backup, is told by name, and goes with the next', async () => {
    await call('POST', '', { name: 'words', configuration: { hnsw: { space: 'l2' } } });
    await call('POST', '', { name: 'other', configuration: { hnsw: { space: 'l2' } } });
    await fill('words', 0, records, 'old');
    await fill('other', 0, 60, 'old');
    kept = await held();
    for (const [step, time, when] of [
      ['get', 2, 'before'],
      ['count', 4, 'after'],
    ] as const) {
      expect([step, time, await killedAt({ step, time }, when, 'backup')]).toEqual([step, time, true]);
      const left = await unfinished();
      expect(left).toHaveLength(1);
      expect(await done('backups')).toMatch(
        new RegExp(`unfinished ${left[0]}: .*the next backup deletes it\\n0 backups`),
      );
      expect(await done('backup')).toContain(
        `note     ${left[0]}, which a process that was killed had begun, is deleted`,
      );
      expect(await unfinished()).toEqual([]);
      await done('backups', '--keep', '0');
    }
    expect(await held()).toEqual(kept);
    backup = /^backup {3}(\S+) {2}/m.exec(await done('backup'))?.[1] ?? '';
  }, 300_000);
});

describe('a restore of Chroma', () => {
  beforeAll(async () => {
    // Changed with a document where there was none, which an upsert cannot take away, added, and made anew in another way.
    await fill('words', 0, records / 2, 'new');
    const id = await idOf('words');
    const odd = Array.from({ length: records / 8 }, (_, n) => `r${2 * n + 1}`);
    await call('POST', `/${id}/update`, { ids: odd, documents: odd.map((each) => `new ${each}`) });
    await fill('words', records, records + 100, 'new');
    await call('DELETE', '/other');
    await call('POST', '', { name: 'other', configuration: { hnsw: { space: 'cosine' } } });
    await fill('other', 30, 90, 'new');
    since = await held();
  }, 120_000);

  test.each([
    ['it fills a collection that is made anew', 'upsert', 1, 'after', 'back'],
    ['it has taken the name from the old one', 'PUT', 1, 'after', 'forward'],
    ['it is to drop the old one', 'PUT', 2, 'after', 'back'],
    ['it has deleted records that it is to write again', 'delete', 1, 'after', 'back'],
    ['it deletes those that came since', 'delete', 2, 'before', 'forward'],
  ] as const)(
    'that is killed where %s is told, and goes forward or back',
    async (_, step, time, when, way) => {
      expect(await killedAt({ step, time }, when, 'restore', backup)).toBe(true);
      const told = await done('backups', '--verify', '--keep', '0');
      expect(told).toContain(`problem  the restore of backup ${backup}, begun `);
      const first = /which is backup (\S+);/.exec(told)?.[1] ?? '';
      // Neither of the two is deleted while it is needed.
      expect(told).toMatch(/\n2 backups in /);
      const up = await callCommand(args('up'));
      expect([up.code, up.err]).toEqual([3, expect.stringContaining(`vecferry migrate restore ${first}`)]);
      expect((await callCommand(args('status'))).out).toContain('problem  the restore of backup');
      if (way === 'forward') {
        await done('restore', backup);
        expect(await held()).toEqual(kept);
        expect(await names()).toEqual(['other', 'words']);
      }
      // Whatever the moment, every record of before is in the backup that was made first.
      await done('restore', first);
      expect(await held()).toEqual(since);
      expect(await names()).toEqual(['other', 'words']);
      await done('up');
    },
    300_000,
  );

  test('goes on answering under the name of a collection that is made anew, with all of the old or all of the new', async () => {
    const seen = new Set<number>();
    let isMissing = 0;
    atStep = async ({ step }) => {
      if (step !== 'upsert' && step !== 'POST') return;
      const found = await linesOf('other').catch(() => undefined);
      if (found === undefined) isMissing += 1;
      else seen.add(found.filter((line) => line.includes('new')).length);
    };
    await done('restore', backup);
    atStep = async () => undefined;
    expect([isMissing, [...seen].sort()]).toEqual([0, [0, 60]]);
  }, 120_000);
});
