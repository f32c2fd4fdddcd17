import { createHash } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseCollectionFile } from '../../../lib/migrate/collection/collection.ts';
import { readCollectionFile, seedsOf } from '../../../lib/migrate/collection/parse.ts';
import { makeConfig, makeFile } from './world.ts';

const config = makeConfig({ store: 'qdrant', connection: { url: 'http://127.0.0.1:1' } });
const parsing = (text: string) => () => parseCollectionFile(makeFile(7, text), config);
const head = 'store: search\ncollection: articles\n';
const where = 'migrations/007_search.yaml';

describe('what is wrong in a collection file is said with file, line, column, field and what is accepted', () => {
  test.each([
    ['YAML that is none', `${head}vectors: { a: [`, `${where}, line 3, column 16: `],
    [
      'an unknown field',
      `${head}indexes: {}`,
      `${where}, line 3, column 1: indexes is no field here; there are store, collection, collections, down, vectors, `,
    ],
    [
      'a field within, of the wrong type',
      `${head}vectors:\n  text:\n    size: big`,
      `${where}, line 5, column 5: vectors.text.size is wrong: expected number, received string`,
    ],
    [
      'an unknown field within',
      `${head}hnsw:\n  ef: 3`,
      `${where}, line 4, column 3: hnsw.ef is no field here; there are m, efConstruction, `,
    ],
    [
      'a distance that nobody has',
      `${head}vectors: { t: { size: 3, distance: hamming } }`,
      'expected one of "cosine"|"dot"|"euclid"|"manhattan"',
    ],
    [
      'a quantization of two kinds',
      `${head}quantization: { scalar: {}, binary: {} }`,
      'line 3, column 1: quantization is wrong: it has one member',
    ],
    [
      'a field with dots in its name',
      `${head}payloadIndexes:\n  a.b: 7`,
      `${where}, line 4, column 3: payloadIndexes.a.b is wrong`,
    ],
    ['a key twice', `${head}store: other`, `${where}, line 3, column 1: Map keys must be unique`],
    [
      'a second document',
      `${head}---\nstore: x`,
      'a second document begins; put several collections under "collections:"',
    ],
    ['nothing', '# later\n', `${where} is empty`],
    ['no collection', 'store: search', 'collection is missing: say "collection: NAME"'],
    [
      'a change beside collections',
      'store: s\ncollections: { a: {} }\nhnsw: { m: 3 }',
      'line 3, column 1: hnsw stands beside "collections"',
    ],
    ['a seed file without its checksum', `${head}seedFile: seed.jsonl`, 'seedFile is wrong: expected object'],
    ['an id that is a fraction', `${head}seed: [{ id: 1.5 }]`, 'seed.0.id is wrong: an id is a text or an integer'],
  ])('%s', (_, text, said) => {
    expect(parsing(text)).toThrow(said);
  });

  test('all of it is said at once', () => {
    expect(parsing(`${head}hnsw: { m: -1 }\nwait: maybe`)).toThrow(
      /line 3, column 9: hnsw.m .*; .*line 4, column 1: wait is wrong/,
    );
  });
});

test('JSON is taken as YAML is, words of any case for a distance, and integers keep their digits', () => {
  const text = `{"store": "search", "collection": "a", "vectors": {"size": 3, "distance": "Cosine"},
    "seed": [{"id": 18446744073709551615, "vector": [1, 2, 3], "payload": {"n": 9007199254740993, "x": 1.5}}]}`;
  const change = readCollectionFile(makeFile(1, text)).up.get('a');
  expect(change?.vectors).toEqual({ '': { size: 3, distance: 'cosine' } });
  expect(change?.seed?.[0]).toMatchObject({ id: 18446744073709551615n, payload: { n: 9007199254740993n, x: 1.5 } });
});

test('a seed file is the one that was meant, or nothing is seeded: the history holds no checksum of it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'vecferry-seed-'));
  const lines = '{"id": 1, "vector": [1, 2]}\n\n{"id": 9007199254740993, "payload": {"a": 1}}\n';
  writeFileSync(join(directory, 'seed.jsonl'), lines);
  const sha256 = createHash('sha256').update(lines).digest('hex');
  const path = join(directory, '001_a.yaml');
  const seeds = (text: string) => seedsOf({ path }, { seedFile: { name: 'seed.jsonl', sha256: text } });
  expect((await seeds(sha256)).map(({ id }) => String(id))).toEqual(['1', '9007199254740993']);
  await expect(seeds('0'.repeat(64))).rejects.toThrow(`has the checksum ${sha256}, and seedFile.sha256`);
  await expect(seedsOf({ path }, { seedFile: { name: 'gone.jsonl', sha256 } })).rejects.toThrow(
    /cannot be read; put it beside/,
  );
  writeFileSync(join(directory, 'seed.jsonl'), '{"id": 1}\nno json\n');
  const wrong = createHash('sha256').update('{"id": 1}\nno json\n').digest('hex');
  await expect(seeds(wrong)).rejects.toThrow(/seed.jsonl, line 2: .*is no JSON/);
});
