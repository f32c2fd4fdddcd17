import { InvalidEvent } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import type { StoreKind } from '../stores/port.ts';

/**
 * Where the new index replaces the old one as it is built, readers use it from then on: there is no moment at which a person could be asked, and none at
 * which readers have not moved yet. @throws InvalidEvent
 */
export function refuseInstead(
  { cutover }: Pick<RunEvent, 'cutover'>,
  { title, capabilities }: Pick<StoreKind, 'title' | 'capabilities'>,
): void {
  if (capabilities.changesIndex !== 'instead') return;
  const asked = cutover === null ? 'cutover is null' : 'cutover.approval is "person"';
  if (cutover !== null && cutover.approval === 'none') return;
  const text = `${asked}, and ${title} has one index a vector: readers use the new one as soon as it is built, and a run that does not pass takes it back by itself`;
  const next =
    'leave it out, or copy into another collection with the settings that are wanted, whose readers are moved when you say so (docs/index-change.md)';
  throw new InvalidEvent(`${text}; ${next}`, { ids: [cutover === null ? 'cutover' : 'cutover.approval'] });
}
