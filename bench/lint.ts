import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { MigrationFile } from '../lib/migrate/port.ts';
import { lintFiles } from '../lib/migrate/sql/lint.ts';
import { squawkBinary } from '../lib/migrate/sql/squawk.ts';
import { inFolder } from './folder.ts';
import { type BenchRow, inTurns } from './row.ts';

/** The linter over a folder of migrations, beside squawk alone: over all files at once, and a process a file as a hook starts it. */

const count = 100;
/** Files that are linted by a process each: enough for a mean. */
const alone = 20;

/** What teams write, good and bad, in turn. */
const kinds = [
  (n: number): string => `CREATE TABLE t${n} (id bigint PRIMARY KEY, title text NOT NULL, embedding vector(384))`,
  (n: number): string => `ALTER TABLE t${n - 1} ADD COLUMN lang text NOT NULL`,
  (n: number): string => `CREATE INDEX CONCURRENTLY t${n - 2}_title ON t${n - 2} (title)`,
  (n: number): string =>
    `ALTER TABLE old${n} ALTER COLUMN price TYPE bigint;\nALTER TABLE old${n} RENAME COLUMN a TO b`,
  (n: number): string => `UPDATE t${n - 4} SET lang = 'en' WHERE lang IS NULL`,
];

export async function run(): Promise<BenchRow[]> {
  return await inFolder(async (folder) => {
    await mkdir(folder, { recursive: true });
    const files = Array.from({ length: count }, (_, at): MigrationFile => {
      const name = `${String(at + 1).padStart(3, '0')}_bench.sql`;
      const text = `-- migrate:up\n${kinds[at % kinds.length]?.(at)};\n\n-- migrate:down\nSELECT 1;\n`;
      const checksum = createHash('sha256').update(text).digest('hex');
      return { number: at + 1, name, path: join(folder, name), kind: 'sql', text, checksum };
    });
    for (const { path, text } of files) await writeFile(path, text);
    const squawk = async (paths: readonly string[]): Promise<void> => {
      // It ends with 1 where it has found something.
      await promisify(execFile)(squawkBinary(), ['--reporter', 'json', ...paths], {
        cwd: '/',
        maxBuffer: 1 << 26,
      }).catch((error: { code?: unknown }) => {
        if (error.code !== 1) throw error;
      });
    };
    const ms = await inTurns(
      {
        ours: async () => {
          if ((await lintFiles(files)).length === 0) throw new Error('the linter has found nothing');
        },
        one: () => lintFiles(files, { only: new Set([files.at(-1)?.path ?? '']) }),
        together: () => squawk(files.map(({ path }) => path)),
        each: async () => {
          for (const { path } of files.slice(0, alone)) await squawk([path]);
        },
      },
      { rounds: 3 },
    );
    const row = (name: string, value: number, against: string, other: number, goal?: string): BenchRow => ({
      name,
      value,
      unit: 'ms',
      against,
      ratio: value / other,
      ...(goal === undefined ? {} : { goal }),
    });
    const a = ms('ours') / count;
    return [
      row('linter, a file of a folder of 100', a, 'squawk, all of them in one process', ms('together') / count),
      row('linter, a file of a folder of 100', a, 'squawk, a process a file', ms('each') / alone, 'ratio <= 0.5'),
      row('linter, one file, 99 read for what they say of tables', ms('one'), 'squawk, one file', ms('each') / alone),
    ];
  });
}
