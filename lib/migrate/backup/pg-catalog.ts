import { createHash } from 'node:crypto';

/** What a database holds, in SQL that reads the same to psql and to our own client: text columns, no search path. */

/**
 * The tables of a database that are its own: not an extension's, not temporary, and not the history of migrations, which is never taken
 * back. Backup, restore and verification all go by it.
 */
export function ownTables(): string {
  return `SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ${isUserSchema('n')} AND NOT ${isKept('c.oid')}
      AND NOT ${isOfExtension("'pg_catalog.pg_class'", 'c.oid')}`;
}

export const isUserSchema = (alias: string): string =>
  `${alias}.nspname <> 'information_schema' AND ${alias}.nspname !~ '^pg_'`;

const isOfExtension = (catalog: string, oid: string): string =>
  `EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = ${catalog}::pg_catalog.regclass AND e.objid = ${oid} AND e.deptype = 'e')`;

/** The history of migrations, in whichever schema: its own words are in lib/migrate/history-postgres.ts. */
export const keptTable = 'vecferry_migrations';
export const keptFunction = 'vecferry_migrations_is_append_only';
const isKept = (oid: string): string =>
  `EXISTS (SELECT FROM pg_catalog.pg_class k WHERE k.oid = ${oid} AND k.relname = '${keptTable}')`;

/** `schema.table` of each, quoted. */
export function tableNames(): string {
  return `SELECT pg_catalog.format('%I.%I', nspname, relname) AS name, relkind::text AS kind FROM (${ownTables()}) t ORDER BY 1`;
}

/**
 * A line for everything a database has: columns, constraints, valid indexes, views, functions, triggers, types, policies. Invalid indexes
 * are left out as pg_dump does. Column numbers are not in it: a column that was dropped leaves a gap that a restore closes.
 */
export function catalogLines(): string {
  const own = `own AS (${ownTables()})`;
  const name = (schema: string, rel: string): string => `pg_catalog.format('%I.%I', ${schema}, ${rel})`;
  const parts = [
    `SELECT 'column ' || ${name('o.nspname', 'o.relname')} || '.' || a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || a.attidentity::text || a.attgenerated::text
       || coalesce(' default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
     FROM own o JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum`,
    `SELECT 'constraint ' || ${name('o.nspname', 'o.relname')} || ' ' || c.conname || ' ' || pg_catalog.pg_get_constraintdef(c.oid)
     FROM own o JOIN pg_catalog.pg_constraint c ON c.conrelid = o.oid`,
    `SELECT 'index ' || pg_catalog.pg_get_indexdef(i.indexrelid) FROM own o JOIN pg_catalog.pg_index i ON i.indrelid = o.oid WHERE i.indisvalid`,
    `SELECT 'trigger ' || pg_catalog.pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text FROM own o JOIN pg_catalog.pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal`,
    `SELECT 'view ' || ${name('n.nspname', 'c.relname')} || ' ' || pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('v', 'm') AND ${isUserSchema('n')} AND NOT ${isOfExtension("'pg_catalog.pg_class'", 'c.oid')}`,
    `SELECT 'function ' || ${name('n.nspname', 'p.proname')} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ') ' || pg_catalog.md5(p.prosrc) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
     WHERE ${isUserSchema('n')} AND NOT ${isOfExtension("'pg_catalog.pg_proc'", 'p.oid')} AND NOT ${isForKept('p.oid')}`,
    `SELECT 'type ' || ${name('n.nspname', 't.typname')} || ' ' || t.typtype::text || coalesce((SELECT pg_catalog.string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), '') FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
     WHERE t.typtype IN ('e', 'd') AND ${isUserSchema('n')} AND NOT ${isOfExtension("'pg_catalog.pg_type'", 't.oid')}`,
    `SELECT 'policy ' || ${name('o.nspname', 'o.relname')} || ' ' || p.polname || ' ' || coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') FROM own o JOIN pg_catalog.pg_policy p ON p.polrelid = o.oid`,
  ];
  return `WITH ${own} SELECT pg_catalog.replace(line, E'\\n', ' ') AS line FROM (${parts.join('\nUNION ALL ')}) t(line) ORDER BY line COLLATE "C"`;
}

export function hashLines(lines: readonly string[]): string {
  return createHash('sha256').update(lines.join('\n')).digest('hex');
}

/** Functions that the triggers of kept tables call. */
const isForKept = (oid: string): string =>
  `EXISTS (SELECT FROM pg_catalog.pg_proc f WHERE f.oid = ${oid} AND f.proname = '${keptFunction}')`;

/** Rows of a table, its children's not counted twice. */
export function countRows(table: string): string {
  return `SELECT count(*)::text AS rows FROM ONLY ${table}`;
}

/**
 * Schemas that stay while a database is emptied: `public`, and those that hold what is kept or an extension's. All others go whole.
 */
export function stayingSchemas(): string {
  return `SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE ${isUserSchema('n')} AND (n.nspname = 'public'
    OR EXISTS (SELECT FROM pg_catalog.pg_extension x WHERE x.extnamespace = n.oid)
    OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND ${isKept('c.oid')})
    OR EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_depend e ON e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e'
      WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = n.oid)) ORDER BY 1`;
}

/**
 * Drops everything that a dump would bring, and what was made since: a dump's own DROP statements know nothing of that. Extensions stay,
 * since making them again needs rights that few have. Tables come first, and take their indexes, sequences and triggers along.
 */
export function dropEverything(): string {
  return `DO $vecferry$
DECLARE command text; commands text[];
BEGIN
  SELECT pg_catalog.array_agg(pg_catalog.format('DROP PUBLICATION %I', pubname)) INTO commands FROM pg_catalog.pg_publication;
  FOREACH command IN ARRAY coalesce(commands, '{}') LOOP EXECUTE command; END LOOP;
  SELECT pg_catalog.array_agg(pg_catalog.format('DROP EVENT TRIGGER %I', evtname)) INTO commands FROM pg_catalog.pg_event_trigger t
    WHERE NOT ${isOfExtension("'pg_catalog.pg_event_trigger'", 't.oid')};
  FOREACH command IN ARRAY coalesce(commands, '{}') LOOP EXECUTE command; END LOOP;
  SELECT pg_catalog.array_agg(pg_catalog.format('DROP SCHEMA %I CASCADE', n.nspname)) INTO commands FROM pg_catalog.pg_namespace n
    WHERE ${isUserSchema('n')} AND n.nspname NOT IN (${stayingSchemas()});
  FOREACH command IN ARRAY coalesce(commands, '{}') LOOP EXECUTE command; END LOOP;
  SELECT pg_catalog.array_agg(pg_catalog.format('DROP %s IF EXISTS %s CASCADE',
      CASE i.type WHEN 'statistics object' THEN 'statistics' WHEN 'composite type' THEN 'type' ELSE i.type END, i.identity)
      ORDER BY d.classid <> 'pg_catalog.pg_class'::pg_catalog.regclass, coalesce(c.relkind NOT IN ('r', 'p'), true)) INTO commands
    FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_namespace n ON n.oid = d.refobjid AND ${isUserSchema('n')}
    LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
    CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.deptype = 'n' AND d.objsubid = 0
      AND d.classid NOT IN ('pg_catalog.pg_extension'::pg_catalog.regclass, 'pg_catalog.pg_default_acl'::pg_catalog.regclass)
      AND NOT ${isOfExtension('d.classid', 'd.objid')}
      AND NOT (c.oid IS NOT NULL AND ${isKept('c.oid')})
      AND NOT (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND ${isForKept('d.objid')})
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend s WHERE c.relkind = 'S' AND s.classid = d.classid AND s.objid = d.objid
        AND s.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND ${isKept('s.refobjid')});
  FOREACH command IN ARRAY coalesce(commands, '{}') LOOP EXECUTE command; END LOOP;
  PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;
END $vecferry$;`;
}
