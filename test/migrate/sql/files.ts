import { checksumOf } from '../../../lib/migrate/files.ts';
import type { MigrationFile } from '../../../lib/migrate/port.ts';

/** A SQL file of that number, `002_test.sql`. */
export function sqlFile(number: number, text: string): MigrationFile {
  const name = `${String(number).padStart(3, '0')}_test`;
  return { number, name, path: `${name}.sql`, kind: 'sql', text, checksum: checksumOf(text) };
}
