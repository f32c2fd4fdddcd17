import type { Log } from './log.ts';
import type { Plan } from './run-files.ts';
import type { Services } from './services.ts';

export interface CanaryOptions {
  readonly plan: Plan;
  readonly services: Pick<Services, 'objects' | 'flags' | 'reads' | 'notices' | 'stack'>;
  readonly log: Log;
  readonly now: () => Date;
}

export async function stepCanary(_: CanaryOptions): Promise<{ done: boolean; seconds: number }> {
  throw new Error('under construction');
}
