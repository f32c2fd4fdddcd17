import { afterAll, describe, expect, test } from '@jest/globals';
import { mirror } from '../../lib/client/mirror.ts';
import type { ClientRecord } from '../../lib/client/side.ts';
import type { StoreSide } from '../../lib/client/store-side.ts';
import { seededRandom } from '../../lib/sample.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import { makeSchema } from '../make.ts';
import { openPair, type Pair, type PairStore } from './store-pairs.ts';

/** Stores as sides of the client: two of different kinds end equal, whatever is written while they are made so. */

const opened: Pair[] = [];
afterAll(async () => {
  await Promise.all(opened.map((pair) => pair.close()));
});
const pairOf = async (...parts: Parameters<typeof openPair>): Promise<Pair> => {
  const pair = await openPair(...parts);
  opened.push(pair);
  return pair;
};

const dense = (name: string): VectorSpec => ({
  name,
  kind: 'dense',
  dimension: 4,
  distance: 'cosine',
  precision: 'float32',
});

const payloads: readonly ClientRecord['payload'][] = [
  {},
  { n: 9007199254740993n, low: -9007199254740993n },
  { at: '2026-03-29T02:30:00.123456+02:00', here: null },
  { a: { b: [1, { c: null }, [true, false]], d: {} }, list: [] },
  { 'a.b': 1, $set: { 'x.y': 3 }, '': 'an empty key', '🦜': 'café' },
  { x: 0.1, y: 1.7976931348623157e308, whole: 12 },
];

interface Writing {
  readonly side: StoreSide;
  readonly vector: string;
  readonly makeId: (at: number) => string;
  readonly seed: number;
  readonly writes: number;
  /** Called with the ids of each write once it is acknowledged. */
  readonly written: (ids: readonly string[]) => void;
}

/** Upserts and deletes of a few dozen ids, as one process would send them. */
async function writeAtRandom({ side, vector, makeId, seed, writes, written }: Writing): Promise<void> {
  const random = seededRandom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  for (let at = 0; at < writes; at++) {
    const ids = Array.from({ length: 1 + below(4) }, () => makeId(below(40)));
    if (random() < 0.35) await side.delete(ids);
    else await side.upsert(ids.map((id) => makeRecord(id, vector, random, payloads[below(payloads.length)])));
    written(ids);
  }
}

function makeRecord(id: string, vector: string, random: () => number, payload = {}): ClientRecord {
  const values = Array.from({ length: 4 }, () => random() * 2 - 1 || 0.5);
  return { id, vectors: { [vector]: values }, payload };
}

const word = (at: number): string => `note ${at}`;
const integer = (at: number): string => String(at + 1);

describe('two sides end equal when each id is mirrored after it was written, with three writers at once', () => {
  test.each<[PairStore, PairStore, string, (at: number) => string, number]>([
    ['memory', 'memory', 'embedding', word, 80],
    ['pgvector', 'qdrant', 'embedding', word, 40],
    ['qdrant', 'chroma', '', integer, 40],
    ['chroma', 'lancedb', 'embedding', word, 25],
    ['lancedb', 'pgvector', 'vector', integer, 20],
  ])('%s to %s', async (from, to, vector, makeId, writes) => {
    const idType = makeId === word ? 'string' : 'integer';
    const first = [makeRecord(makeId(0), vector, seededRandom(9))];
    const pair = await pairOf(from, to, makeSchema({ idType, vectors: [dense(vector)] }), { first });
    const mirrors: Promise<void>[] = [];
    const written = (ids: readonly string[]): void => {
      mirrors.push(mirror({ ids, from: pair.source, to: pair.target, maxRounds: 100 }));
    };
    written([makeId(0)]);
    const common = { side: pair.source, vector, makeId, writes, written };
    await Promise.all([1, 2, 3].map((seed) => writeAtRandom({ ...common, seed })));
    await Promise.all(mirrors);
    expect(mirrors).toHaveLength(3 * writes + 1);
    expect(await pair.differences()).toEqual([]);
    expect(await pair.stores.source.count()).toBeGreaterThan(0);
    // Through the sides the application reads the same records of both, by its own ids.
    const ids = Array.from({ length: 40 }, (_, at) => makeId(at));
    const [left, right] = await Promise.all([pair.source.fetch(ids), pair.target.fetch(ids)]);
    expect(byId(right)).toEqual(byId(left));
  });
});

function byId(records: readonly ClientRecord[]) {
  return records.map(({ id, payload }) => ({ id, payload })).toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
