import { createHash } from 'node:crypto';
import { NotFound } from '../errors.ts';
import { areQueriesKept } from '../index-change/before-files.ts';
import { runKeys } from '../keys.ts';
import { type ObjectStore, parseJsonObject, putJson } from '../objects.ts';
import { type Manifest, type Plan, type Query, queriesSchema } from '../run-files.ts';
import { noFiles, type QueryFiles } from './query-file.ts';
import { readGivenQueries } from './query-sets.ts';
import { embedQueries, type QueryModels } from './query-texts.ts';
import { sampleQueries } from './sample-queries.ts';

export interface QueriesOptions {
  readonly plan: Plan;
  readonly manifest: Manifest;
  readonly objects: ObjectStore;
  /** Left out: a set that names a file is refused. */
  readonly files?: QueryFiles;
  /** Left out: a query that is a text is refused. */
  readonly models?: QueryModels;
}

/**
 * Writes queries.json: the queries of every set, given or drawn from the records of the run by the event's seed. Those of
 * a sampled set stand in random order, so that the first of them are a sample too. Texts are embedded. Repeating it writes
 * the same. What an index that is replaced was asked stays as it is, though a file of queries may have changed since.
 * @throws InvalidEvent when a given query cannot be searched for, NotFound when a file or a shard is not there, and as
 * embedQueries does.
 */
export async function chooseQueries(options: QueriesOptions): Promise<{ queries: number }> {
  const { plan, manifest, objects, files = noFiles, models } = options;
  if (await areQueriesKept(plan, manifest, objects))
    return { queries: (await readQueries(objects, plan.run)).queries.length };
  const sets = plan.event.validate.recall?.sets ?? [];
  const given = await embedQueries({ plan, objects, given: await readGivenQueries(plan, files), models });
  const sampled = await sampleQueries({ plan, manifest, objects });
  const queries = sets.flatMap(({ name }) => given.get(name) ?? sampled.get(name) ?? []);
  await putJson(objects, runKeys(plan.run).queries, queries);
  return { queries: queries.length };
}

/** The queries of a run, and a hash of them. @throws NotFound when there are none: "Choose the queries" comes first. */
export async function readQueries(
  objects: ObjectStore,
  run: string,
): Promise<{ readonly queries: readonly Query[]; readonly of: string }> {
  const key = runKeys(run).queries;
  const body = await objects.get(key);
  if (body === undefined)
    throw new NotFound(`${objects.locate(key)} is not there: validate the run from its start`, { ids: [key] });
  return {
    queries: parseJsonObject(body, queriesSchema, objects.locate(key)),
    of: createHash('sha256').update(body).digest('hex'),
  };
}
