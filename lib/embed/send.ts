import { InvalidEvent } from '../errors.ts';
import type { SendOptions, Sent } from './port.ts';

/**
 * Asks for every text, packed into requests, within the provider's limits, again with growing pauses where it is busy or
 * away. What an answer lacks is asked for again, what it holds is not. @throws what no waiting mends
 */
export async function sendTexts({ embedder }: SendOptions): Promise<Sent> {
  throw new InvalidEvent(`nothing can be sent to ${embedder.card.name} yet`);
}
