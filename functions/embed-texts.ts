import { type Spent, tellSpent } from '../lib/embed/stage/embed-spent.ts';
import { embedShards } from '../lib/embed/stage/embed-stage.ts';
import { askedModel } from '../lib/embed/stage/made.ts';
import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { repeatOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Embed the texts", called again until it says done: has the vectors of every shard made, and puts each on the import
 * queue once they are there.
 * @throws BudgetExceeded when it would cost more than the event allows; not retried.
 */
export const handler = makeHandler({
  input: runInput,
  output: repeatOutput,
  run: async ({ run }, { services, deadline, log, count }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const embedder = await services.openModel(...askedModel(plan));
    const now = (): Date => new Date();
    const input = { plan, manifest, objects, queue: services.queue(), embedder, deadline, log, now };
    const tell = ({ texts, tokens, failed, throttled }: Spent): void => {
      count('TextsEmbedded', texts);
      count('TokensEmbedded', tokens);
      if (failed > 0) count('RecordsNotEmbedded', failed);
      if (throttled > 0) count('Throttled', throttled);
    };
    return await tellSpent({ objects, run, tell }, () => embedShards(input));
  },
});
