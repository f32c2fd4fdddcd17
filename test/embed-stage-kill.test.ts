import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { column, type DenseColumn, denseVector } from '../lib/batch.ts';
import { textKey } from '../lib/embed/stage/made.ts';
import { openTexts } from '../lib/embed/stage/texts.ts';
import { readManifest } from '../lib/manifest.ts';
import type { ObjectStore } from '../lib/objects.ts';
import { openFileObjects } from '../lib/objects-files.ts';
import type { ShardQueue } from '../lib/queue.ts';
import { embedAll, embeddingOf, makeStageWorld, planAgain, vectorOf } from './embed-stage-world.ts';
import { makePlan } from './make-plan.ts';
import { importAll, quiet, type World } from './world.ts';

/** A process that ends at its n-th effect, before it or after it: from then on nothing reaches objects or queue. */
function dying({ objects, queue }: Pick<World, 'objects' | 'queue'>, at: number, when: 'before' | 'after') {
  let effects = 0;
  let isDead = false;
  const effect = async <T>(work: () => Promise<T>): Promise<T> => {
    if (isDead) throw new Error('dead');
    effects += 1;
    if (effects !== at) return await work();
    isDead = true;
    if (when === 'after') await work();
    throw new Error('dead');
  };
  const look = async <T>(work: () => Promise<T>): Promise<T> => {
    if (isDead) throw new Error('dead');
    return await work();
  };
  const dyingObjects: ObjectStore = {
    get: (key) => look(() => objects.get(key)),
    list: (prefix) => look(() => objects.list(prefix)),
    folders: (prefix) => look(() => objects.folders(prefix)),
    locate: (key) => objects.locate(key),
    put: (key, body, type) => effect(() => objects.put(key, body, type)),
    create: (key, body, type) => effect(() => objects.create(key, body, type)),
    delete: (key) => effect(() => objects.delete(key)),
  };
  const dyingQueue: ShardQueue = { ...queue, send: (messages) => effect(() => queue.send(messages)) };
  return { objects: dyingObjects, queue: dyingQueue, hasDied: () => isDead };
}

const texts = Array.from({ length: 45 }, (_, at) => (at === 44 ? 'text 0' : `text ${at}`));
/** What the three requests under way hold. */
const inFlight = 3 * 5;

describe('a process that ends between any two effects, and a run that is started again', () => {
  test.each(['before', 'after'] as const)(
    '%s the effect: what was durable is never asked for again, and all ends whole',
    async (when) => {
      let hasDied = true;
      let deaths = 0;
      for (let n = 1; hasDied; n++) {
        const { world, model, plan } = await makeStageWorld({ texts, shardBytes: 400 });
        const mortal = dying(world, n, when);
        await embedAll(mortal, plan, model).catch(() => undefined);
        hasDied = mortal.hasDied();
        if (hasDied) deaths += 1;
        // Messages of a process that ended are still delivered.
        await importAll(world, plan);
        const kept = await openTexts({ plan, dimensions: 8, objects: world.objects, log: quiet });
        const durable = [...model.answered.keys()].filter((text) => kept.get(textKey(model.card, text)) !== undefined);
        const lost = model.answered.size - durable.length;
        expect(lost).toBeLessThanOrEqual(inFlight);
        const again = await planAgain(world, model);
        expect(await embedAll(world, again, model)).toEqual({ done: true });
        expect(durable.filter((text) => model.answered.get(text) !== 1)).toEqual([]);
        expect([...model.answered.values()].filter((times) => times > 1)).toHaveLength(lost);
        expect(await embeddingOf(world.objects)).toMatchObject({ done: true, completed: 45, texts: 44, shared: 1 });
        await importAll(world, again);
        await expectLoaded(world);
      }
      expect(deaths).toBeGreaterThan(30);
    },
    300_000,
  );

  async function expectLoaded({ target, objects }: World): Promise<void> {
    const { shards } = await readManifest(objects, 'r1');
    expect((await objects.list('runs/r1/loaded/')).length).toBe(shards.length);
    const found = await target.fetch(texts.map((_, at) => String(1000 + at)));
    const vectors = column(found, 'embedding');
    expect(found.count).toBe(45);
    for (const [at, id] of found.ids.entries()) {
      const text = texts[Number(id) - 1000] ?? '';
      if (vectors.kind === 'dense') expect(denseVector(vectors, at)).toEqual(vectorOf(text));
    }
  }
});

test('a process that ends while small objects of answers become one leaves each answer there once', async () => {
  const plan = makePlan();
  for (const n of [65, 66, 100, 129]) {
    for (const when of ['before', 'after'] as const) {
      const world = { objects: openFileObjects(mkdtempSync(join(tmpdir(), 'vecferry-test-'))), queue: noQueue };
      const mortal = dying(world, n, when);
      const added: string[] = [];
      const open = (objects: ObjectStore) => openTexts({ plan, dimensions: 8, objects, log: quiet });
      const mortalTexts = await open(mortal.objects);
      for (let at = 0; at < 70; at++) {
        const key = textKey({ ...card, name: `${at}` }, '');
        const answer = { key, answer: vectorOf(key), tokens: 1.5 };
        const isKept = await mortalTexts.add([answer]).then(
          () => true,
          () => false,
        );
        if (isKept) added.push(key);
      }
      await mortalTexts.settle();
      const kept = await open(world.objects);
      // An object that was written by the very last effect is there, though nobody heard of it.
      expect(kept.texts - added.length).toBeGreaterThanOrEqual(0);
      expect(kept.texts - added.length).toBeLessThanOrEqual(1);
      expect(kept.tokens).toBe(kept.texts * 1.5);
      const values = new Float32Array(added.length * 8);
      const made: DenseColumn = { kind: 'dense', dimension: 8, values };
      expect((await kept.copyVectors(added.entries(), made)).size).toBe(0);
      for (const [at, key] of added.entries()) expect(denseVector(made, at)).toEqual(vectorOf(key));
    }
  }
});

const card = {
  provider: 'local' as const,
  version: '1',
  dimensions: 8,
  distance: 'cosine' as const,
  maxInputTokens: 1,
  usdPerMillionTokens: 0,
  isMatryoshka: false,
};
const noQueue: ShardQueue = {
  send: async () => undefined,
  sendLater: async () => undefined,
  bury: async () => undefined,
  deadShards: async () => [],
};
