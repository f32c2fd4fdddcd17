import { compareShard } from '../lib/compare/compare.ts';
import { readPlan } from '../lib/plan.ts';
import { shardInput, shardOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Compare a shard", in the map "Check every shard"; called again with `offset` until it says done. */
export const handler = makeHandler({
  input: shardInput,
  output: shardOutput,
  run: async ({ run, shard, offset }, { services, deadline }) => {
    const plan = await readPlan(services.objects, run);
    const source = await services.openSource(plan);
    const target = await services.openTarget(plan);
    return await compareShard({
      plan,
      shard,
      source: source.store,
      target: target.store,
      objects: services.objects,
      flags: services.flags,
      offset,
      deadline,
    });
  },
});
