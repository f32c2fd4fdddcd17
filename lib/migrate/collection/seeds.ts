import { stringify } from 'lossless-json';
import type { Batch } from '../../batch.ts';
import type { ClientVector } from '../../client/side.ts';
import { batchOf, recordsOf, type VectorShapes } from '../../client/store-records.ts';
import { maxFetch, split } from '../../compare/fetch-records.ts';
import { recordDifference, treatmentsOf } from '../../compare/record-equal.ts';
import { Incompatible, InvalidEvent, RecordRefused } from '../../errors.ts';
import type { CollectionSchema } from '../../schema.ts';
import type { Capabilities, Store } from '../../stores/port.ts';
import type { Action, SeedRecord } from './plan.ts';
import type { Seed } from './words.ts';

/** Records that a file seeds or drops. */

/** Old values of records are kept in the history up to this, so that they can be brought back. */
const maxKeptRecords = 1000;
const maxKeptBytes = 4 * 1024 * 1024;

type Vectors = CollectionSchema['vectors'];

/** The file's records as they are kept. @throws InvalidEvent for an id twice, or a vector that the collection has not */
export function recordsOfSeeds(seeds: readonly Seed[], vectors: Vectors, where: string): readonly SeedRecord[] {
  const [first] = vectors;
  const seen = new Set<string>();
  return seeds.map(({ id, vector, vectors: named, payload }) => {
    const text = String(id);
    const refuse = (what: string): never => {
      throw new InvalidEvent(`${where}: record '${text}' ${what}`, { ids: [text] });
    };
    if (seen.has(text)) return refuse('is seeded twice');
    seen.add(text);
    if (vector !== undefined && (first === undefined || vectors.length > 1))
      return refuse(
        `says "vector", and the collection has ${vectors.length}: say "vectors" by name (${namesOf(vectors)})`,
      );
    const given = vector === undefined ? (named ?? {}) : { [first?.name ?? '']: vector };
    for (const name of Object.keys(given))
      if (!vectors.some((spec) => spec.name === name))
        return refuse(`has a vector '${name}', and the collection has ${namesOf(vectors)}`);
    return { id: text, vectors: given, payload: stringify(payload) ?? '{}' };
  });
}

const namesOf = (vectors: Vectors): string => vectors.map(({ name }) => `'${name}'`).join(', ') || 'none';

/** @throws RecordRefused naming the record whose vector does not fit */
export function batchOfRecords(records: readonly SeedRecord[], vectors: Vectors): Batch {
  const shapes: VectorShapes = new Map(
    vectors.map(({ name, kind, dimension = 0 }) => [name, { kind, dimension: kind === 'sparse' ? 0 : dimension }]),
  );
  const batch = batchOf(
    records.map(({ id, vectors: given }) => ({
      id,
      vectors: Object.fromEntries(Object.entries(given).map(([name, value]) => [name, sorted(value)])),
      payload: {},
    })),
    shapes,
  );
  return { ...batch, payloads: records.map(({ payload }) => payload) };
}

/** A batch has the indices of a sparse vector in ascending order. */
function sorted(vector: SeedRecord['vectors'][string]): ClientVector {
  if (Array.isArray(vector)) return Array.isArray(vector[0]) ? listOf(vector) : Float32Array.from(numbersOf(vector));
  const order = [...vector.indices.keys()].sort((a, b) => (vector.indices[a] ?? 0) - (vector.indices[b] ?? 0));
  return { indices: order.map((at) => vector.indices[at] ?? 0), values: order.map((at) => vector.values[at] ?? 0) };
}

const numbersOf = (vector: readonly (number | readonly number[])[]): number[] =>
  vector.flatMap((each) => (typeof each === 'number' ? [each] : []));
const listOf = (vector: readonly (number | readonly number[])[]): (readonly number[])[] =>
  vector.flatMap((each) => (typeof each === 'number' ? [] : [each]));

export interface RecordChanges {
  readonly steps: readonly Extract<Action, { do: 'upsert' | 'delete' }>[];
  readonly inverse: readonly Extract<Action, { do: 'upsert' | 'delete' }>[];
}

export interface RecordChangesInput {
  /** What is there; undefined: the collection is made by the same plan, and is empty. */
  readonly store: Store | undefined;
  readonly collection: string;
  readonly vectors: Vectors;
  readonly capabilities: Capabilities;
  readonly seeds: readonly SeedRecord[];
  /** Ids that are to go. */
  readonly drop: readonly string[];
}

/** What of the records is to be written and deleted, and what brings back what is there now. @throws Incompatible where that is too much to keep */
export async function recordChanges(input: RecordChangesInput): Promise<RecordChanges> {
  const { store, collection, vectors, capabilities, seeds, drop } = input;
  const wanted = batchOfRecords(seeds, vectors);
  const there = new Map<string, SeedRecord>();
  const differing = new Set(seeds.map(({ id }) => id));
  const asked = [...new Set([...differing, ...drop])];
  const treatments = treatmentsOf({ vectors }, capabilities);
  for (let from = 0; store !== undefined && from < asked.length; from += 1000) {
    const found = await store.fetch(asked.slice(from, from + 1000));
    for (const record of keptOf(found)) there.set(record.id, record);
    for (const [foundAt, id] of found.ids.entries()) {
      const at = wanted.ids.indexOf(id);
      if (at >= 0 && recordDifference(wanted, at, found, foundAt, treatments) === undefined) differing.delete(id);
    }
  }
  const write = seeds.filter(({ id }) => differing.has(id));
  const gone = drop.filter((id) => there.has(id));
  const replaced = [...write.map(({ id }) => id), ...gone].flatMap((id) => there.get(id) ?? []);
  refuseTooMuch(replaced, collection);
  const added = write.filter(({ id }) => !there.has(id)).map(({ id }) => id);
  return {
    steps: [
      ...(write.length > 0 ? [{ do: 'upsert' as const, collection, records: [...write] }] : []),
      ...(gone.length > 0 ? [{ do: 'delete' as const, collection, ids: [...gone] }] : []),
    ],
    inverse: [
      ...(added.length > 0 ? [{ do: 'delete' as const, collection, ids: added }] : []),
      ...(replaced.length > 0 ? [{ do: 'upsert' as const, collection, records: replaced }] : []),
    ],
  };
}

function keptOf(found: Batch): readonly SeedRecord[] {
  return recordsOf(found).map(({ id, vectors }, at) => ({
    id,
    vectors: Object.fromEntries(Object.entries(vectors).map(([name, vector]) => [name, plain(vector)])),
    payload: found.payloads[at] ?? '{}',
  }));
}

function plain(vector: ClientVector): SeedRecord['vectors'][string] {
  if ('indices' in vector) return { indices: [...vector.indices], values: [...vector.values] };
  const lists = [...vector].flatMap((each) => (typeof each === 'number' ? [] : [[...each]]));
  return lists.length > 0 ? lists : [...vector].flatMap((each) => (typeof each === 'number' ? [each] : []));
}

function refuseTooMuch(replaced: readonly SeedRecord[], collection: string): void {
  const bytes = Buffer.byteLength(JSON.stringify(replaced));
  if (replaced.length <= maxKeptRecords && bytes <= maxKeptBytes) return;
  const text = `${replaced.length} records of '${collection}' (${bytes} bytes) would be replaced or deleted, and the history keeps old values of at most ${maxKeptRecords} records and ${maxKeptBytes} bytes`;
  throw new Incompatible(`${text}; split them over several files, or import them`, { ids: [collection] });
}

/** @throws RecordRefused naming an id that the store could not hold */
export function checkIds(ids: readonly string[], isId: (id: string) => boolean, accepted: string): void {
  const wrong = ids.filter((id) => !isId(id));
  if (wrong.length > 0)
    throw new RecordRefused(`the store cannot hold the id '${wrong[0]}'; it takes ${accepted}`, { ids: wrong });
}

/** Deletes records, as many at once as a store takes. */
export async function deleteRecords(store: Pick<Store, 'delete'>, ids: readonly string[]): Promise<void> {
  for (const part of split(ids, maxFetch)) await store.delete(part);
}
