import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { column } from '../../lib/batch.ts';
import { mapId } from '../../lib/mapping.ts';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { readGlosses, seedGlosses } from './glosses.ts';
import { endpointIn, expectValidated, type Runs, startRuns } from './world.ts';

/** Whole runs that embed: definitions of WordNet, whose old vectors have 100 floats. */

let runs: Runs;
beforeAll(async () => {
  runs = await startRuns();
}, 120_000);
afterAll(async () => {
  await runs.close();
});

test('PostgreSQL to Qdrant through the local model: 100 floats become 512, and every record is where its text says', async () => {
  const glosses = readGlosses(300);
  const source = await seedGlosses(runs.unique('glosses'), glosses);
  const target = await endpointIn(runs, 'qdrant', 'glosses');
  const embed = { text: 'text', model: { provider: 'local', name: 'universal-sentence-encoder-lite' } };
  const report = expectValidated(await runs.run({ source, target, embed, parallel: { shardMiB: 0.25 } }));
  expect(report.compare).toMatchObject({ equal: 300 });
  const ids = glosses.map(({ id }) => mapId(qdrant.capabilities.ids, id));
  const found = await (await runs.open(target)).fetch(ids.slice(0, 1));
  expect(column(found, '').values).toHaveLength(512);
}, 300_000);
