import { describe, expect, test } from '@jest/globals';
import { type Batch, column, denseVector } from '../../../lib/batch.ts';
import { attachMade, besideMade, completedPayload } from '../../../lib/embed/stage/made.ts';
import { encodeShard, readShard, verifyShard } from '../../../lib/shard/shard.ts';
import { makeBatch, makeSchema } from '../../make.ts';

/** Records whose made vectors take many row groups, and themselves one. */
const count = 5000;
const dimension = 1024;
const ids = Array.from({ length: count }, (_, at) => `id ${at}`);
const meta = { run: 'r1', shard: '00000-000', range: { from: null, to: null }, rest: null, schema: makeSchema() };

async function encoded(batch: Batch) {
  const bytes = await encodeShard(batch, meta);
  return { bytes, header: verifyShard(bytes, 'a shard'), where: 'a shard' };
}

const both = once(async () => {
  const values = new Float32Array(count * dimension);
  for (let at = 0; at < count; at++) values.fill(at, at * dimension, (at + 1) * dimension);
  const made: Batch = {
    count,
    ids,
    vectors: new Map([['embedding', { kind: 'dense', dimension, values }]]),
    payloads: ids.map(() => completedPayload),
  };
  return { source: await encoded(makeBatch({ ids })), made: await encoded(made) };
});

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

describe('a shard and the vectors that were made for it', () => {
  test.each([0, 1, 2047, 2048, 4999])(
    'are read side by side from record %d on, each record with its own',
    async (offset) => {
      const { source, made } = await both();
      const read = readShard(source.bytes, source.where, { maxRecords: 1500, offset });
      let at = offset;
      for await (const { batch, made: own } of besideMade(read, made, offset)) {
        const { batch: whole, failed } = attachMade(batch, own, 'embedding');
        expect(failed.size).toBe(0);
        const vectors = column(whole, 'embedding');
        if (vectors.kind !== 'dense') throw new Error('no dense vector');
        for (const [i, id] of whole.ids.entries()) {
          const vector = denseVector(vectors, i);
          if (id !== `id ${at}` || vector[0] !== at || vector.at(-1) !== at)
            throw new Error(`${id} stands at ${at} with the vector of record ${vector[0]}`);
          at += 1;
        }
      }
      expect(at).toBe(count);
    },
  );

  test('are refused where they are not of the same records', async () => {
    const { source, made } = await both();
    const first = async (from: AsyncIterable<Batch>): Promise<Batch> => {
      for await (const batch of from) return batch;
      throw new Error('no batch');
    };
    const batch = await first(readShard(source.bytes, 'a shard', { maxRecords: 10 }));
    const others = await first(readShard(made.bytes, 'a shard', { maxRecords: 10, offset: 1 }));
    expect(() => attachMade(batch, others, 'embedding')).toThrow(/are not of these records/);
    expect(() => attachMade(batch, others, 'embedding')).toThrow(
      expect.objectContaining({ name: 'ShardDamaged', ids: ['id 0'] }),
    );
  });
});
