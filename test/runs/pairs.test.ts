import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeBatch, makeSchema } from '../make.ts';
import { awkwardPayloads } from '../stores/contract.ts';
import {
  endpointIn,
  expectValidated,
  fewQueries,
  payloadsOf,
  type Runs,
  type StoreName,
  startRuns,
  stores,
} from './world.ts';

/** Every store to every store, with payloads that have broken tools like this one. */

const pairs = stores.flatMap((source) => stores.map((target) => [source, target] as const));

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
});
afterAll(async () => await runs.close());

const awkward = Object.values(awkwardPayloads);
const ids: Readonly<Record<StoreName, (at: number) => string>> = {
  pgvector: (at) => String(at + 1),
  qdrant: (at) => String(at + 1),
  chroma: (at) => `note-${at}`,
  lancedb: (at) => `note-${at}`,
  files: (at) => `note-${at}`,
};
const vectorNames: Readonly<Record<StoreName, string>> = {
  pgvector: 'embedding',
  qdrant: '',
  chroma: 'embedding',
  lancedb: 'vector',
  files: 'embedding',
};

describe('awkward payloads arrive equal', () => {
  test.each(pairs)('from %s to %s', async (from, to) => {
    const vectors = [
      { name: vectorNames[from], kind: 'dense', dimension: 4, distance: 'cosine', precision: 'float32' },
    ] as const;
    const batch = makeBatch({ ids: awkward.map((_, at) => ids[from](at)), vectors, payloads: awkward });
    const source = await endpointIn(runs, from, 'awkward');
    const idType = from === 'pgvector' || from === 'qdrant' ? 'integer' : 'string';
    const before = await payloadsOf(await runs.seed(source, makeSchema({ idType, vectors: [...vectors] }), batch));
    expect(before.size).toBe(awkward.length);
    const target = await endpointIn(runs, to, 'awkward');
    const report = expectValidated(await runs.run({ source, target, validate: fewQueries }));
    expect(report.compare).toMatchObject({ equal: awkward.length });
    const after = await payloadsOf(await runs.open(target));
    const values = (payloads: Map<string, string>): string[] =>
      [...payloads.values()].map((text) => text.replace(/,?"original_id":"[^"]*"/, '').replace('{,', '{')).toSorted();
    expect(values(after)).toEqual(values(before));
  });
});
