import type { GivenQuery, QuerySet } from '../event-queries.ts';
import { encodeFloats } from '../float-text.ts';
import { truncateColumn } from '../mapping/truncate.ts';
import type { Query } from '../run-files.ts';
import { count } from '../words.ts';
import { queriesNeeded } from './interval.ts';
import type { QuerySpace, SourceSpace } from './query-space.ts';
import type { SearchedVector } from './searched-vectors.ts';

/** A query that is given: its texts are still to be embedded where `values`, or `sourceValues` of one that searches the source, are not there. */
export interface GivenText extends Omit<Query, 'values'> {
  readonly values?: string;
  /** True where the text is to be embedded for the source too. */
  readonly asksSource?: boolean;
}

/** The vectors of a given query on either side, as far as they are known before a model is asked; and what is wrong with them. */
interface QueryFloats {
  readonly values?: string;
  readonly sourceValues?: string;
  readonly asksSource?: boolean;
  /** Each the end of a sentence that begins with the query. */
  readonly problems: string[];
}

export function queryFloats(searched: SearchedVector, space: QuerySpace, given: GivenQuery): QueryFloats {
  const { vector: values, text, sourceVector } = given;
  const { source } = space;
  const forSource = source === undefined ? refusedFor(sourceVector) : sourceFloats(searched, source, given);
  if (values !== undefined) {
    const found = targetFloats(searched, space, given, values);
    const { sourceValues = found.sourceValues } = forSource;
    const problems = [...found.problems, ...forSource.problems];
    return { values: found.values, ...(sourceValues !== undefined && { sourceValues }), problems };
  }
  const problems = [...forSource.problems];
  if (text !== undefined && space.model === undefined) {
    const what = `has a text, and no model is known that made vector '${searched.vector}'`;
    problems.push(
      `${what}: say how it is asked in source.model, {"provider": "openai", "name": …}, or give the query its vector`,
    );
  }
  const asksSource = source?.vector !== undefined && source.model !== undefined && sourceVector === undefined;
  const { sourceValues } = forSource;
  return { ...(sourceValues !== undefined && { sourceValues }), ...(asksSource && { asksSource }), problems };
}

interface Floats {
  readonly sourceValues?: string;
  readonly problems: readonly string[];
}

/** Of a vector that both sides hold alike. */
function refusedFor(sourceVector: GivenQuery['sourceVector']): Floats {
  if (sourceVector === undefined) return { problems: [] };
  return { problems: ['has a sourceVector, and both sides hold the same vectors; leave it out'] };
}

function sourceFloats({ vector }: SearchedVector, source: SourceSpace, { sourceVector }: GivenQuery): Floats {
  if (sourceVector == null) return { problems: [] };
  if (source.vector === undefined) {
    const text = `has a sourceVector, and the source has no one vector that '${vector}' takes the place of; leave it out`;
    return { problems: [text] };
  }
  const floats = Float32Array.from(sourceVector);
  const problems = numberProblems(sourceVector, floats, 'sourceVector: ');
  if (source.dimension !== undefined && floats.length !== source.dimension) {
    const has = `has a sourceVector of ${count(floats.length)} floats`;
    problems.push(`${has}, and vector '${source.vector}' of the source has ${count(source.dimension)}`);
  }
  return { sourceValues: encodeFloats(floats), problems };
}

function targetFloats(
  { vector, distance }: SearchedVector,
  { dimension, whole, source }: QuerySpace,
  { sourceVector }: GivenQuery,
  values: readonly number[],
): Floats & { readonly values: string } {
  const floats = Float32Array.from(values);
  const problems = numberProblems(values, floats, '');
  const isOfSource = source !== undefined && !source.isSameModel && floats.length === source.dimension;
  if (dimension !== undefined && floats.length !== dimension && floats.length !== whole) {
    const has = `has ${count(floats.length)} floats, and vector '${vector}' has ${count(dimension)}`;
    const old = `; it looks like one of the source's own model: give the text, or a vector of the new model and this one as "sourceVector"`;
    problems.push(isOfSource ? `${has}${old}` : has);
  } else if (isOfSource && sourceVector === undefined) {
    const has = `has ${count(floats.length)} floats, as vectors of the source's model and of the new one have`;
    problems.push(
      `${has}: give its text; or with "sourceVector" the source's, null where it has none: "vector" is then of the new model`,
    );
  }
  const first = floats.subarray(0, dimension);
  if (distance === 'cosine' && first.every((each) => each === 0)) {
    problems.push('is all zeros, which has no direction that cosine distance could compare');
  }
  const isWhole = dimension !== undefined && floats.length === whole && whole > dimension;
  const made = isWhole && problems.length === 0 ? truncated(floats, dimension) : floats;
  // The source holds whole vectors of the same model.
  const serves = source?.isSameModel === true && floats.length === source.dimension && sourceVector === undefined;
  return { values: encodeFloats(made), ...(serves && { sourceValues: encodeFloats(floats) }), problems };
}

/** The first `dimensions` floats at length 1, as the records' are. @throws RecordRefused when those are all zeros */
export function truncated(values: Float32Array, dimensions: number): Float32Array {
  const column = { kind: 'dense', dimension: values.length, values } as const;
  const cut = truncateColumn(column, ['query'], { name: 'query', dimensions });
  return cut.kind === 'dense' ? cut.values : values;
}

function numberProblems(values: readonly number[], floats: Float32Array, where: string): string[] {
  const wrong = floats.findIndex((each) => !Number.isFinite(each));
  return wrong < 0 ? [] : [`${where}float ${wrong + 1} is ${values[wrong]}, which no float32 holds`];
}

/** What keeps a set's gold queries from being judged as the event says; undefined where nothing does. */
export function goldProblem(
  { goldAtLeast }: QuerySet,
  { source }: QuerySpace,
  queries: readonly GivenText[],
): string | undefined {
  const gold = queries.filter(({ expected }) => expected !== undefined);
  if (typeof goldAtLeast === 'number') {
    if (gold.length === 0)
      return 'has a goldAtLeast, and no query says what it expects; add "expected", or leave it out';
    if (gold.length >= queriesNeeded(goldAtLeast)) return undefined;
    const has = `its ${count(gold.length)} queries with "expected" cannot show that ${goldAtLeast} of it is found with 95 % confidence, even without a miss`;
    return `${has}; give more, set a lower goldAtLeast, or null to have it reported only`;
  }
  const isJudged = source !== undefined && goldAtLeast === undefined && gold.length > 0;
  if (!isJudged || gold.some(({ asksSource, sourceValues }) => asksSource || sourceValues !== undefined)) {
    return undefined;
  }
  const has = 'says what its queries expect, and nothing to hold that against: the source cannot be searched for them';
  return `${has}; set "goldAtLeast", or null to have it reported only; or say in source.model how the source's own model is asked, or give each query its "sourceVector"`;
}
