import { exportRange } from '../lib/export.ts';
import { readPlan } from '../lib/plan.ts';
import { exportInput, exportOutput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/**
 * State "Export a range", the item of the map "Export every range"; called again with `next` until it says done.
 * @throws RecordRefused when a record cannot stand in a shard; Throttled, StoreUnavailable are retried.
 */
export const handler = makeHandler({
  input: exportInput,
  output: exportOutput,
  run: async ({ run, ...input }, { services, deadline, log, count }) => {
    const plan = await readPlan(services.objects, run);
    const { store } = await services.openSource(plan, { asStored: true });
    const result = await exportRange({
      ...input,
      plan,
      source: store,
      objects: services.objects,
      queue: services.queue(),
      deadline,
      log,
    });
    count('RecordsExported', result.records);
    return result;
  },
});
