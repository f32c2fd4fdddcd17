import { z } from 'zod';
import { unswitchedIndex } from '../../../lib/index-change/index-change.ts';
import { runKeys } from '../../../lib/keys.ts';
import { getJson, type ObjectStore } from '../../../lib/objects.ts';
import type { Output } from './output.ts';

const partSchema = z.looseObject({
  index: z
    .looseObject({
      text: z.string(),
      results: z.array(z.string()),
      takenBack: z.looseObject({}).nullable(),
      how: z.enum(['beside', 'instead']),
    })
    .nullable(),
});

/**
 * Says what a run's report says of an index that was changed, in a line; nothing where it changed none, or came to no report.
 * @param isMoved false: the run has switched nothing
 */
export async function tellIndex(
  { line }: Pick<Output, 'line'>,
  objects: ObjectStore,
  run: string,
  { isMoved = true } = {},
): Promise<void> {
  const index = (await getJson(objects, runKeys(run).report, partSchema))?.index;
  if (index === null || index === undefined) return;
  const now = index.how === 'instead' ? 'the old one is built again' : 'the new one is dropped';
  const back = index.takenBack === null ? '' : `; taken back, and ${now}`;
  line(`index    ${index.text}: ${index.results.join('; ')}${back}`);
  if (isMoved || index.takenBack !== null || index.how !== 'beside') return;
  line(`readers  are not switched, but ${unswitchedIndex({ run, index })}`);
}
