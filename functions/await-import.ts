import { checkImport } from '../lib/manifest.ts';
import { expectImport } from '../lib/patience.ts';
import { readPlan } from '../lib/plan.ts';
import { awaitOutput, waitInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Await the import": holds the ledger against the manifest; called again after a wait until all is loaded.
 * @throws ImportFailed naming the shards that could not be loaded, once all others are, or after a week; not retried.
 */
export const handler = makeHandler({
  input: waitInput,
  output: awaitOutput,
  run: async ({ run, since }, { services }) => {
    const plan = await readPlan(services.objects, run);
    const state = await checkImport({ plan, objects: services.objects, queue: services.queue() });
    const loaded = `${state.loaded} of ${state.shards} shards are loaded`;
    if (!state.done) expectImport({ run, state: loaded, since, now: new Date() });
    return state;
  },
});
