import { join } from 'node:path';

/** Where a routing flag lies on one machine: for the run that writes it and for applications that read it. */
export function flagPath(directory: string, name: string): string {
  return join(directory, `${name}.json`);
}
