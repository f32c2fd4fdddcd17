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

export const isOfExtension = (catalog: string, oid: string): string =>
  `EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = ${catalog}::pg_catalog.regclass AND e.objid = ${oid} AND e.deptype = 'e')`;

/** The history of migrations and its end, in whichever schema: its own words are in lib/migrate/history-postgres.ts. */
export const keptTables = ['vecferry_migrations', 'vecferry_migrations_head'];
export const keptFunction = 'vecferry_migrations_is_append_only';
export const isKept = (oid: string): string =>
  `EXISTS (SELECT FROM pg_catalog.pg_class k WHERE k.oid = ${oid} AND k.relname IN (${keptTables.map((table) => `'${table}'`).join(', ')}))`;

/** Selects `name`: `schema.table` of each, quoted. */
export function tableNames(): string {
  return `SELECT pg_catalog.format('%I.%I', nspname, relname) AS name FROM (${ownTables()}) t ORDER BY 1`;
}

/** Functions that the triggers of kept tables call. */
export const isForKept = (oid: string): string =>
  `EXISTS (SELECT FROM pg_catalog.pg_proc f WHERE f.oid = ${oid} AND f.proname = '${keptFunction}')`;

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
 * What ALTER DEFAULT PRIVILEGES has given away would be given of the restored tables too, also of those that were there before it. The
 * dump brings it back at its end. Without a schema a role's own rights, and PUBLIC's of functions and types, are what there is by default.
 */
function forgetDefaultGrants(): string {
  const kinds = `CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END`;
  const change = `pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s ', r.rolname, coalesce(' IN SCHEMA ' || pg_catalog.quote_ident(n.nspname), ''))`;
  const from = `FROM pg_catalog.pg_default_acl d JOIN pg_catalog.pg_roles r ON r.oid = d.defaclrole AND pg_catalog.pg_has_role(r.oid, 'MEMBER')
      LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace`;
  return `SELECT ${change} || pg_catalog.format('REVOKE ALL ON %s FROM %s', ${kinds}, coalesce(pg_catalog.quote_ident(g.rolname), 'PUBLIC'))
      ${from} CROSS JOIN LATERAL (SELECT DISTINCT grantee FROM pg_catalog.aclexplode(d.defaclacl)) x LEFT JOIN pg_catalog.pg_roles g ON g.oid = x.grantee
    UNION ALL SELECT ${change} || pg_catalog.format('GRANT ALL ON %s TO %s', ${kinds}, coalesce(pg_catalog.quote_ident(g.rolname), 'PUBLIC'))
      ${from} CROSS JOIN LATERAL (SELECT DISTINCT grantee FROM pg_catalog.aclexplode(pg_catalog.acldefault(
        CASE d.defaclobjtype WHEN 'S' THEN 's' WHEN 'r' THEN 'r' ELSE d.defaclobjtype END, d.defaclrole))) x LEFT JOIN pg_catalog.pg_roles g ON g.oid = x.grantee
      WHERE d.defaclnamespace = 0`;
}

/**
 * Drops everything that a dump would bring, and what was made since: a dump's own DROP statements know nothing of that. Extensions stay,
 * since making them again needs rights that few have. Tables come first, and take their indexes, sequences and triggers along.
 */
export function dropEverything(): string {
  return `DO $vecferry$
DECLARE command text; commands text[];
BEGIN
  ${carriedOut("pg_catalog.format('DROP PUBLICATION %I', pubname)", 'FROM pg_catalog.pg_publication')}
  ${carriedOut("pg_catalog.format('DROP EVENT TRIGGER %I', evtname)", `FROM pg_catalog.pg_event_trigger t WHERE NOT ${isOfExtension("'pg_catalog.pg_event_trigger'", 't.oid')}`)}
  ${carriedOut("pg_catalog.format('DROP SERVER %I CASCADE', srvname)", `FROM pg_catalog.pg_foreign_server s WHERE NOT ${isOfExtension("'pg_catalog.pg_foreign_server'", 's.oid')}`)}
  ${carriedOut("pg_catalog.format('DROP FOREIGN DATA WRAPPER %I CASCADE', fdwname)", `FROM pg_catalog.pg_foreign_data_wrapper w WHERE NOT ${isOfExtension("'pg_catalog.pg_foreign_data_wrapper'", 'w.oid')}`)}
  ${carriedOut('f.sql', `FROM (${forgetDefaultGrants()}) f(sql)`)}
  ${carriedOut("pg_catalog.format('DROP SCHEMA %I CASCADE', n.nspname)", `FROM pg_catalog.pg_namespace n WHERE ${isUserSchema('n')} AND n.nspname NOT IN (${stayingSchemas()})`)}
  ${carriedOut(
    `pg_catalog.format('DROP %s IF EXISTS %s CASCADE',
      CASE i.type WHEN 'statistics object' THEN 'statistics' WHEN 'composite type' THEN 'type' ELSE i.type END, i.identity)
      ORDER BY d.classid <> 'pg_catalog.pg_class'::pg_catalog.regclass, coalesce(c.relkind NOT IN ('r', 'p'), true)`,
    `FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_namespace n ON n.oid = d.refobjid AND ${isUserSchema('n')}
    LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
    CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) i
    WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.deptype = 'n' AND d.objsubid = 0
      AND d.classid NOT IN ('pg_catalog.pg_extension'::pg_catalog.regclass, 'pg_catalog.pg_default_acl'::pg_catalog.regclass)
      AND NOT ${isOfExtension('d.classid', 'd.objid')}
      AND NOT (c.oid IS NOT NULL AND ${isKept('c.oid')})
      AND NOT (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND ${isForKept('d.objid')})
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend s WHERE c.relkind = 'S' AND s.classid = d.classid AND s.objid = d.objid
        AND s.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND ${isKept('s.refobjid')})`,
  )}
  PERFORM pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;
END $vecferry$;`;
}

/** PL/pgSQL that carries out each statement which `text` makes of the rows of `from`. */
function carriedOut(text: string, from: string): string {
  return `SELECT pg_catalog.array_agg(${text}) INTO commands ${from};
  FOREACH command IN ARRAY coalesce(commands, '{}') LOOP EXECUTE command; END LOOP;`;
}
