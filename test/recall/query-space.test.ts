import { expect, test } from '@jest/globals';
import { querySpace } from '../../lib/recall/query-space.ts';
import { searchedVectors } from '../../lib/recall/searched-vectors.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import { makeEmbedPlan, makePlan } from '../make-plan.ts';

test('a source without vectors is not said to have those of another model', () => {
  const whyOf = (vectors: VectorSpec[]) => {
    const { source, mapping, ...plan } = makePlan({});
    const planned = {
      ...plan,
      source: { ...source, vectors },
      mapping: { ...mapping, vectors: { embedding: 'embedding' } },
      embed: makeEmbedPlan(),
    };
    return searchedVectors(planned).map((each) => querySpace(planned, each).source?.why);
  };
  const vector: VectorSpec = { name: 'embedding', kind: 'dense', dimension: 4, precision: 'float32' };
  expect(whyOf([vector])).toEqual([expect.stringMatching(/^its vectors are of another model/)]);
  expect(whyOf([])).toEqual(['it has no dense vector']);
});
