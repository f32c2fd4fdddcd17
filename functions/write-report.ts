import { countSides } from '../lib/compare/counts.ts';
import { readManifest } from '../lib/manifest.ts';
import { readPlan } from '../lib/plan.ts';
import { writeReport } from '../lib/report/report.ts';
import { reportOutput, runInput } from '../lib/states.ts';
import { makeHandler } from './lambda.ts';

/** State "Write the report": counts both sides, gathers what was compared and measured, and says whether the run passed. */
export const handler = makeHandler({
  input: runInput,
  output: reportOutput,
  run: async ({ run }, { services, deadline }) => {
    const { objects } = services;
    const [plan, manifest] = await Promise.all([readPlan(objects, run), readManifest(objects, run)]);
    const source = await services.openSource(plan);
    const target = await services.openTarget(plan);
    const sides = { source: source.store, target: target.store };
    const counts = await countSides({ plan, manifest, objects, ...sides, deadline });
    return await writeReport({ plan, manifest, objects, counts, ...sides });
  },
});
