import { sealManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { runInput, sealOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Seal the manifest": every range is in shards; from here on the manifest says what belongs to the run.
 * @throws ShardDamaged when a range's shards do not reach to its end; not retried.
 */
export const handler = makeHandler({
  input: runInput,
  output: sealOutput,
  run: async ({ run }, { services: { objects } }) => {
    const { shards, records } = await sealManifest({ plan: await readPlan(objects, run), objects });
    return { shards: shards.length, records };
  },
});
