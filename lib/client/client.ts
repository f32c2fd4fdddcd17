import type { Client, ClientOptions } from './options.ts';
import type { Identified } from './side.ts';

/** An application's way to its collections while a run moves them: reads are routed by the flag, writes go to both sides. */
export function createClient<R extends Identified, Q, H extends Identified>(
  _options: ClientOptions<R, Q, H>,
): Client<R, Q, H> {
  throw new Error('under construction');
}
