import { z } from 'zod';
import type { Session } from './connect.ts';

/**
 * Search settings that PostgreSQL keeps: for all sessions of a database, or for those of one role in it (manual, ALTER
 * DATABASE, ALTER ROLE). Either reaches other tables' searches too, so it is done only where the endpoint's options say so.
 */
export const keepPlaceSchema = z.string().regex(/^(database|role:.+)$/, 'is "database" or "role:NAME"');

/** Sources of pg_settings that go before what is kept in a database (GucSource in src/include/utils/guc.h). */
const beforeDatabase = ['user', 'database user', 'client', 'session'];
/** What the connection itself says goes before everything. Another role's connection is not ours to look at. */
const beforeRole = ['client', 'session'];

export const roleOf = (place: string): string | undefined =>
  place === 'database' ? undefined : place.slice('role:'.length);

/** True where a setting with this source in pg_settings hides one that is kept in `place`. */
export function isHidden(place: string, source: string): boolean {
  return (roleOf(place) === undefined ? beforeDatabase : beforeRole).includes(source);
}

/**
 * What is kept in `place`, by name. Searches take it from here, since a session that was opened before does not know of it,
 * nor one of another role.
 */
export async function readKept(session: Session, place: string): Promise<ReadonlyMap<string, string>> {
  const rows = await session.rows(
    `SELECT split_part(s.setting, '=', 1) AS name, substr(s.setting, strpos(s.setting, '=') + 1) AS value
       FROM pg_db_role_setting d, unnest(d.setconfig) AS s(setting)
      WHERE d.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND d.setrole = CASE WHEN $1::text IS NULL THEN 0 ELSE (SELECT oid FROM pg_roles WHERE rolname = $1::text) END
        AND (s.setting LIKE 'hnsw.%' OR s.setting LIKE 'ivfflat.%')`,
    [roleOf(place) ?? null],
  );
  return new Map(rows.map(({ name, value }) => [name ?? '', value ?? '']));
}
