import { z } from 'zod';
import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { chooseQueries } from '../lib/recall/queries.ts';
import { runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Choose the queries": what both sides are searched with, given or drawn by the event's seed. */
export const handler = makeHandler({
  input: runInput,
  output: z.strictObject({ queries: z.int().nonnegative() }),
  run: async ({ run }, { services: { objects, queryFiles, openModel }, deadline, log }) => {
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const models = { open: openModel, deadline, log };
    return await chooseQueries({ plan, manifest, objects, files: queryFiles, models });
  },
});
