import { findNeighbours } from '../lib/neighbours.ts';
import { readPlan } from '../lib/plan.ts';
import { shardInput, shardOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Find its neighbours", in the map "Check every shard": the shard's exact nearest records for every query. */
export const handler = makeHandler({
  input: shardInput,
  output: shardOutput,
  run: async ({ run, shard, offset }, { services: { objects }, deadline }) => {
    const plan = await readPlan(objects, run);
    return await findNeighbours({ plan, shard, objects, offset, deadline });
  },
});
