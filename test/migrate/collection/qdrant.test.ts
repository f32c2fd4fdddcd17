import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { MigrateConfig } from '../../../lib/migrate/port.ts';
import { frontUrl } from '../../servers/urls.ts';
import { asInForce, askQdrant, dropAll, stateOf } from './qdrant-state.ts';
import { down, makeConfig, makeFile, up } from './world.ts';

/** Names of this file alone: the server is shared. */
const ours = `mig${process.pid}${Math.random().toString(36).slice(2, 6)}`;
let url: string;
let config: MigrateConfig;
let made = 0;
const unique = (name = 'articles'): string => `${ours}_${name}${++made}`;

beforeAll(async () => {
  url = await frontUrl();
  config = makeConfig({ store: 'qdrant', connection: { url }, options: { transport: 'rest' } });
});

afterAll(async () => {
  await dropAll(url, ours);
});

const ask = (method: string, path: string, body?: unknown) => askQdrant(url, method, path, body);

const vectors = { text: { size: 4, distance: 'cosine' } };

describe('a collection file brings a Qdrant collection to what it says', () => {
  test('one that is missing is made with its settings, payload indexes, seeds and alias, and down drops it', async () => {
    const name = unique();
    const file = makeFile(
      1,
      `
store: search
collection: ${name}
vectors:
  text: { size: 4, distance: Cosine, hnsw: { m: 24 }, quantization: { scalar: { type: int8 } }, onDisk: true }
sparse: { keywords: { modifier: idf } }
hnsw: { m: 8, efConstruction: 64 }
optimizers: { indexingThreshold: 20000 }
payloadIndexes: { tag: keyword, year: { type: integer, range: true, lookup: false } }
aliases: [${name}_live]
seed:
  - { id: 1, vectors: { text: [1, 0, 0, 0], keywords: { indices: [7, 3], values: [1, 2] } }, payload: { tag: a, big: 12345678901234567890 } }
`,
    );
    const applied = await up(file, { config });
    expect(applied.step.lines.join('\n')).toContain(`PUT collections/${name}`);
    const info = await ask('GET', `/collections/${name}_live`);
    expect(info.config.params.vectors.text).toMatchObject({
      size: 4,
      distance: 'Cosine',
      hnsw_config: { m: 24 },
      on_disk: true,
    });
    expect(info.config).toMatchObject({
      hnsw_config: { m: 8, ef_construct: 64 },
      optimizer_config: { indexing_threshold: 20000 },
    });
    expect(Object.keys(info.payload_schema).sort()).toEqual(['tag', 'year']);
    expect(info.points_count).toBe(1);
    const again = await up(file, { config });
    expect(again.step.lines).toEqual(['search: nothing to do, all of it is there']);
    await down(applied.entry, file, { config });
    expect(await stateOf(url, name)).toBeUndefined();
  });

  test('settings are changed in place, a second up does nothing, and down restores each as it was', async () => {
    const name = unique();
    await up(
      makeFile(1, {
        store: 'search',
        collection: name,
        vectors,
        payloadIndexes: { tag: 'keyword', old: 'text', year: 'integer' },
      }),
      { config },
    );
    const before = await stateOf(url, name);
    const file = makeFile(2, {
      store: 'search',
      collection: name,
      vectors: { text: { hnsw: { m: 32 }, quantization: { binary: { always_ram: true } }, onDisk: true } },
      hnsw: { efConstruction: 200, onDisk: true },
      optimizers: { indexingThreshold: 5000, memmapThreshold: 9000 },
      quantization: { scalar: { type: 'int8' } },
      replicationFactor: 1,
      writeConsistencyFactor: 2,
      payloadIndexes: { tag: { type: 'keyword', is_tenant: true }, new: 'float' },
      drop: { payloadIndexes: ['old'] },
    });
    const applied = await up(file, { config });
    // One request: Qdrant lets a second one wait for what the first began.
    const patches = applied.step.lines.filter((line) => line.includes('PATCH'));
    expect(patches).toHaveLength(1);
    expect(patches[0]).toContain(
      `PATCH collections/${name} hnsw_config {"ef_construct":200,"on_disk":true}, optimizers_config`,
    );
    expect(patches[0]).toMatch(
      /: the graph is built anew in the background; .*vectors are quantized anew in the background$/,
    );
    expect(applied.step.unvalidated).toEqual([
      expect.stringContaining(
        '"index":{"to":{"kind":"hnsw","efConstruction":200},"quantization":{"scalar":{"type":"int8"}}}',
      ),
      expect.stringContaining('"index":{"vector":"text","to":{"kind":"hnsw","m":32},"quantization":{"binary"'),
    ]);
    const info = await ask('GET', `/collections/${name}`);
    expect(info.config).toMatchObject({
      hnsw_config: { m: 16, ef_construct: 200, on_disk: true },
      optimizer_config: { indexing_threshold: 5000, memmap_threshold: 9000 },
      quantization_config: { scalar: { type: 'int8' } },
      params: { write_consistency_factor: 2, vectors: { text: { hnsw_config: { m: 32 }, on_disk: true } } },
    });
    expect(Object.keys(info.payload_schema).sort()).toEqual(['new', 'tag', 'year']);
    expect((await up(file, { config })).step.lines).toEqual(['search: nothing to do, all of it is there']);
    await down(applied.entry, file, { config });
    expect(asInForce(await stateOf(url, name))).toEqual(asInForce(before));
  });

  test('a file may say its own down, and a collection that is dropped is taken back by nothing but a backup', async () => {
    const name = unique();
    const made = makeFile(1, {
      store: 'search',
      collection: name,
      vectors,
      aliases: [`${name}_live`],
      down: { hnsw: { m: 12 } },
    });
    const first = await up(made, { config });
    await down(first.entry, made, { config });
    expect((await ask('GET', `/collections/${name}`)).config.hnsw_config.m).toBe(12);
    const drop = (more: object) =>
      makeFile(2, { store: 'search', collection: name, drop: { collection: true, ...more } });
    await expect(up(drop({}), { config })).rejects.toThrow(/aliases stand for .*name them under drop.aliases/);
    const gone = await up(drop({ aliases: [`${name}_live`] }), { config });
    expect(await stateOf(url, name)).toBeUndefined();
    await expect(down(gone.entry, drop({}), { config })).rejects.toThrow(/nothing but a backup brings back/);
  });

  test('a collection made under its number is not taken for ours where no try of the step has made it', async () => {
    const name = unique();
    await ask('PUT', `/collections/${name}__001`, { vectors: { text: { size: 4, distance: 'Cosine' } } });
    const file = makeFile(1, { store: 'search', collection: name, vectors, aliases: [name] });
    await expect(up(file, { config })).rejects.toThrow(/which is there already/);
    const rollback = {
      format: 1,
      store: 'search',
      actions: [{ do: 'dropCollection', collection: `${name}__001` }],
      notes: [],
    };
    const again = await up(file, { config, begun: [JSON.stringify(rollback)] });
    await down(again.entry, file, { config });
    expect(await stateOf(url, `${name}__001`)).toBeUndefined();
  });
});
