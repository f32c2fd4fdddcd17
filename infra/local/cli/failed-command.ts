import { failedRecords } from '../../../lib/embed/stage/embed-failures.ts';
import type { ObjectStore } from '../../../lib/objects.ts';
import { planOf } from './commands.ts';
import { exitCodes } from './exit-codes.ts';
import type { Output } from './output.ts';

/** `vecferry status RUN --failed`: every record whose text could not be embedded, a line each, its id first. */
export async function failedCommand(output: Output, objects: ObjectStore, run: string): Promise<number> {
  for await (const { id, reason } of failedRecords(objects, await planOf(objects, run))) {
    output.event({ type: 'failed', run, id, reason });
    output.line(`${id}\t${reason}`);
  }
  return exitCodes.ok;
}
