import { createHash } from 'node:crypto';
import { collectionDown, collectionUp } from '../../../lib/migrate/collection/collection.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore, MigrationFile, Step } from '../../../lib/migrate/port.ts';

/** Collection files without a runner: a test says what the history would. */

export const noCopy = async (): Promise<never> => {
  throw new Error('this migration was not to copy anything');
};

export function makeConfig(store: Partial<MigratedStore> & Pick<MigratedStore, 'store' | 'connection'>): MigrateConfig {
  const made: MigratedStore = { name: 'search', options: {}, ...store };
  return { directory: '/nowhere', stores: new Map([[made.name, made]]), sql: undefined, history: 'files' };
}

export function makeFile(number: number, content: unknown, path?: string): MigrationFile {
  const text = typeof content === 'string' ? content : JSON.stringify(content);
  const name = `${String(number).padStart(3, '0')}_search`;
  const checksum = createHash('sha256').update(text).digest('hex');
  return { number, name, path: path ?? `migrations/${name}.yaml`, kind: 'collection', text, checksum };
}

export function makeEntry(file: MigrationFile, rollback: string | undefined): HistoryEntry {
  const { number, name, checksum } = file;
  const at = '2026-11-21T20:00:00.000Z';
  return {
    seq: 1,
    number,
    name,
    checksum,
    action: 'up',
    at,
    by: 'test',
    milliseconds: 1,
    ...(rollback !== undefined && { rollback }),
  };
}

export interface Applied {
  readonly step: Step;
  readonly entry: HistoryEntry;
}

export interface Parts {
  readonly config: MigrateConfig;
  readonly copy?: (event: unknown, run: string) => Promise<void>;
  readonly rollBack?: (run: string) => Promise<void>;
  readonly begun?: readonly string[];
}

export async function up(file: MigrationFile, { copy = noCopy, ...parts }: Parts): Promise<Applied> {
  const step = await collectionUp({ file, copy, ...parts });
  let kept: string | undefined;
  await step.run(async (rollback) => {
    kept = rollback;
  });
  return { step, entry: makeEntry(file, kept) };
}

export async function down(
  applied: HistoryEntry,
  file: MigrationFile,
  { copy = noCopy, ...parts }: Parts,
): Promise<Step> {
  const step = await collectionDown({ file, copy, applied, ...parts });
  await step.run(async () => undefined);
  return step;
}
