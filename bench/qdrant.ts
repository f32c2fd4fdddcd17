import { QdrantClient } from '@qdrant/js-client-rest';
import { type Batch, denseVector, sliceBatch } from '../lib/batch.ts';
import { seededRandom } from '../lib/sample.ts';
import type { CollectionSchema } from '../lib/schema.ts';
import type { Store } from '../lib/stores/port.ts';
import { qdrant } from '../lib/stores/qdrant.ts';
import { startServer } from '../test/servers/start.ts';
import type { BenchRow } from './row.ts';

/**
 * Qdrant: what a client spends on upserts and scrolls, ours beside `@qdrant/js-client-rest`, in the same run against the
 * same server. Processor time, not the clock: the server does most of the work, in a process of its own.
 */

const records = 20_000;
const dimension = 384;
const rounds = 3;
/** Records a write gets: as many as an import hands over at a time. */
const perWrite = 4000;
/** The peer's requests: as many records, and as many under way, as ours. */
const perRequest = 500;
const inFlight = 4;

export async function run(): Promise<BenchRow[]> {
  const server = await startServer('qdrant');
  const { QDRANT_URL: url, QDRANT_GRPC_URL: grpcUrl } = server.addresses;
  if (url === undefined || grpcUrl === undefined) throw new Error('the Qdrant test server has no address');
  const peer = new QdrantClient({ url, checkCompatibility: false });
  const collection = 'bench_qdrant';
  const open = (transport: string) => qdrant.open({ connection: { url, grpcUrl }, collection, options: { transport } });
  const [grpc, rest] = [await open('grpc'), await open('rest')];
  try {
    await peer.deleteCollection(collection);
    await grpc.prepare(schema);
    const batch = makeRecords();
    // The peer's objects are made before the clock starts: what is measured is the client, not how records come to it.
    const points = batch.ids.map((id, at) => ({
      id: Number(id),
      vector: [...denseVector(column(batch), at)],
      payload: JSON.parse(batch.payloads[at] ?? '{}'),
    }));
    const ours = () => write(grpc, batch);
    const oursOverRest = () => write(rest, batch);
    const theirs = () => upsertWithPeer(peer, collection, points);
    const writes = await medians([ours, oursOverRest, theirs]);
    const reads = await medians([() => readAll(grpc), () => readAll(rest), () => scrollWithPeer(peer, collection)]);
    const [upsertGrpc, upsertRest, upsertPeer] = writes;
    const [scrollGrpc, scrollRest, scrollPeer] = reads;
    return [
      ...rows('qdrant upsert, gRPC', upsertGrpc, upsertPeer, 'ratio <= 1/3'),
      ...rows('qdrant upsert, REST', upsertRest, upsertPeer, 'ratio <= 1'),
      ...rows('qdrant scroll, gRPC', scrollGrpc, scrollPeer, 'ratio <= 1'),
      ...rows('qdrant scroll, REST', scrollRest, scrollPeer, 'ratio <= 1'),
    ];
  } finally {
    await peer.deleteCollection(collection);
    await Promise.all([grpc.close(), rest.close()]);
    await server.stop();
  }
}

interface Times {
  /** Of this process's processor. */
  readonly cpuMs: number;
  readonly clockMs: number;
}
const noTimes: Times = { cpuMs: Number.NaN, clockMs: Number.NaN };

function rows(name: string, ours = noTimes, peer = noTimes, goal = ''): BenchRow[] {
  const what = `${name}, ${records.toLocaleString('en')} x ${dimension}`;
  const against = '@qdrant/js-client-rest';
  const rate = (records * 1000) / ours.clockMs;
  return [
    { name: what, value: ours.cpuMs, unit: 'ms of client CPU', against, ratio: ours.cpuMs / peer.cpuMs, goal },
    { name: what, value: rate, unit: 'records/s', against, ratio: peer.clockMs / ours.clockMs },
  ];
}

const schema: CollectionSchema = {
  store: 'qdrant',
  idType: 'integer',
  key: [],
  vectors: [{ name: '', kind: 'dense', dimension, distance: 'dot', precision: 'float32' }],
  payloadIndexes: [],
  native: {},
};

function makeRecords(): Batch {
  const random = seededRandom(7);
  return {
    count: records,
    ids: Array.from({ length: records }, (_, at) => String(at + 1)),
    vectors: new Map([
      [
        '',
        {
          kind: 'dense',
          dimension,
          values: Float32Array.from({ length: records * dimension }, () => random() * 2 - 1),
        },
      ],
    ]),
    payloads: Array.from({ length: records }, (_, at) =>
      JSON.stringify({
        title: `Article number ${at}`,
        lang: 'en',
        rank: at,
        score: at / 7,
        tags: ['a', 'b'],
        draft: false,
      }),
    ),
  };
}

function column({ vectors }: Batch) {
  const found = vectors.get('');
  if (found?.kind !== 'dense') throw new Error('the benchmark has one dense vector');
  return found;
}

async function write(store: Store, batch: Batch): Promise<void> {
  for (let at = 0; at < batch.count; at += perWrite) {
    const position = { run: 'bench', shard: '00000-000', offset: at };
    await store.write(sliceBatch(batch, at, at + perWrite), { position, mode: 'upsert' });
  }
}

async function readAll(store: Store): Promise<void> {
  let count = 0;
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 5000, maxBytes: 32 << 20 }))
    count += batch.count;
  if (count !== records) throw new Error(`read ${count} of ${records} records`);
}

type PeerPoints = { id: number; vector: number[]; payload: Record<string, unknown> }[];

async function upsertWithPeer(client: QdrantClient, collection: string, points: PeerPoints): Promise<void> {
  for (let at = 0; at < points.length; at += perRequest * inFlight) {
    const requests = Array.from({ length: inFlight }, (_, each) => {
      const from = at + each * perRequest;
      return points.slice(from, from + perRequest);
    });
    await Promise.all(
      requests.filter((part) => part.length > 0).map((part) => client.upsert(collection, { wait: true, points: part })),
    );
  }
}

async function scrollWithPeer(client: QdrantClient, collection: string): Promise<void> {
  let count = 0;
  let offset: Awaited<ReturnType<QdrantClient['scroll']>>['next_page_offset'];
  do {
    const page = await client.scroll(collection, {
      limit: 2000,
      with_vector: true,
      with_payload: true,
      ...(offset ? { offset } : {}),
    });
    count += page.points.length;
    offset = page.next_page_offset;
  } while (offset !== null && offset !== undefined);
  if (count !== records) throw new Error(`scrolled ${count} of ${records} records`);
}

/** What a task takes, the median of some rounds; the tasks take turns, so that all warm up alike. */
async function medians(tasks: readonly (() => Promise<void>)[]): Promise<Times[]> {
  const times = tasks.map((): Times[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [at, task] of tasks.entries()) {
      const [before, start] = [process.cpuUsage(), performance.now()];
      await task();
      const { user, system } = process.cpuUsage(before);
      times[at]?.push({ cpuMs: (user + system) / 1000, clockMs: performance.now() - start });
    }
  }
  const middle = (all: number[]): number => all.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? Number.NaN;
  return times.map((each) => ({
    cpuMs: middle(each.map(({ cpuMs }) => cpuMs)),
    clockMs: middle(each.map(({ clockMs }) => clockMs)),
  }));
}
