import type { Log } from './log.ts';
import type { Services } from './services.ts';

export interface MendOptions {
  /** The message's body: repairMessage in states.ts. */
  readonly body: string;
  readonly services: Services;
  readonly log: Log;
}

/** False when the message has to be delivered again. */
export async function mendRecords(_: MendOptions): Promise<boolean> {
  throw new Error('under construction');
}
