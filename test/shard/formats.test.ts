import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import type { Batch } from '../../lib/batch.ts';
import { release } from '../../lib/release.ts';
import { formatOf, shardFormat } from '../../lib/shard/footer.ts';
import { bringUp, chain } from '../../lib/shard/formats/formats.ts';
import { decodeShard, type ShardHeader } from '../../lib/shard/shard.ts';
import { asFormat, nineDigits, writeFormat1 } from './old-formats.ts';

/** Every format that a release has ever written, as golden shards that are never made again: they are what users have. */

const folder = 'test/data/shards';
const golden = (name: string): Buffer => readFileSync(`${folder}/${name}`);
const goldens = {
  'format-1.jsonl': '8b2934995ffb8ee385fcda431d12ea7eace9bb4bf2444d2a31e769adc6331dd5',
  'format-2.parquet': 'c7ef12810478387c6dfe2604567c4de938842ec63e850b426780905e442b5a10',
};

interface Read {
  readonly meta: ShardHeader;
  readonly batch: Batch;
}
const broughtUp = async (bytes: Uint8Array): Promise<Read> => await decodeShard(await bringUp(bytes, 'it'), 'it');
const hex = ({ buffer, byteOffset, byteLength }: Float32Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString('hex');
const bitsOf = (batch: Batch, name: string): string => hex(batch.vectors.get(name)?.values ?? new Float32Array());

describe('golden shards', () => {
  test('are as they were committed: one that is made anew proves nothing about those that users have', () => {
    const found = readdirSync(folder).map((name) => [name, createHash('sha256').update(golden(name)).digest('hex')]);
    expect(Object.fromEntries(found)).toEqual(goldens);
  });

  test('are there for every format up to the current one, each with a step to the next', () => {
    const formats = Object.keys(goldens).map((name) => formatOf(golden(name), name));
    expect(formats).toEqual(Array.from({ length: shardFormat }, (_, at) => at + 1));
    expect(Object.keys(chain.steps).map(Number)).toEqual(formats.slice(0, -1));
  });

  test('format 1 becomes what it says, to the last bit and digit', async () => {
    const { meta, batch } = await broughtUp(golden('format-1.jsonl'));
    const model = { name: 'all-MiniLM-L6-v2' };
    expect(meta).toMatchObject({
      run: 'posts-2024',
      shard: '00000-000',
      range: { from: null, to: '["5"]' },
      rest: null,
      collection: 'public.posts',
      records: 3,
      fingerprint: '2c3098fb4f801f7500ead452cff69ee48d911f4b5b1ef722035f3cede08a08fe',
      schema: {
        store: 'pgvector',
        idType: 'integer',
        vectors: [
          { name: 'emb', kind: 'dense', dimension: 4, distance: 'dot', precision: 'float32', model },
          { name: 'words', kind: 'sparse', precision: 'float32', model },
          { name: 'tokens', kind: 'multi', dimension: 2, precision: 'float32', model },
        ],
        fields: [
          { name: 'headline', type: 'text', nullable: true },
          { name: 'year', type: 'integer', nullable: true },
          { name: 'meta', type: 'json', nullable: true },
          { name: 'tags', type: 'list', nullable: true },
        ],
      },
    });
    expect(batch.ids).toEqual(['1', '9007199254740993', '-3']);
    expect(batch.payloads).toEqual([
      '{"headline":"The first","year":2019,"meta":{"amount":12345678901234567890.10},"tags":["a","ü","😀"]}',
      '{"headline":"quoted \\"}\\u2028\\n","year":null,"meta":{"amount":1e3},"tags":[]}',
      '{"headline":null,"year":1999}',
    ]);
    const emb = [0.1, -0, 1.17549435e-38, 2 / 3, 16777216, 1 / 3, -1.40129846e-45, 7071068e-7, 0, 0, 0, 0];
    expect(bitsOf(batch, 'emb')).toBe(hex(Float32Array.from(emb)));
    expect(batch.vectors.get('emb')?.present).toEqual(Uint8Array.of(1, 1, 0));
    expect(batch.vectors.get('words')).toMatchObject({
      indices: Uint32Array.of(0, 7, 99999),
      offsets: Uint32Array.of(0, 3, 3, 3),
      present: Uint8Array.of(1, 0, 0),
    });
    expect(bitsOf(batch, 'words')).toBe(hex(Float32Array.of(0.5, -1.25, 0.1)));
    expect(batch.vectors.get('tokens')).toMatchObject({
      offsets: Uint32Array.of(0, 2, 2, 2),
      present: Uint8Array.of(1, 0, 1),
    });
    expect(bitsOf(batch, 'tokens')).toBe(hex(Float32Array.of(1, 0.5, 0.25, 1 / 3)));
  });

  test('format 2 reads as it did when it was written', async () => {
    const { meta, batch } = await broughtUp(golden('format-2.parquet'));
    expect(meta).toMatchObject({
      run: 'posts-2025',
      shard: '00000-001',
      range: { from: '["5"]', to: null },
      collection: 'public.posts',
      records: 3,
      fingerprint: '7f80dd5db6817a1ed0ed7495eca983923c4bace2e2b9c5e66e538c4881d0a39e',
    });
    expect(batch.ids).toEqual(['10', '11', '12']);
    expect(batch.payloads).toEqual([
      '{"headline":"The tenth","year":2020,"meta":{"amount":0.10},"tags":["x"]}',
      '{"headline":"No vector","year":2021,"meta":null,"tags":null}',
      '{"headline":"ü 😀","year":2022,"meta":{},"tags":[]}',
    ]);
    expect(bitsOf(batch, 'emb')).toBe(
      'ac1f823e6c997ebf9dd8603d504c763f000000000000000000000000000000003acf6f3f6726e0be1018673e7d0ae23e',
    );
    expect(bitsOf(batch, 'tokens')).toBe('b3dd38bf772145be8c4401bf47e630bfceddb1bcb2815dbfd4d157be62c2083f');
    expect(batch.vectors.get('words')).toMatchObject({ present: Uint8Array.of(1, 0, 1) });
  });
});

describe('the chain', () => {
  test('composes: what a step makes is what the next one reads, also once there is a format after ours', async () => {
    const seen: number[] = [];
    const next = async (bytes: Uint8Array, where: string): Promise<Uint8Array> => {
      seen.push(formatOf(bytes, where) ?? 0);
      await decodeShard(bytes, where);
      return asFormat(bytes, String(shardFormat + 1));
    };
    const longer = { current: shardFormat + 1, steps: { ...chain.steps, [shardFormat]: next } };
    for (const name of Object.keys(goldens))
      expect(formatOf(await bringUp(golden(name), name, longer), name)).toBe(shardFormat + 1);
    expect(seen).toEqual(Object.keys(goldens).map(() => shardFormat));
  });

  test('a step that makes another format than the next one is a defect, and nothing is written of it', async () => {
    const broken = { current: 3, steps: { ...chain.steps, 2: async (bytes: Uint8Array) => bytes } };
    await expect(bringUp(golden('format-1.jsonl'), 'it', broken)).rejects.toThrow(
      /step from format 2 made one of format 2/,
    );
  });

  test('a shard of the current format is handed back as it is', async () => {
    const bytes = golden('format-2.parquet');
    expect(await bringUp(bytes, 'it')).toBe(bytes);
  });

  test('a newer one is refused with the release that reads it', async () => {
    await expect(bringUp(asFormat(golden('format-2.parquet'), '7'), 'it')).rejects.toMatchObject({
      name: 'UnsupportedFormat',
    });
  });
});

describe('a shard of format 1 that is not as it was written is refused', () => {
  test('cut short anywhere', async () => {
    const bytes = golden('format-1.jsonl');
    for (let length = 0; length < bytes.length; length++)
      await expect(bringUp(bytes.subarray(0, length), 'x')).rejects.toMatchObject({ name: 'ShardDamaged' });
  });

  test('with any single bit of a byte flipped', async () => {
    const bytes = golden('format-1.jsonl');
    for (let at = 0; at < bytes.length; at++) {
      bytes[at]! ^= 1 << (at % 8);
      await expect(bringUp(bytes, 'x')).rejects.toMatchObject({ name: 'ShardDamaged' });
      bytes[at]! ^= 1 << (at % 8);
    }
    await expect(bringUp(bytes, 'x')).resolves.toBeDefined();
  });

  const vectors = { emb: { size: 2 } };
  test.each([
    ['a vector of another length', '{"id":1,"vectors":{"emb":[1]},"payload":{}}', /'emb'.*of 1, not dense of 2/],
    [
      'a null in a vector, which a float column would take as 0',
      '{"id":1,"vectors":{"emb":[1,null]}}',
      /line 2 whose vector 'emb'/,
    ],
    ['an id of another type', '{"id":"1","vectors":{}}', /line 2 whose id is "1"/],
    ['a vector that nobody declared', '{"id":1,"vectors":{"emb":[1,2],"x":[1]}}', /a vector 'x'/],
    ['a line that is no object', '[1]', /line 2 that is no JSON object/],
    ['a member that format 1 does not have', '{"id":1,"vectors":{},"tags":{}}', /member 'tags'/],
  ])('holding %s, though its checksum is right: whoever wrote that was not vecferry', async (_, line, message) => {
    await expect(bringUp(writeFormat1({ vectors }, [line]), 'x')).rejects.toThrow(message);
  });
});

test('any float32 survives format 1: nine digits hold it', async () => {
  const floats = new Float32Array(4096);
  const bits = new Uint32Array(floats.buffer);
  for (let at = 0; at < bits.length; at++) {
    // Golden-ratio steps through all patterns; those of infinities and NaN are no JSON.
    bits[at] = Math.imul(at + 1, 0x9e3779b1) >>> 0;
    if (!Number.isFinite(floats[at])) bits[at] = 0;
  }
  const shard = writeFormat1({ vectors: { e: { size: 4096 } } }, [
    `{"id":1,"vectors":{"e":${nineDigits(floats)}},"payload":{}}`,
  ]);
  expect(bitsOf((await broughtUp(shard)).batch, 'e')).toBe(hex(floats));
});

test('the release that shards name is that of package.json', () => {
  expect(JSON.parse(readFileSync('package.json', 'utf8')).version).toBe(release);
});
