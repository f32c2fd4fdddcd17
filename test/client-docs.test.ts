import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateBucketCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { QdrantClient } from '@qdrant/js-client-rest';
import { buildApp } from 'fauxqs';
import pg from 'pg';
import { bucketOf } from '../lib/cutover/route.ts';
import { builtProject, oldestNode, type PackedProject, run } from './packed.ts';
import { makeDatabase } from './servers/database.ts';
import { type EmbeddingServer, startEmbeddings } from './servers/embeddings.ts';
import { qdrantGrpcUrl, qdrantUrl } from './servers/urls.ts';

/** What the client says of a target that took longer than a second, as it may on a busy machine. */
const fellBack = 'did not answer a read';

/** The applications of docs/client.md, run as they stand there. */

const page = readFileSync('docs/client.md', 'utf8');

/** The block after its mark. */
function block(mark: string): string {
  const found = new RegExp(`<!-- ${mark} -->\n\`\`\`\\w+\n([\\s\\S]*?)\n\`\`\``).exec(page)?.[1];
  if (found === undefined) throw new Error(`docs/client.md has no block ${mark}`);
  return found;
}

async function freePort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = Object(server.address());
  await new Promise((resolve) => server.close(resolve));
  return String(port);
}

/** Servers are shared: the collection has a name of its own. */
const name = `articles_${Math.random().toString(36).slice(2, 8)}`;

let project: PackedProject;
let database: Awaited<ReturnType<typeof makeDatabase>>;
let sql: pg.Client;
let qdrant: QdrantClient;
beforeAll(async () => {
  project = builtProject();
  const packages = readdirSync('node_modules').flatMap((each) =>
    each.startsWith('@') ? readdirSync(join('node_modules', each)).map((one) => `${each}/${one}`) : [each],
  );
  project.link(...packages.filter((each) => !each.startsWith('.')));
  database = await makeDatabase('client_docs');
  sql = new pg.Client(database.url);
  await sql.connect();
  await sql.query('CREATE EXTENSION IF NOT EXISTS vector');
  for (const table of ['articles', name]) {
    await sql.query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, title text, embedding vector(3))`);
  }
  qdrant = new QdrantClient({ url: await qdrantUrl(), checkCompatibility: false });
  await qdrant.createCollection(name, { vectors: { size: 3, distance: 'Cosine' } });
});
afterAll(async () => {
  await sql.end();
  await database.drop();
  await qdrant.deleteCollection(name);
});

const inProject = (path: string): string => join(project.directory, path);
/** Of both sides, by id. */
async function held(table: string) {
  const { rows } = await sql.query(`SELECT id::text, title FROM ${table} ORDER BY id`);
  const { points } = await qdrant.scroll(name, { with_payload: true });
  return {
    postgres: rows.map(({ id, title }) => `${id} ${title}`),
    qdrant: points.map(({ id, payload }) => `${id} ${payload?.['title']}`),
  };
}

describe('the Express application', () => {
  let url: string;
  let child: ChildProcess;
  let words = '';
  let asked = 0;
  const say = (flag: object): void => {
    mkdirSync(inProject('state/flags'), { recursive: true });
    writeFileSync(inProject(`state/flags/${name}.json`), JSON.stringify(flag));
  };
  const [source, target] = ['pgvector:articles', 'qdrant:articles'];
  const put = async (id: number, title: string, vector: readonly number[]): Promise<number> => {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ title, vector });
    return (await fetch(`${url}/articles/${id}`, { method: 'PUT', headers, body })).status;
  };
  const titles = async (user: string): Promise<readonly string[]> => {
    asked += 1;
    const headers = { 'content-type': 'application/json', 'x-user': user };
    const body = JSON.stringify({ vector: [1, 0, 0], k: 2 });
    const found: readonly { title: string }[] = await (
      await fetch(`${url}/search`, { method: 'POST', headers, body })
    ).json();
    return found.map(({ title }) => title);
  };

  beforeAll(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    writeFileSync(inProject('server.mjs'), block('express').replaceAll("'articles'", `'${name}'`));
    const { NODE_OPTIONS: _, ...env } = process.env;
    const own = { POSTGRES_URL: database.url, QDRANT_URL: await qdrantUrl(), VECFERRY_DIR: 'state', PORT: port };
    child = spawn(oldestNode(), ['server.mjs'], { cwd: project.directory, env: { ...env, ...own } });
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => (words += data.toString()));
    while (!words.includes('listening')) {
      if (child.exitCode !== null) throw new Error(`the application did not start: ${words}`);
      await sleep(20);
    }
  });
  afterAll(() => {
    child?.kill('SIGKILL');
  });

  test('uses the source while the flag was never set, both sides once it says so, and keeps each user on one', async () => {
    expect(await put(1, 'only in the source', [1, 0, 0])).toBe(204);
    expect(await held('articles')).toEqual({ postgres: ['1 only in the source'], qdrant: [] });

    say({ active: source, candidate: target, weight: 50, shadow: 0, writes: [source, target], run: 'r1' });
    // The client refreshes every five seconds.
    for (let id = 2; (await held('articles')).qdrant.length === 0; id++) {
      if (id > 400) throw new Error(`no write came to Qdrant: ${words}`);
      expect(await put(id, `in both ${id}`, [0.9, 0.1, id / 1000])).toBe(204);
      await sleep(200);
    }
    const before = await held('articles');
    const isMoved = (user: string): boolean => bucketOf(name, user) < 50;
    const everyone = Array.from({ length: 200 }, (_, at) => `user ${at}`);
    // Four of each side: of the collection's chance name it depends which side a user is on.
    const users = [true, false].flatMap((side) => everyone.filter((user) => isMoved(user) === side).slice(0, 4));
    expect(users).toHaveLength(8);
    for (const user of users) {
      let [nearest] = await titles(user);
      // On a busy machine the target may take longer than a second, and the source is asked instead, as the application says.
      const isLate = (): boolean => isMoved(user) && nearest === 'only in the source' && words.includes(fellBack);
      for (let tries = 0; tries < 20 && isLate(); tries++) [nearest] = await titles(user);
      if (isMoved(user)) expect(nearest).toMatch(/^in both/);
      else expect(nearest).toBe('only in the source');
    }
    const gone = before.qdrant[0]?.split(' ')[0] ?? '';
    expect((await fetch(`${url}/articles/${gone}`, { method: 'DELETE' })).status).toBe(204);
    const after = await held('articles');
    expect(after.postgres).toEqual(before.postgres.filter((each) => !each.startsWith(`${gone} `)));
    expect(after.qdrant).toEqual([]);
    expect(readdirSync(inProject('state/runs/r1/tombstones'))).toHaveLength(1);
  });

  test('ends when it is asked to, with its metrics written', async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    const [file = ''] = readdirSync(inProject(`state/metrics/${name}`));
    const lines = readFileSync(inProject(`state/metrics/${name}/${file}`), 'utf8')
      .trim()
      .split('\n');
    const answered = lines
      .map((line) => JSON.parse(line))
      .reduce((sum, { Reads = 0, ReadErrors = 0 }) => sum + Reads - ReadErrors, 0);
    expect(answered).toBe(asked);
  });
});

describe('the Lambda application', () => {
  const aws = buildApp({ logger: false });
  let endpoint: string;
  let ssm: Server;
  let ssmUrl: string;
  let queueUrl: string;
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const region = 'us-east-1';
  beforeAll(async () => {
    endpoint = await aws.listen({ port: 0, host: '127.0.0.1' });
    await new S3Client({ endpoint, region, credentials, forcePathStyle: true }).send(
      new CreateBucketCommand({ Bucket: 'runs' }),
    );
    await new SQSClient({ endpoint, region, credentials }).send(new CreateQueueCommand({ QueueName: 'repairs' }));
    // The one that it names itself has a host that only its own machine may resolve.
    queueUrl = `${endpoint}/000000000000/repairs`;
    const places = { active: `pgvector:${name}`, candidate: `qdrant:${name}` };
    const flag = { ...places, weight: 100, shadow: 0, writes: Object.values(places), run: 'r1' };
    ssm = createServer(async (request, response) => {
      const [body] = await request.toArray();
      const { Name } = JSON.parse(String(body));
      const isThere =
        request.headers['x-amz-target'] === 'AmazonSSM.GetParameter' && Name === `/vecferry/flags/${name}`;
      response.writeHead(isThere ? 200 : 400, { 'content-type': 'application/x-amz-json-1.1' });
      response.end(
        JSON.stringify(
          isThere ? { Parameter: { Name, Value: JSON.stringify(flag) } } : { __type: 'ParameterNotFound' },
        ),
      );
    });
    await new Promise<void>((resolve) => ssm.listen(0, '127.0.0.1', resolve));
    ssmUrl = `http://127.0.0.1:${Object(ssm.address()).port}`;
    writeFileSync(inProject('function.mjs'), block('lambda').replaceAll("'articles'", `'${name}'`));
    const calls =
      "import { handler } from './function.mjs';\nconst answers = [];\nfor (const event of JSON.parse(process.argv[2])) answers.push(await handler(event));\nprocess.stdout.write('\\n' + JSON.stringify(answers) + '\\n');\nprocess.exit();\n";
    writeFileSync(inProject('call.mjs'), calls);
  });
  afterAll(async () => {
    ssm.close();
    await aws.close();
  });

  /** Calls the handler with these, in a process like that of a function. */
  async function call(events: readonly object[], target: object) {
    const mapping = {
      vectors: { embedding: '' },
      dropFields: [],
      castFields: {},
      ids: 'keep',
      originalId: 'original_id',
      missingVectors: 'keep',
    };
    const own = {
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: 'local',
      AWS_SECRET_ACCESS_KEY: 'local',
      AWS_ENDPOINT_URL_S3: endpoint,
      AWS_ENDPOINT_URL_SQS: endpoint,
      AWS_ENDPOINT_URL_SSM: ssmUrl,
      POSTGRES_URL: database.url,
      QDRANT: JSON.stringify(target),
      MAPPING: JSON.stringify(mapping),
      REPAIR_QUEUE_URL: queueUrl,
      RUNS_BUCKET: 'runs',
    };
    const { NODE_OPTIONS: _, ...env } = process.env;
    const child = spawn(process.execPath, ['call.mjs', JSON.stringify(events)], {
      cwd: project.directory,
      env: { ...env, ...own },
    });
    let out = '';
    let words = '';
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (words += data.toString()));
    const code = await new Promise((resolve) => child.once('close', resolve));
    if (code !== 0) throw new Error(`the function ended with ${code}: ${words}${out}`);
    const lines = out
      .trim()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line));
    return { answers: lines.at(-1), metrics: lines.slice(0, -1), words };
  }
  const there = async () => ({ url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() });

  test('writes both sides, notes its delete in the bucket, reads the target, and has its metrics out before it returns', async () => {
    const put = (id: string, embedding: readonly number[]) => ({ put: { id, title: `title ${id}`, embedding } });
    const { answers, metrics } = await call(
      [
        put('11', [1, 0, 0]),
        put('12', [0, 1, 0]),
        { remove: '12' },
        { search: { embedding: [1, 0, 0], k: 2 }, user: 'ann' },
      ],
      await there(),
    );
    expect(answers).toEqual([{}, {}, {}, { ids: ['11'] }]);
    expect(await held(name)).toEqual({ postgres: ['11 title 11'], qdrant: ['11 title 11'] });
    expect(metrics.filter(({ place, Reads }) => place === `qdrant:${name}` && Reads === 1)).toHaveLength(1);
    const { Contents = [] } = await new S3Client({ endpoint, region, credentials, forcePathStyle: true }).send(
      new ListObjectsV2Command({ Bucket: 'runs', Prefix: 'runs/r1/tombstones/' }),
    );
    expect(Contents).toHaveLength(1);
  });

  test("hands to the stack's queue what a target that is away did not take, and answers from the source", async () => {
    const { answers } = await call(
      [
        { put: { id: '13', title: 'title 13', embedding: [0, 0, 1] } },
        { search: { embedding: [0, 0, 1], k: 1 }, user: 'ann' },
      ],
      { url: 'http://127.0.0.1:9', grpcUrl: 'http://127.0.0.1:9' },
    );
    expect(answers).toEqual([{}, { ids: ['13'] }]);
    const request = new ReceiveMessageCommand({ QueueUrl: queueUrl, WaitTimeSeconds: 1 });
    const { Messages = [] } = await new SQSClient({ endpoint, region, credentials }).send(request);
    expect(Messages.map(({ Body = '' }) => JSON.parse(Body))).toEqual([{ version: 1, run: 'r1', ids: ['13'] }]);
  });
});

describe('the application of two models', () => {
  const places = ['pgvector:articles_old', 'pgvector:articles_new'] as const;
  let models: EmbeddingServer;
  beforeAll(async () => {
    models = await startEmbeddings();
    for (const [table, floats] of [
      ['articles_old', 50],
      ['articles_new', 100],
    ] as const)
      await sql.query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, title text, embedding vector(${floats}))`);
    const source = block('models')
      .replaceAll("'articles'", "'articles_old'")
      .replaceAll(":articles'", ":articles_old'");
    writeFileSync(inProject('models.mjs'), source);
    const calls = `import { articles } from './models.mjs';
      const titles = ['a dog that barks', 'a ship on the sea', 'a king and his crown'];
      await articles.upsert(titles.map((title, at) => ({ id: String(at + 1), title })));
      const found = {};
      for (const key of JSON.parse(process.argv[2])) found[key] = await articles.search({ text: 'queen and throne', k: 1 }, { key });
      process.stdout.write('\\n' + JSON.stringify(found) + '\\n');
      await articles.close();
      process.exit();`;
    writeFileSync(inProject('ask.mjs'), calls);
    mkdirSync(inProject('two/flags'), { recursive: true });
    const [active, candidate] = places;
    const flag = { active, candidate, weight: 50, shadow: 0, writes: places, run: 'r1' };
    writeFileSync(inProject('two/flags/articles_old.json'), JSON.stringify(flag));
  });
  afterAll(async () => {
    await models.close();
  });

  test('embeds each write and each query by the model of the side that it goes to', async () => {
    const users = ['ann', 'bob', 'cleo', 'dan', 'eve', 'fay', 'gus', 'hal'];
    const env = {
      ...process.env,
      NODE_OPTIONS: '',
      POSTGRES_URL: database.url,
      EMBEDDINGS_URL: models.url,
      OLD_MODEL: 'glove-50',
      NEW_MODEL: 'glove-100',
      VECFERRY_DIR: 'two',
    };
    let words = fellBack;
    // A query that was asked of both sides is embedded twice: then once more.
    for (let tries = 0; tries < 10 && words.includes(fellBack); tries++) {
      words = '';
      models.counts.bodies.length = 0;
      const child = spawn(oldestNode(), ['ask.mjs', JSON.stringify(users)], { cwd: project.directory, env });
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (data: Buffer) => (words += data.toString()));
      expect([await new Promise((resolve) => child.once('close', resolve)), words]).toEqual([0, expect.anything()]);
    }
    const found = JSON.parse(words.split('\n').find((line) => line.startsWith('{"ann"')) ?? '{}');
    for (const user of users) expect([user, found[user]?.[0]?.title]).toEqual([user, 'a king and his crown']);
    const { rows } = await sql.query(
      `SELECT vector_dims(a.embedding) AS old, vector_dims(b.embedding) AS new FROM articles_old a JOIN articles_new b USING (id, title)`,
    );
    expect(rows).toEqual([1, 2, 3].map(() => ({ old: 50, new: 100 })));
    const asked = models.counts.bodies.map(({ model, input }) => `${model} ${[input].flat().length}`);
    const isNew = (user: string): boolean => bucketOf('articles_old', user) < 50;
    expect(asked.filter((each) => each === 'glove-100 1')).toHaveLength(users.filter(isNew).length);
    expect(asked.filter((each) => each === 'glove-50 1')).toHaveLength(users.filter((user) => !isNew(user)).length);
  });
});

describe('other languages', () => {
  const vectors = [...page.matchAll(/^\| `(\w+)` \| (`(.+)`|the empty text) \| ([\d.]+) \|$/gm)].map(
    ([, flag = '', , key = '', bucket]) => ({ flag, key, bucket: Number(bucket) }),
  );

  test('the test vectors are what the client does', () => {
    expect(vectors.length).toBeGreaterThan(5);
    expect(vectors.map(({ flag, key }) => bucketOf(flag, key))).toEqual(vectors.map(({ bucket }) => bucket));
  });

  test('the Python of the page routes as the client does', () => {
    const keys = [...vectors.map(({ key }) => key), ...Array.from({ length: 500 }, (_, at) => `user-${at} 🦀`)];
    const script = `${block('python')}\nimport json, sys\nprint(json.dumps([bucket("articles", key) for key in json.loads(sys.argv[1])]))\nflag = {"active": "a", "candidate": "b", "weight": 40}\nprint(place_of_read("articles", flag, "user-2") + place_of_read("articles", flag, "user-1"))`;
    const python = join('.venv', 'bin', 'python');
    const [buckets = '', places] = run(python, ['-c', script, JSON.stringify(keys)], process.cwd())
      .trim()
      .split('\n');
    expect(JSON.parse(buckets)).toEqual(keys.map((key) => bucketOf('articles', key)));
    expect(places).toBe('ba');
  });
});
