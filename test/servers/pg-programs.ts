import { readdirSync } from 'node:fs';
import { join } from 'node:path';

/** The folder of pg_dump, pg_restore and psql of the test server's own version: they come in its package. */
export function pgPrograms(): string {
  const lib = join(import.meta.dirname, '..', '..', '.venv', 'lib');
  const python = readdirSync(lib).find((name) => name.startsWith('python'));
  if (python === undefined) throw new Error('the test servers are not installed; run `node test/servers/install.mjs`');
  return join(lib, python, 'site-packages', 'embedded_postgres', 'pginstall', 'bin');
}
