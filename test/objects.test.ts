import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, request as forward } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type FauxqsServer, startFauxqs } from 'fauxqs';
import { type ListingObjectStore, openFileObjects } from '../lib/objects-files.ts';
import { openS3Objects } from '../lib/objects-s3.ts';

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
let directory = '';
let server: FauxqsServer;
let client: S3Client;
const stores: Record<string, () => ListingObjectStore> = {
  'a directory': () => openFileObjects(join(directory, 'runs')),
  S3: () => openS3Objects('runs', client),
};

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vecferry-'));
  server = await startFauxqs({ port: 0, logger: false, host: '127.0.0.1' });
  server.createBucket('runs');
  client = new S3Client({
    endpoint: `http://127.0.0.1:${server.port}`,
    region: 'us-east-1',
    credentials,
    forcePathStyle: true,
  });
});
afterAll(async () => {
  client.destroy();
  await server.stop();
  await rm(directory, { recursive: true });
});

describe.each(Object.keys(stores))('objects in %s', (name) => {
  const open = (): ListingObjectStore => stores[name]!();

  test('give back every byte that was put, text as UTF-8', async () => {
    const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 7);
    await open().put('a/bytes', bytes);
    expect(Buffer.compare((await open().get('a/bytes'))!, bytes)).toBe(0);
    await open().put('a/text.json', '{"é":"😀"}', 'application/json');
    expect(Buffer.from((await open().get('a/text.json'))!).toString()).toBe('{"é":"😀"}');
  });

  test('an object that is not there is undefined, so a missing marker is no failure', async () => {
    expect(await open().get('a/nothing')).toBeUndefined();
    expect(await open().get('a/bytes/below-an-object')).toBeUndefined();
    await open().delete('a/nothing');
  });

  test('a second put replaces the first, and its tag tells', async () => {
    await open().put('b/one', '1');
    const [before] = await open().entries('b/');
    await open().put('b/one', '22');
    const [after] = await open().entries('b/');
    expect(after).toMatchObject({ key: 'b/one', size: 2 });
    expect(after?.tag).not.toBe(before?.tag);
  });

  test('a range of bytes is read, and refused once the object is another', async () => {
    await open().put('e/one', '0123456789');
    const [listed] = await open().entries('e/');
    expect(Buffer.from(await open().range(listed!, 3, 6)).toString()).toBe('345');
    await open().put('e/one', '9876543210');
    await expect(open().range(listed!, 3, 6)).rejects.toMatchObject({ name: 'StoreUnavailable' });
    await open().delete('e/one');
    await expect(open().range(listed!, 3, 6)).rejects.toMatchObject({ name: 'StoreUnavailable' });
  });

  test('an object that comes in parts is whole, of none and of many bytes; what fails on the way leaves the old one', async () => {
    const parts = async function* (sizes: readonly number[], fails = false): AsyncGenerator<Uint8Array> {
      for (const [at, size] of sizes.entries()) yield new Uint8Array(size).fill(at + 1);
      if (fails) throw new RangeError('the file is another one now');
    };
    await open().putParts('p/none', 0, parts([]));
    expect((await open().get('p/none'))?.length).toBe(0);
    // More than two parts of a multipart upload, cut at other places than they come.
    const sizes = [3, 9_000_000, 1, 8_388_608, 2_000_000];
    const total = sizes.reduce((sum, size) => sum + size, 0);
    await open().putParts('p/many', total, parts(sizes));
    const whole = Buffer.concat(sizes.map((size, at) => Buffer.alloc(size, at + 1)));
    expect(whole.equals((await open().get('p/many'))!)).toBe(true);
    await expect(open().putParts('p/many', total, parts([5, 9_000_000], true))).rejects.toThrow(/another one now/);
    expect(whole.equals((await open().get('p/many'))!)).toBe(true);
    expect(await open().list('p/')).toEqual(['p/many', 'p/none']);
  });

  test('list in the order of their bytes, by any prefix, as S3 does', async () => {
    const keys = ['c/1.json', 'c/10.json', 'c/2/x', 'c/Z', 'c/a', 'c/ﬀ', 'c/😀'];
    await Promise.all([...keys].reverse().map((key) => open().put(key, key)));
    expect(await open().list('c/')).toEqual(keys);
    expect(await open().list('c/1')).toEqual(['c/1.json', 'c/10.json']);
    expect(await open().list('none/')).toEqual([]);
  });

  test('folders are listed without what is in them, since a run has as many objects as it likes', async () => {
    const keys = [
      'f/r1/plan.json',
      'f/r1/shards/1.json',
      'f/r10/plan.json',
      'f/r2/x/y.json',
      'f/loose.json',
      'fr/z.json',
    ];
    for (const key of keys) await open().put(key, 'x');
    expect(await open().folders('f/')).toEqual(['f/r1/', 'f/r10/', 'f/r2/']);
    expect(await open().folders('nowhere/')).toEqual([]);
  });

  test('more than a page of a thousand is listed whole', async () => {
    const keys = Array.from({ length: 1005 }, (_, i) => `many/${String(i).padStart(5, '0')}`);
    for (let at = 0; at < keys.length; at += 50)
      await Promise.all(keys.slice(at, at + 50).map((key) => open().put(key, '')));
    expect(await open().list('many/')).toEqual(keys);
  });

  test('are gone once deleted', async () => {
    await open().put('d/one', '1');
    await open().delete('d/one');
    expect(await open().list('d/')).toEqual([]);
  });
});

test('an S3 object that comes in parts is begun with the checksum that each part has, and ended with all of them: S3 refuses it else', async () => {
  const sent: { readonly name: string; readonly input: object }[] = [];
  const { config } = client;
  const told = new S3Client({ endpoint: config.endpoint!, region: 'us-east-1', credentials, forcePathStyle: true });
  told.middlewareStack.add(
    (next, { commandName = '' }) =>
      async (args) => {
        sent.push({ name: commandName, input: args.input });
        return await next(args);
      },
    { step: 'initialize' },
  );
  const size = 9_000_000;
  await openS3Objects('runs', told).putParts(
    'checked',
    size,
    (async function* () {
      yield new Uint8Array(size);
    })(),
  );
  told.destroy();
  expect(sent).toMatchObject([
    { name: 'CreateMultipartUploadCommand', input: { ChecksumAlgorithm: 'CRC32' } },
    { name: 'UploadPartCommand', input: { ChecksumAlgorithm: 'CRC32' } },
    { name: 'UploadPartCommand', input: { ChecksumAlgorithm: 'CRC32' } },
    { name: 'CompleteMultipartUploadCommand' },
  ]);
  const parts = [
    { PartNumber: 1, ChecksumCRC32: expect.stringMatching(/=$/) },
    { PartNumber: 2, ChecksumCRC32: expect.stringMatching(/=$/) },
  ];
  expect(sent[3]!.input).toMatchObject({ MultipartUpload: { Parts: parts } });
  expect((await openS3Objects('runs', client).get('checked'))?.length).toBe(size);
});

describe('objects in a directory', () => {
  test.each(['../outside', 'a/../../outside', '/etc/x', 'a//b', '.', '', 'a\0b', 'a\\..\\b'])(
    'the key %j is refused, for it leads out',
    async (key) => {
      await expect(openFileObjects(directory).put(key, 'x')).rejects.toMatchObject({ name: 'InvalidEvent' });
    },
  );

  test('half a file that a killed process left is never listed', async () => {
    await mkdir(join(directory, 'killed'));
    await writeFile(join(directory, 'killed', 'x.json.0b0f1a52-6f0e-4b44-9c1b-3a5f5a1b2c3d.tmp'), '{');
    expect(await openFileObjects(directory).list('killed/')).toEqual([]);
  });
});

describe('create writes only where there is nothing, and of many at once exactly one wins: approvals depend on it,', () => {
  const holds = async (objects: ListingObjectStore): Promise<void> => {
    expect(await objects.create('g/one', 'first')).toBe(true);
    expect(await objects.create('g/one', 'second')).toBe(false);
    expect(Buffer.from((await objects.get('g/one'))!).toString()).toBe('first');
    const won = await Promise.all(Array.from({ length: 8 }, (_, i) => objects.create('g/raced', `${i}`)));
    expect(won.filter((each) => each)).toHaveLength(1);
    expect(Buffer.from((await objects.get('g/raced'))!).toString()).toBe(String(won.indexOf(true)));
    expect(await objects.list('g/')).toEqual(['g/one', 'g/raced']);
  };

  test('in a directory', async () => {
    await holds(openFileObjects(join(directory, 'created')));
  });

  test('in S3, by its conditional write', async () => {
    // fauxqs does not heed the header, so what S3 does with it stands before it: 412 where the object is there.
    const taken = new Set<string>();
    const conditional = createServer((request, response) => {
      const { method = 'GET', headers, url = '' } = request;
      const path = new URL(url, 'http://s3').pathname;
      if (headers['if-none-match'] === '*' && taken.has(path)) {
        response.writeHead(412, { 'content-type': 'application/xml' });
        response.end('<?xml version="1.0"?><Error><Code>PreconditionFailed</Code><Message>no</Message></Error>');
        return;
      }
      if (headers['if-none-match'] === '*') taken.add(path);
      const onward = forward({ host: '127.0.0.1', port: server.port, path: url, method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      });
      request.pipe(onward);
    });
    await new Promise<void>((resolve) => conditional.listen(0, '127.0.0.1', resolve));
    const address = conditional.address();
    const endpoint = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
    const own = new S3Client({ endpoint, region: 'us-east-1', credentials, forcePathStyle: true });
    try {
      await holds(openS3Objects('runs', own));
    } finally {
      own.destroy();
      conditional.close();
      conditional.closeAllConnections();
    }
  });
});

describe('objects in S3', () => {
  test('a missing bucket is NotFound and names it', async () => {
    await expect(openS3Objects('nowhere', client).put('k', 'x')).rejects.toMatchObject({
      name: 'NotFound',
      ids: ['s3://nowhere/k'],
    });
  });

  test.each([
    [503, 'SlowDown', 'Throttled'],
    [403, 'AccessDenied', 'AccessDenied'],
    [500, 'InternalError', 'StoreUnavailable'],
  ])('an answer of %i %s is %s', async (status, code, name) => {
    const http = createServer((_, response) => {
      response.writeHead(status, { 'content-type': 'application/xml' });
      response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
    });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    const address = http.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const refusing = new S3Client({
      endpoint: `http://127.0.0.1:${port}`,
      region: 'us-east-1',
      credentials,
      forcePathStyle: true,
      maxAttempts: 1,
    });
    try {
      const objects = openS3Objects('runs', refusing);
      await expect(objects.get('k')).rejects.toMatchObject({ name });
      await expect(objects.list('k')).rejects.toMatchObject({ name });
      await expect(objects.put('k', 'x')).rejects.toMatchObject({ name });
    } finally {
      refusing.destroy();
      http.close();
      http.closeAllConnections();
    }
  });
});
