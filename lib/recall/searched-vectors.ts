import type { EmbedPlan } from '../embed/stage/embed-files.ts';
import { madeSchema } from '../embed/stage/made.ts';
import type { RunEvent } from '../event.ts';
import type { QuerySet } from '../event-queries.ts';
import type { MappingPlan } from '../mapping/mapping-files.ts';
import type { CollectionSchema, Distance } from '../schema.ts';

/** The vectors that a run searches, how deep, and what must be reached. */

/** What is known of a run before and after it is planned; a plan is one. */
export interface Planned {
  readonly event: RunEvent;
  readonly source: CollectionSchema;
  readonly target: CollectionSchema;
  readonly mapping: MappingPlan;
  readonly embed?: EmbedPlan | undefined;
}

/** A dense vector that recall is measured for. */
export interface SearchedVector {
  /** Its name in the source, and in the target. */
  readonly vector: string;
  readonly targetVector: string;
  /** Floats of a query: as the target has them; undefined where neither side says. */
  readonly dimension: number | undefined;
  /** What the truth is ranked by: the event's mapping where it names one, else the source's (a made vector's: its model's), else the target's. */
  readonly distance: Distance;
}

/** The dense vectors of the mapping; sparse and multi vectors have no search in the port. */
export function searchedVectors(planned: Planned): SearchedVector[] {
  const { event, target, mapping } = planned;
  return madeSchema(planned).vectors.flatMap(({ name, kind, ...source }) => {
    const targetVector = mapping.vectors[name];
    if (kind !== 'dense' || targetVector === undefined) return [];
    const held = target.vectors.find((each) => each.name === targetVector);
    const distance = event.mapping.vectors[name]?.distance ?? source.distance ?? held?.distance ?? 'cosine';
    const dimension = mapping.truncate?.[targetVector] ?? source.dimension;
    return [{ vector: name, targetVector, dimension, distance }];
  });
}

/** The vectors that a set searches: the one it names, else all. */
export function vectorsOf(planned: Planned, { vector }: QuerySet): SearchedVector[] {
  return searchedVectors(planned).filter((each) => vector === undefined || each.vector === vector);
}

/** How many neighbours a set asks for, and what it must reach; null: it is only reported. */
export function goalOf({ event }: Planned, { k, atLeast }: QuerySet): { k: number; atLeast: number | null } {
  const { recall } = event.validate;
  return { k: k ?? recall?.k ?? 1, atLeast: atLeast === undefined ? (recall?.atLeast ?? null) : atLeast };
}

/** Neighbours kept for each query, by set: some more than its deepest measure needs, so that ties with the last one are known by their distance. */
export function neighboursKept(planned: Pick<Planned, 'event'>): ReadonlyMap<string, number> {
  const { recall } = planned.event.validate;
  return new Map(
    recall?.sets.map(({ name, k = recall.k }) => {
      const deepest = Math.max(k, ...recall.depths);
      return [name, deepest + Math.max(10, Math.ceil(deepest / 10))];
    }),
  );
}
