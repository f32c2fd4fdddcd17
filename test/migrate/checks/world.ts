import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { type CheckReport, checkStores } from '../../../lib/migrate/checks/check.ts';
import type { CheckResult } from '../../../lib/migrate/checks/result.ts';
import { checksumOf } from '../../../lib/migrate/files.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore, MigrationFile } from '../../../lib/migrate/port.ts';
import { makeDatabase } from '../../servers/database.ts';

/** A database as its migrations made it, to be broken by each test, and brought back by `reset`. */
export interface CheckWorld {
  readonly url: string;
  readonly sql: pg.Client;
  readonly directory: string;
  check(more?: {
    readonly expect?: string;
    readonly timeoutMs?: number;
    /** Applied after the steps. */
    readonly others?: readonly MigrationFile[];
  }): Promise<CheckReport>;
  close(): Promise<void>;
}

export const sqlFile = (number: number, up: string): MigrationFile => {
  const text = `-- migrate:up\n${up}\n-- migrate:down irreversible\n`;
  const name = `${String(number).padStart(3, '0')}_step`;
  return { number, name, path: `${name}.sql`, kind: 'sql', text, checksum: checksumOf(text) };
};

export const collectionFile = (number: number, text: string): MigrationFile => {
  const name = `${String(number).padStart(3, '0')}_collection`;
  return { number, name, path: `${name}.yaml`, kind: 'collection', text, checksum: checksumOf(text) };
};

export const applied = ({ number, name, checksum }: MigrationFile, seq: number): HistoryEntry => ({
  seq,
  number,
  name,
  checksum,
  action: 'up',
  at: '2026-11-21T00:00:00.000Z',
  by: 'test',
  milliseconds: 1,
});

export async function makeCheckWorld(
  name: string,
  steps: readonly string[],
  others: readonly MigratedStore[] = [],
): Promise<CheckWorld> {
  const { url, drop } = await makeDatabase(name);
  const sql = new pg.Client(url);
  await sql.connect();
  for (const step of steps) await sql.query(step);
  const store: MigratedStore = { name: 'db', store: 'pgvector', connection: { url }, options: {} };
  const directory = await mkdtemp(join(tmpdir(), `${name}-`));
  const stores = new Map([store, ...others].map((each) => [each.name, each]));
  const config: MigrateConfig = { directory, stores, sql: 'db', history: 'db' };
  const files = steps.map((step, at) => sqlFile(at + 1, step));
  return {
    url,
    sql,
    directory,
    check: async ({ expect = 'stores: {}', timeoutMs, others: more = [] } = {}) => {
      await writeFile(join(directory, 'expect.yaml'), expect);
      const all = [...files, ...more];
      const entries = all.map((file, at) => applied(file, at + 1));
      return await checkStores({ config, files: all, entries, ...(timeoutMs !== undefined && { timeoutMs }) });
    },
    close: async () => {
      await sql.end();
      await drop();
    },
  };
}

/** Everything that is not ok, as `what: detail`. */
export function faultsOf(report: CheckReport): readonly string[] {
  return resultsOf(report)
    .filter(({ verdict }) => verdict !== 'ok')
    .map(({ what, verdict, detail }) => `${verdict} ${what}: ${detail}`);
}

export const resultsOf = (report: CheckReport): readonly CheckResult[] =>
  report.stores.flatMap(({ results }) => results);
