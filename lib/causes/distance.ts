import { denseVector, hasVector } from '../batch.ts';
import { fetchRecords, type Located } from '../compare/fetch-records.ts';
import { distanceBetween } from '../distance.ts';
import { patiently } from '../patiently.ts';
import { allowedAt, recallAt } from '../recall/measures.ts';
import { querySpace } from '../recall/query-space.ts';
import { openSide, type Side } from '../recall/search-side.ts';
import { searchedVectors } from '../recall/searched-vectors.ts';
import type { Truth } from '../recall/truths.ts';
import type { Cause, Plan } from '../run-files.ts';
import type { Distance } from '../schema.ts';
import { storeKind } from '../stores/registry.ts';
import { percent } from '../words.ts';
import { type Experiment, explains, leastGain, unlessRefused } from './experiment.ts';
import type { Found } from './settings.ts';

/** Queries whose candidates are fetched from both sides and ranked again here. */
const maxQueries = 20;
/** The target ranks as it is said to when so much of its answer is what that ranking gives. */
const leastAgreement = 0.9;

/** True where the source holds the vectors that the target got. Else the target's stand for both: they were compared with those that were made. */
function holdsSame({ plan, entry }: Experiment): boolean {
  const searched = searchedVectors(plan).find((each) => each.vector === entry.vector);
  return searched === undefined || querySpace(plan, searched).source === undefined;
}

/** One query, and the vectors of the records that either ranking puts in front, by their ids in the source. */
interface Case {
  readonly truth: Truth;
  readonly depth: number;
  readonly hits: readonly string[];
  readonly inSource: ReadonlyMap<string, Float32Array>;
  readonly inTarget: ReadonlyMap<string, Float32Array>;
}

/**
 * Where even an exact search of the target misses neighbours: whether it ranks by another distance, or its vectors have
 * other lengths. The true neighbours and the target's own hits are fetched from both sides and ranked in each way.
 */
export async function distanceCauses(experiment: Experiment): Promise<readonly Found[]> {
  const { plan, entry, described, exact } = experiment;
  if (exact.recall >= 1 - leastGain) return [];
  const said = described.schema.vectors.find(({ name }) => name === entry.targetVector)?.distance;
  // A LanceDB table without an index says none, and is searched by L2 where a search says none either.
  const declared = said ?? (await storeKind(plan.event.target.store)).capabilities.defaultDistance;
  const cases = (await unlessRefused(() => casesOf(experiment))) ?? [];
  if (cases.length === 0) return [];
  const rank = (by: Distance, vectors: (each: Case) => ReadonlyMap<string, Float32Array>): number =>
    mean(cases.map((each) => recallOf(each, by, vectors(each), entry.distance)));
  const agreement = (vectors: (each: Case) => ReadonlyMap<string, Float32Array>): number =>
    mean(cases.map((each) => agreementOf(each, declared, vectors(each))));

  const [source, target] = [({ inSource }: Case) => inSource, ({ inTarget }: Case) => inTarget];
  // What the target lacks it cannot answer, whatever it ranks by.
  const shared = ({ inSource, inTarget }: Case) => new Map([...inSource].filter(([id]) => inTarget.has(id)));
  const as = { set: entry.set, vector: entry.vector, check: 'recall' } as const;
  const found: Found[] = [];
  const lengths = { source: rangeText(cases.map(source)), target: rangeText(cases.map(target)) };
  const ranked = rank(declared, source);
  const owner = holdsSame(experiment) ? "the source's own" : 'the same';
  const isRankedSo = declared !== entry.distance && agreement(shared) >= leastAgreement;
  if (isRankedSo && explains(ranked, 1)) {
    const unit = rank(declared, (each) => mapValues(source(each), scaledTo(1)));
    const seen = `Ranked by ${declared}, ${owner} vectors give ${percent(ranked)} of the true neighbours by ${entry.distance}, and ${percent(agreement(shared))} of what an exact search of the target answers.`;
    if (explains(ranked, unit)) {
      found.push({
        gain: unit - ranked,
        cause: notNormalised(as, declared, lengths.source, `${seen} Scaled to length 1 they give ${percent(unit)}.`),
      });
    }
    found.push({
      gain: 1 - ranked,
      cause: otherDistance(
        as,
        entry.distance,
        { declared, isSaid: said !== undefined },
        `${seen} Their lengths are ${lengths.source}.`,
      ),
    });
  }
  const own = rank(declared, target);
  const mended = rank(declared, (each) => sameLengths(each));
  if (found.length === 0 && agreement(target) >= leastAgreement && explains(own, mended)) {
    const seen = `The same records have lengths ${lengths.source} in the source and ${lengths.target} in the target: by ${declared} the target's give ${percent(own)} of the true neighbours, and ${percent(mended)} at the source's lengths.`;
    found.push({ gain: mended - own, cause: notNormalised(as, declared, lengths.target, seen) });
  }
  return found;
}

type About = Pick<Cause, 'check' | 'set' | 'vector'>;

function otherDistance(
  about: About,
  truth: Distance,
  { declared, isSaid }: { readonly declared: Distance; readonly isSaid: boolean },
  evidence: string,
): Cause {
  const mend = isSaid
    ? `Make the target's collection (or its index) rank by ${truth}`
    : `The collection says no distance, so searches that say none are by ${declared}: where the application asks for ${truth}, say so in target.options, {"distance": "${truth}"}`;
  return {
    ...about,
    cause: 'other distance',
    what: `The target ranks by ${declared}, what is near is told by ${truth}.`,
    evidence,
    next: `${mend}; or, if ${declared} is what the application wants, say so in mapping.vectors: {"distance": "${declared}"}.`,
  };
}

function notNormalised(about: About, declared: Distance, lengths: string, evidence: string): Cause {
  return {
    ...about,
    cause: 'not normalised',
    what: `The target ranks by ${declared}, which counts on vectors of one length, and they have lengths ${lengths}.`,
    evidence,
    next: 'Scale the vectors to length 1 before they are written, or make the target rank by cosine.',
  };
}

async function casesOf(experiment: Experiment): Promise<readonly Case[]> {
  const { plan, source, target, entry, truths } = experiment;
  const hasOwn = holdsSame(experiment);
  const side = await openSide({ plan, side: 'target', store: target, vector: entry.vector, exact: true });
  const cases: Case[] = [];
  for (const truth of truths.slice(0, maxQueries)) {
    const depth = Math.min(entry.k, truth.candidates);
    const found = await patiently(() => target.search(requestFor(side, truth, depth)));
    const known = new Map(truth.nearest.map(({ id }) => [side.idOf(id), id]));
    const { records } = await fetchRecords(target, [...known.keys(), ...found.map(({ id }) => id)]);
    const sourceIdOf = (id: string): string => known.get(id) ?? originalId(plan, records.get(id)) ?? id;
    const inTarget = new Map([...vectorsOf(records, entry.targetVector)].map(([id, each]) => [sourceIdOf(id), each]));
    const ids = [...truth.nearest.map(({ id }) => id), ...inTarget.keys()];
    const inSource = hasOwn ? vectorsOf((await fetchRecords(source, ids)).records, entry.vector) : inTarget;
    cases.push({ truth, depth, hits: found.map(({ id }) => sourceIdOf(id)), inSource, inTarget });
  }
  return cases;
}

function requestFor({ vector }: Side, { values, filter }: Truth, k: number) {
  return { vector, query: values, k, exact: true, ...(filter.length > 0 && { filter }) };
}

/** Where the mapping made another id, the payload keeps the source's. */
function originalId({ mapping }: Plan, record: Located | undefined): string | undefined {
  if (mapping.ids === 'keep' || record === undefined) return undefined;
  const payload: unknown = JSON.parse(record.batch.payloads[record.at] ?? '{}');
  const found: unknown = Object.entries(Object(payload)).find(([name]) => name === mapping.originalId)?.[1];
  return typeof found === 'string' ? found : undefined;
}

function vectorsOf(records: ReadonlyMap<string, Located>, vector: string): Map<string, Float32Array> {
  const found = new Map<string, Float32Array>();
  for (const [id, { batch, at }] of records) {
    const column = batch.vectors.get(vector);
    if (column?.kind === 'dense' && hasVector(column, at)) found.set(id, denseVector(column, at));
  }
  return found;
}

/** The records put first when these vectors are ranked by this distance. */
function rankedBy({ truth, depth }: Case, by: Distance, vectors: ReadonlyMap<string, Float32Array>): string[] {
  return [...vectors]
    .map(([id, values]) => ({ id, distance: distanceBetween[by](truth.values, values) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, depth)
    .map(({ id }) => id);
}

/** recall of a ranking, by the true distances. */
function recallOf(each: Case, by: Distance, vectors: ReadonlyMap<string, Float32Array>, truthBy: Distance): number {
  const known = new Map(each.truth.nearest.map(({ id, distance }) => [id, distance]));
  const ranked = rankedBy(each, by, vectors).map((id) => known.get(id) ?? Number.POSITIVE_INFINITY);
  return recallAt(ranked, each.depth, allowedAt(each.truth.nearest, each.depth, truthBy));
}

function agreementOf(each: Case, by: Distance, vectors: ReadonlyMap<string, Float32Array>): number {
  const ranked = new Set(rankedBy(each, by, vectors));
  return each.hits.length === 0 ? 0 : each.hits.filter((id) => ranked.has(id)).length / each.hits.length;
}

/** The target's vectors, each as long as the source's. */
function sameLengths({ inSource, inTarget }: Case): ReadonlyMap<string, Float32Array> {
  return new Map(
    [...inTarget].map(([id, values]) => {
      const other = inSource.get(id);
      return [id, other === undefined ? values : scaledTo(lengthOf(other))(values)];
    }),
  );
}

const lengthOf = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

const scaledTo =
  (length: number) =>
  (values: Float32Array): Float32Array => {
    const own = lengthOf(values);
    return own === 0 ? values : values.map((value) => (value * length) / own);
  };

function mapValues(all: ReadonlyMap<string, Float32Array>, map: (values: Float32Array) => Float32Array) {
  return new Map([...all].map(([id, values]) => [id, map(values)]));
}

function rangeText(all: readonly ReadonlyMap<string, Float32Array>[]): string {
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  for (const vectors of all) {
    for (const values of vectors.values()) {
      const length = lengthOf(values);
      least = Math.min(least, length);
      most = Math.max(most, length);
    }
  }
  const [from, to] = [least, most].map((value) => String(Number(value.toPrecision(3))));
  return from === to ? `of ${from}` : `from ${from} to ${to}`;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
