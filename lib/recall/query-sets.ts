import { InvalidEvent } from '../errors.ts';
import type { GivenQuery, QuerySet } from '../event-queries.ts';
import type { Filter } from '../filter.ts';
import type { MappingPlan } from '../mapping/mapping-files.ts';
import { fieldInTarget } from '../mapping/names.ts';
import type { CollectionSchema } from '../schema.ts';
import { count } from '../words.ts';
import { queriesNeeded } from './interval.ts';
import { parseQueryFile, type QueryFiles } from './query-file.ts';
import { type GivenText, goldProblem, queryFloats } from './query-floats.ts';
import { type QuerySpace, querySpace } from './query-space.ts';
import {
  goalOf,
  neighboursKept,
  type Planned,
  type SearchedVector,
  searchedVectors,
  vectorsOf,
} from './searched-vectors.ts';

/**
 * What a run's queries may come to: they, and every shard's list of their neighbours, are held in memory, at some 60 bytes
 * a neighbour and twice a vector's bytes a query.
 */
const maxQueries = 20_000;
const maxNeighbours = 2_000_000;
/** Texts of queries that a run embeds: they are asked for within one call of a function. */
const maxTexts = 10_000;

/** The queries that the event and its files give, by set. */
export type GivenQueries = ReadonlyMap<string, readonly GivenText[]>;

/**
 * Reads the queries that are given, and sees that every set can be searched with what it says. Embeds nothing.
 * @throws InvalidEvent naming every set and query that cannot, with what is wrong; NotFound when a file is not there.
 */
export async function readGivenQueries(planned: Planned, files: QueryFiles): Promise<GivenQueries> {
  const { recall } = planned.event.validate;
  const found = new Map<string, readonly GivenText[]>();
  const problems: Problem[] = [];
  for (const set of recall?.sets ?? []) {
    const given = set.file === undefined ? set.queries : parseQueryFile(await files.read(set.file), set.file);
    problems.push(...filterProblems(planned, set.name, undefined, set.filter));
    if (given === undefined) continue;
    problems.push(...tooFew(planned, set, given.length));
    const [vector, ...others] = vectorsOf(planned, set);
    if (vector === undefined || others.length > 0) {
      const names = searchedVectors(planned).map((each) => `'${each.vector}'`);
      const text = `names no vector that its queries search; it takes one of ${names.join(', ') || 'none'} as "vector"`;
      problems.push({ where: nameOf(set.name), text });
      continue;
    }
    const space = querySpace(planned, vector);
    const queries = given.map((query, at) => asQuery(planned, set, vector, space, query, String(query.id ?? at + 1)));
    const own = queries.flatMap((each) => each.problems);
    const asked = queries.map((each) => each.query);
    problems.push(...own);
    // A query that is wrong by itself would be told of twice.
    if (own.length === 0) problems.push(...goldProblems(set, space, asked));
    found.set(set.name, asked);
  }
  refuse(problems);
  refuseTooMany(planned, found);
  return found;
}

interface Problem {
  readonly where: string;
  readonly text: string;
}

const nameOf = (set: string, query?: string): string =>
  `validate.recall.sets '${set}'${query === undefined ? '' : `, query '${query}'`}`;

/** Queries that an error speaks about one by one. */
const maxNamed = 20;

function refuse(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const texts = problems.slice(0, maxNamed).map(({ where, text }) => `${where}: ${text}`);
  const rest = problems.length > maxNamed ? `; and ${count(problems.length - maxNamed)} more` : '';
  throw new InvalidEvent(`${texts.join('; ')}${rest}`, { ids: problems.map(({ where }) => where) });
}

function asQuery(
  planned: Planned,
  set: QuerySet,
  searched: SearchedVector,
  space: QuerySpace,
  given: GivenQuery,
  id: string,
): { query: GivenText; problems: Problem[] } {
  const { filter, expected, text } = given;
  const where = nameOf(set.name, id);
  const { problems, ...floats } = queryFloats(searched, space, given);
  const twice = Object.keys(filter ?? {}).find((field) => set.filter !== undefined && field in set.filter);
  if (twice !== undefined) problems.push(`has a condition on '${twice}', and so has its set; write it in one place`);
  const both = { ...set.filter, ...filter };
  const query: GivenText = {
    set: set.name,
    vector: searched.vector,
    id,
    ...(text !== undefined && { text }),
    ...floats,
    ...(Object.keys(both).length > 0 && { filter: both }),
    ...(expected && { expected }),
  };
  const own = problems.map((each) => ({ where, text: each }));
  return { query, problems: [...filterProblems(planned, set.name, id, filter), ...own] };
}

/** A filter must mean the same on both sides. */
function filterProblems(
  { source, mapping, event }: Planned,
  set: string,
  query: string | undefined,
  filter: Filter = {},
): Problem[] {
  return Object.keys(filter).flatMap((field) => {
    const hasOldNames = source.fields === undefined && Object.hasOwn(event.names?.fields ?? {}, field);
    const unclear = `filters by '${field}', which each record of the source may hold under its stable or an old name, so a search there finds some alone; leave the filter out`;
    const text = hasOldNames ? unclear : fieldProblem(source, mapping, field);
    return text === undefined ? [] : [{ where: nameOf(set, query), text }];
  });
}

function fieldProblem({ fields }: CollectionSchema, mapping: MappingPlan, field: string): string | undefined {
  if (fields !== undefined && !fields.some(({ name }) => name === field)) {
    const names = fields.map(({ name }) => `'${name}'`);
    return `filters by '${field}', which the source does not have; its fields are ${names.join(', ') || 'none'}`;
  }
  const there = fieldInTarget(mapping, field);
  if ('lost' in there) return `filters by '${field}', which ${there.lost}`;
  const cast = mapping.castFields[field];
  if (cast === undefined) return undefined;
  return `filters by '${field}', which mapping.payload carries as ${cast}: it would not mean the same on both sides`;
}

/** The queries of a file are counted when it is read; plan-checks.ts counts the others. */
function tooFew(planned: Planned, set: QuerySet, queries: number): Problem[] {
  const { atLeast } = goalOf(planned, set);
  if (set.file === undefined || atLeast === null || queries >= queriesNeeded(atLeast)) return [];
  const text = `its ${count(queries)} queries cannot show a recall of ${atLeast} with 95 % confidence, even without a miss; give more, set a lower atLeast, or null to have it reported only`;
  return [{ where: nameOf(set.name), text }];
}

function goldProblems(set: QuerySet, space: QuerySpace, queries: readonly GivenText[]): Problem[] {
  const text = goldProblem(set, space, queries);
  return text === undefined ? [] : [{ where: nameOf(set.name), text }];
}

function refuseTooMany(planned: Planned, given: GivenQueries): void {
  const { recall } = planned.event.validate;
  const kept = neighboursKept(planned);
  let [queries, neighbours] = [0, 0];
  for (const set of recall?.sets ?? []) {
    const sampled = (set.sample ?? recall?.queries ?? 0) * vectorsOf(planned, set).length;
    const own = given.get(set.name)?.length ?? sampled;
    queries += own;
    neighbours += own * (kept.get(set.name) ?? 0);
  }
  const texts = [...given.values()].flat().filter(({ text }) => text !== undefined).length;
  if (texts > maxTexts) {
    const text = `${count(texts)} queries are texts, more than the ${count(maxTexts)} that a run embeds; ask fewer, or give vectors`;
    throw new InvalidEvent(`validate.recall: ${text}`, { ids: ['validate.recall.sets'] });
  }
  if (queries <= maxQueries && neighbours <= maxNeighbours) return;
  const limits = `${count(maxQueries)} queries and ${count(maxNeighbours)} neighbours`;
  const text = `${count(queries)} queries with ${count(neighbours)} neighbours in all are more than the ${limits} that a run takes`;
  throw new InvalidEvent(`validate.recall: ${text}; ask fewer queries, or a smaller k and smaller depths`, {
    ids: ['validate.recall'],
  });
}
