import { describe, expect, test } from '@jest/globals';
import { parseEvent } from '../../lib/event.ts';
import { noteFailedBuild, noteFailure, noteIndex } from '../../lib/index-change/note-index.ts';
import { checkIndexAgain, refuseIndex } from '../../lib/index-change/plan-index.ts';
import { runKeys } from '../../lib/keys.ts';
import { spotChecksOf } from '../../lib/place.ts';
import type { VectorIndex } from '../../lib/schema.ts';
import { storeKind } from '../../lib/stores/registry.ts';
import { memoryObjects } from '../local/memory-objects.ts';
import { makePlan } from '../make-plan.ts';

const source = { store: 'pgvector', connection: { secret: 'docs' }, collection: 'public.docs' };
const change = { source, target: { into: 'place' }, index: { to: { kind: 'hnsw' } } };

describe('an event that changes an index', () => {
  test.each([
    ['another collection', { target: { ...source, collection: 'others' } }, /say "target": {"into": "place"}/],
    [
      'an embedding',
      { embed: { text: 'title', model: { provider: 'local', name: 'm' } } },
      /index does not go with embed/,
    ],
    ['live writes', { live: true }, /index moves nothing/],
    [
      'nothing that is wanted',
      { index: { vector: 'embedding' } },
      /neither another index \(to\) nor another quantization/,
    ],
    ['a canary', { cutover: { canary: {} } }, /renames columns or indexes, all at once/],
    ['an m that no store takes', { index: { to: { kind: 'hnsw', m: 101 } } }, /m/],
  ])('does not take %s', (_, more, words) => {
    expect(() => parseEvent({ ...change, ...more })).toThrow(words);
  });

  test.each([
    [
      'a mapping',
      'pgvector',
      { mapping: { payload: { title: null } } },
      /mapping\.payload: a run that changes an index/,
    ],
    [
      'no recall, since nothing else is validated',
      'pgvector',
      { validate: { recall: null } },
      /all that can be validated/,
    ],
    ['a store that has one index for good', 'chroma', {}, /gives no vector another index/],
    [
      'a kind that the store has not',
      'qdrant',
      { index: { to: { kind: 'ivfflat' } } },
      /has no ivfflat index; it has hnsw/,
    ],
    [
      'one of several indexes of a store that has one a vector',
      'qdrant',
      { index: { replaces: 'embedding_idx', to: { kind: 'hnsw' } } },
      /index\.replaces: Qdrant has one index a vector/,
    ],
  ])('is refused with %s', async (_, store, more, words) => {
    const event = parseEvent({ ...change, ...more, source: { ...source, store } });
    const kind = await storeKind(store);
    expect(() => refuseIndex(event, kind)).toThrow(words);
  });

  test('reads nothing back by id, since both sides are one collection', () => {
    const event = parseEvent(change);
    expect(spotChecksOf({ event, embed: undefined })).toBe(0);
  });

  test('cannot be started again with a filter on a field that was not exported, nor by a role that cannot ask as it was planned', async () => {
    const event = parseEvent({
      ...change,
      validate: { recall: { sets: [{ name: 'news', filter: { topic: 'news' } }] } },
    });
    const { mapping, ...plan } = makePlan();
    const index = {
      vector: 'embedding',
      from: { index: { kind: 'none' } },
      to: { index: { kind: 'hnsw' } },
      how: 'beside',
      oldAsked: 'in turn',
      advice: [],
    } as const;
    const planned = {
      ...plan,
      mapping: { ...mapping, dropFields: ['topic', 'title'] },
      index: { ...index, advice: [] },
    };
    const targetKind = await storeKind('pgvector');
    const target = await targetKind.open({
      connection: { url: 'postgresql://nowhere.invalid/docs' },
      collection: 'docs',
      options: {},
    });
    await expect(checkIndexAgain(planned, { event, target, targetKind })).rejects.toThrow(/exported no topic/);
    // Planned by a superuser, started again by a role that can have one of two alike searched.
    const never = async (): Promise<never> => {
      throw new Error('not asked here');
    };
    const check = async () => ({ notes: [], oldAsked: 'before' as const });
    const plain = { ...target, indexes: { now: never, check, sizes: async () => ({}) } };
    const again = (from: VectorIndex): Promise<void> =>
      checkIndexAgain(
        { ...planned, mapping, index: { ...planned.index, from: { index: from } } },
        { event: parseEvent(change), target: plain, targetKind },
      );
    await expect(again({ kind: 'hnsw', m: 4 })).rejects.toThrow(/was planned by a superuser.*vecferry rollback/);
    await again({ kind: 'ivfflat', lists: 4 });
    await target.close();
  });
});

test('a build that fails again and again ends the run, with what the store said of it', async () => {
  const objects = memoryObjects({});
  const plan = { run: 'r1', attempt: 1 };
  const noted = async () => JSON.parse(new TextDecoder().decode(await objects.get(runKeys('r1').index)));
  const detailOf = async (): Promise<string> => (await noted()).detail;
  const startedAt = async (): Promise<string | undefined> => (await noted()).startedAt;
  for (let turn = 0; turn < 5; turn++) {
    await noteFailure(objects, plan, new Error('terminating connection due to administrator command'));
    await noteFailedBuild(objects, plan);
    await noteIndex(objects, plan, { done: false, detail: 'building' });
  }
  expect(await detailOf()).toBe(
    'building; 5 builds before it ended without an index: terminating connection due to administrator command',
  );
  // The state machine tries again what has failed, and no further build is begun.
  for (let turn = 0; turn < 3; turn++)
    await expect(noteFailedBuild(objects, plan)).rejects.toThrow(/begun 6 times.*administrator/);
  expect(await startedAt()).toBeUndefined();
  expect(await detailOf()).toMatch(/build 6 ended without an index.*administrator/);
  // Somebody has made room, and started the run again.
  await noteFailedBuild(objects, { run: 'r1', attempt: 2 });
  await noteIndex(objects, { run: 'r1', attempt: 2 }, { done: false, detail: 'building' });
  expect(await detailOf()).toMatch(/^building; 1 build before/);
});

test('a build that met a full disk is not begun again: each would meet it, hours later', async () => {
  const objects = memoryObjects({});
  const plan = { run: 'r1', attempt: 1 };
  await noteFailure(objects, plan, new Error('could not extend file: No space left on device [53100]'));
  for (let turn = 0; turn < 2; turn++)
    await expect(noteFailedBuild(objects, plan)).rejects.toThrow(/begun 1 time,.*No space left.*vecferry rollback r1/);
  await noteFailedBuild(objects, { run: 'r1', attempt: 2 });
});
