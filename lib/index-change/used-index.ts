import type { SearchSettings } from '../schema.ts';
import type { IndexTarget } from '../stores/index-port.ts';

/** either: one of them with the settings that validation searched with, the other without any. */
export type UsedIndex = 'old' | 'new' | 'either';

/**
 * Which of two indexes searches use: those with the settings of validate.recall.search, and those of an application that sends none (yet).
 * undefined: neither, or the store does not tell.
 */
export async function usedIndex(
  indexes: Pick<IndexTarget, 'used'> | undefined,
  settings: SearchSettings,
): Promise<UsedIndex | undefined> {
  const used = await indexes?.used?.(settings);
  if (Object.keys(settings).length === 0) return used;
  const bare = await indexes?.used?.({});
  return bare === used || bare === undefined || used === undefined ? used : 'either';
}

export const usedWords: Readonly<Record<UsedIndex, string>> = {
  old: 'searches as the application makes them still use the old index',
  new: 'searches as the application makes them use the new index by now',
  either: 'searches with the settings of validate.recall.search use the one, those without settings the other',
};
