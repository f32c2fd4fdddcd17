import { createHash } from 'node:crypto';
import { type Batch, denseVector, hasVector, selectRecords } from '../batch.ts';
import { getMadeShard } from '../embed/stage/made.ts';
import { type Condition, conditionsOf, type Fields, fieldsMeet, fieldsOf } from '../filter.ts';
import { encodeFloats } from '../float-text.ts';
import { skippedIds } from '../mapping/carried.ts';
import { asTruncated } from '../mapping/truncate.ts';
import type { ObjectStore } from '../objects.ts';
import type { Manifest, Plan, Query } from '../run-files.ts';
import { drawPositions, seededRandom } from '../sample.ts';
import { getShard } from '../shard/get-shard.ts';
import { querySpace } from './query-space.ts';
import { searchedVectors, vectorsOf } from './searched-vectors.ts';

/** Records drawn for one wanted query of a filtered set, before the whole collection is read for it. */
const drawnPerQuery = 16;

export interface SampleOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
}

/** A sampled set while its records are looked for. */
interface Draw {
  readonly set: string;
  readonly seed: number;
  readonly wanted: number;
  readonly filter: Query['filter'];
  readonly conditions: readonly Condition[];
  /** One for each vector that the set searches. */
  readonly vectors: readonly { readonly vector: string; readonly best: Best }[];
}

/**
 * For each sampled set and each vector it searches, as many records as it asks for, or as there are, that have the vector
 * and meet the set's filter, each such record as likely as any other. Sets draw differently, and a set draws the same
 * whatever other sets there are.
 *
 * Some positions of the run are drawn first, which reads only the shards they lie in. A set that is not complete then,
 * because few records meet its filter, is drawn in one pass over all shards, which keeps the records with the lowest
 * random numbers: memory goes with the queries and one shard.
 */
export async function sampleQueries({ plan, manifest, objects }: SampleOptions): Promise<Map<string, Query[]>> {
  const recall = plan.event.validate.recall;
  const sets = (recall?.sets ?? []).filter(({ queries, file }) => queries === undefined && file === undefined);
  const draws = sets.map((set): Draw => {
    const wanted = set.sample ?? recall?.queries ?? 0;
    return {
      set: set.name,
      seed: seedOf(plan.event.validate.seed, set.name),
      wanted,
      filter: set.filter,
      conditions: set.filter === undefined ? [] : conditionsOf(set.filter),
      vectors: vectorsOf(plan, set).map(({ vector }) => ({ vector, best: makeBest(wanted) })),
    };
  });
  const options = { plan, manifest, objects };
  await drawSome(options, draws);
  await drawFromAll(options, draws);
  const sourceValues = await readSourceValues(options, draws);
  return new Map(
    draws.map(({ set, filter, vectors }) => [
      set,
      vectors.flatMap(({ vector, best }) =>
        best.taken().map(({ id, values, ...place }): Query => {
          const old = sourceValues.get(placeName(vector, place));
          return { set, vector, id, values, ...(old && { sourceValues: old }), ...(filter && { filter }) };
        }),
      ),
    ]),
  );
}

const placeName = (vector: string, { shard, at }: Place): string => `${shard} ${at} ${vector}`;

/** The vectors that drawn records have in the source, where it holds others: as they were exported. Those without one are not here. */
async function readSourceValues(
  { plan, objects }: SampleOptions,
  draws: readonly Draw[],
): Promise<ReadonlyMap<string, string>> {
  const names = new Map<string, string>();
  for (const searched of searchedVectors(plan)) {
    const name = querySpace(plan, searched).source?.vector;
    if (name !== undefined) names.set(searched.vector, name);
  }
  const wanted = draws
    .flatMap(({ vectors }) => vectors.flatMap(({ vector, best }) => best.taken().map((each) => ({ vector, ...each }))))
    .filter(({ vector }) => names.has(vector));
  const found = new Map<string, string>();
  for (const [shard, places] of Map.groupBy(wanted, (each) => each.shard)) {
    const batch = await getShard(objects, plan, shard);
    for (const { vector, at } of places) {
      const column = batch.vectors.get(names.get(vector) ?? '');
      if (column?.kind !== 'dense' || !hasVector(column, at)) continue;
      found.set(placeName(vector, { shard, at }), encodeFloats(denseVector(column, at)));
    }
  }
  return found;
}

function seedOf(seed: number, set: string): number {
  return createHash('sha256').update(`${seed} ${set}`).digest().readUInt32LE();
}

/** Offers every set the records at positions drawn for it, in the order they were drawn. */
async function drawSome(options: SampleOptions, draws: readonly Draw[]): Promise<void> {
  const { records } = options.manifest;
  const ranks = draws.map(({ seed, wanted, conditions }) => {
    const size = wanted * (conditions.length > 0 ? drawnPerQuery : 1);
    return new Map(drawPositions(records, size, seed).map((position, rank) => [position, rank]));
  });
  const wanted = [...new Set(ranks.flatMap((each) => [...each.keys()]))].sort((a, b) => a - b);
  let [from, next] = [0, 0];
  for (const { shard, records: size } of options.manifest.shards) {
    const positions: number[] = [];
    for (; next < wanted.length && (wanted[next] ?? 0) < from + size; next++) positions.push(wanted[next] ?? 0);
    if (positions.length > 0) {
      const start = from;
      const batch = await getMadeShard(options.objects, options.plan, shard);
      const drawn = selectRecords(
        batch,
        positions.map((at) => at - start),
      );
      const place = { shard, positionOf: (at: number) => (positions[at] ?? 0) - start };
      await offerAll(options.plan, drawn, place, draws, (draw, at) => ranks[draw]?.get(positions[at] ?? -1));
    }
    from += size;
  }
}

/** Offers every record to the sets that are not complete, each under a random number of its own. */
async function drawFromAll({ plan, manifest, objects }: SampleOptions, draws: readonly Draw[]): Promise<void> {
  const open = draws.filter(({ vectors, wanted, conditions }) => {
    const hasDrawnAll = wanted * (conditions.length > 0 ? drawnPerQuery : 1) >= manifest.records;
    return !hasDrawnAll && vectors.some(({ best }) => best.taken().length < wanted);
  });
  if (open.length === 0) return;
  for (const { vectors } of open) for (const { best } of vectors) best.clear();
  let from = 0;
  for (const { shard, records } of manifest.shards) {
    const start = from;
    const whole = { shard, positionOf: (at: number) => at };
    await offerAll(plan, await getMadeShard(objects, plan, shard), whole, open, (draw, at) =>
      seededRandom(((open[draw]?.seed ?? 0) ^ Math.imul(start + at + 1, 0x9e3779b1)) >>> 0)(),
    );
    from += records;
  }
}

/** Which shard the records of a batch are of, and where they stand in it. */
interface From {
  readonly shard: string;
  readonly positionOf: (at: number) => number;
}

/** @param rankOf of the record at a position of the batch, for a set; the lowest are taken, none are those left out */
async function offerAll(
  plan: Plan,
  held: Batch,
  from: From,
  draws: readonly Draw[],
  rankOf: (draw: number, at: number) => number | undefined,
): Promise<void> {
  const skipped = await skippedIds(held, plan);
  const batch = asTruncated(held, plan.mapping);
  for (const at of batch.ids.keys()) {
    if (skipped.has(batch.ids[at] ?? '')) continue;
    let fields: { readonly parsed: Fields } | undefined;
    const isCandidate = (conditions: readonly Condition[]): boolean => {
      if (conditions.length === 0) return true;
      fields ??= { parsed: fieldsOf(batch.payloads[at] ?? '{}') };
      return fieldsMeet(conditions, fields.parsed);
    };
    for (const [index, draw] of draws.entries()) {
      const rank = rankOf(index, at);
      if (rank !== undefined) offer(batch, at, { rank, ...from }, draw, isCandidate);
    }
  }
}

function offer(
  batch: Batch,
  at: number,
  { rank, shard, positionOf }: From & { readonly rank: number },
  { vectors, conditions }: Draw,
  isCandidate: (conditions: readonly Condition[]) => boolean,
): void {
  for (const { vector, best } of vectors) {
    const column = batch.vectors.get(vector);
    if (!best.takes(rank) || column?.kind !== 'dense' || !hasVector(column, at)) continue;
    if (!isCandidate(conditions)) return;
    const values = encodeFloats(denseVector(column, at));
    best.take({ rank, id: batch.ids[at] ?? '', values, shard, at: positionOf(at) });
  }
}

/** Where a record stands. */
interface Place {
  readonly shard: string;
  readonly at: number;
}

interface Taken extends Place {
  readonly rank: number;
  readonly id: string;
  readonly values: string;
}

/** The records with the lowest ranks so far, lowest first. */
interface Best {
  takes(rank: number): boolean;
  take(record: Taken): void;
  taken(): readonly Taken[];
  clear(): void;
}

function makeBest(size: number): Best {
  const taken: Taken[] = [];
  return {
    takes: (rank) => taken.length < size || rank < (taken.at(-1)?.rank ?? Number.NEGATIVE_INFINITY),
    take: (record) => {
      let [low, high] = [0, taken.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((taken[middle]?.rank ?? 0) <= record.rank) low = middle + 1;
        else high = middle;
      }
      taken.splice(low, 0, record);
      if (taken.length > size) taken.pop();
    },
    taken: () => taken,
    clear: () => void taken.splice(0),
  };
}
