import { checkImport } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { awaitOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Await the import": holds the ledger against the manifest; called again after a wait until all is loaded.
 * @throws ImportFailed naming the shards that could not be loaded, once all others are; not retried.
 */
export const handler = makeHandler({
  input: runInput,
  output: awaitOutput,
  run: async ({ run }, { services }) => {
    const plan = await readPlan(services.objects, run);
    return await checkImport({ plan, objects: services.objects, queue: services.queue() });
  },
});
