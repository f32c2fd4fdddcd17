import { InvalidEvent } from '../errors.ts';
import { type SearchSettingName, type SearchSettings, searchSettingNames } from '../schema.ts';

/**
 * Holds a search's settings against those that the store heeds (its capabilities' searchSettings): one that changed
 * nothing would be measured as if it did.
 * @throws InvalidEvent that names the first setting not heeded.
 */
export function refuseSettings(
  settings: SearchSettings | undefined,
  heeded: readonly SearchSettingName[],
  title: string,
): void {
  const odd = searchSettingNames.find((name) => settings?.[name] !== undefined && !heeded.includes(name));
  if (odd === undefined) return;
  const choice = heeded.length === 0 ? 'it takes none, every search is exact' : `it takes ${heeded.join(', ')}`;
  throw new InvalidEvent(`${title} does not heed the search setting ${odd}; ${choice}`, { ids: [odd] });
}
