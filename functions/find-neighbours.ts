import { readPlan } from '../lib/plan.ts';
import { findNeighbours } from '../lib/recall/neighbours.ts';
import { shardInput, shardOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Find its neighbours", in the map "Check every shard": the shard's exact nearest records for every query. */
export const handler = makeHandler({
  input: shardInput,
  output: shardOutput,
  run: async ({ run, shard }, { services: { objects }, deadline }) =>
    await findNeighbours({ plan: await readPlan(objects, run), shard, objects, deadline }),
});
