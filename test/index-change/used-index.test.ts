import { expect, test } from '@jest/globals';
import { usedIndex } from '../../lib/index-change/used-index.ts';
import type { SearchSettings } from '../../lib/schema.ts';

/** A store whose searches use one index with settings, and one without. */
const store = (withSettings: 'old' | 'new' | undefined, without: 'old' | 'new' | undefined) => ({
  used: async (settings: SearchSettings) => (Object.keys(settings).length > 0 ? withSettings : without),
});

test('an index that only searches with the settings of validation use is not said to be everybody’s', async () => {
  // 8 probes are dear, and one probe is cheap: the planner takes the new IVFFlat for who says nothing.
  expect(await usedIndex(store('old', 'new'), { probes: 8 })).toBe('either');
  expect(await usedIndex(store('new', 'new'), { probes: 8 })).toBe('new');
  expect(await usedIndex(store('old', 'new'), {})).toBe('new');
});

test('a store that does not tell is not guessed at', async () => {
  expect(await usedIndex(store(undefined, undefined), { probes: 8 })).toBeUndefined();
  expect(await usedIndex({}, { probes: 8 })).toBeUndefined();
});
