import { isForKept, isKept, isOfExtension, isUserSchema, ownTables } from './pg-catalog.ts';

/**
 * What a database is, a line each: everything in its catalog, the number of rows of each table and a hash of what they hold. What stood
 * when a backup was made is held against what stands after it was restored, before that is committed. All of it is SQL that reads the
 * same to psql and to our own client.
 */

/** Values as text that depends on nobody's settings; for one transaction. */
export const stateSettings = `SET LOCAL search_path = ''; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';
  SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL quote_all_identifiers = off;`;

/** Begin of lines that pg_restore --no-owner leaves out. */
export const isOfRoles = (line: string): boolean => /^(owner|grant) /.test(line);

/**
 * Selects `line`s: columns, constraints, valid indexes, views, rules, functions, triggers, types, sequences, policies, owners, grants.
 * Invalid indexes are left out as pg_dump does. Column numbers are not in it: a dropped column leaves a gap that a restore closes. Nor are
 * the foreign keys that PostgreSQL itself adds for partitions, which it numbers anew.
 */
export function catalogLines(): string {
  const name = (schema: string, rel: string): string => `pg_catalog.format('%I.%I', ${schema}, ${rel})`;
  const table = name('o.nspname', 'o.relname');
  const related = name('n.nspname', 'c.relname');
  const ownOf = (catalog: string, alias: string, schema: string): string =>
    `FROM pg_catalog.${catalog} ${alias} JOIN pg_catalog.pg_namespace n ON n.oid = ${alias}.${schema}
     WHERE ${isUserSchema('n')} AND NOT ${isOfExtension(`'pg_catalog.${catalog}'`, `${alias}.oid`)}`;
  const granted = (acl: string, owner: string, kind: string): string =>
    `(SELECT pg_catalog.string_agg(pg_catalog.format('%s %s%s', coalesce(pg_catalog.pg_get_userbyid(nullif(g.grantee, 0)), 'PUBLIC'), g.privilege_type, CASE WHEN g.is_grantable THEN ' further' ELSE '' END), ', '
       ORDER BY pg_catalog.pg_get_userbyid(nullif(g.grantee, 0)) COLLATE "C", g.privilege_type COLLATE "C") FROM pg_catalog.aclexplode(coalesce(${acl}, pg_catalog.acldefault('${kind}', ${owner}))) g)`;
  const parts = [
    `SELECT 'column ' || ${table} || '.' || a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || a.attidentity::text || a.attgenerated::text || a.attstorage::text
       || coalesce(' default ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '')
     FROM own o JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
     LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum`,
    `SELECT 'table ' || ${table} || ' ' || c.relpersistence::text || CASE WHEN c.relrowsecurity THEN ' row security' ELSE '' END || CASE WHEN c.relforcerowsecurity THEN ' forced' ELSE '' END
       || coalesce(' with ' || pg_catalog.array_to_string(c.reloptions, ','), '') || coalesce(' partition ' || pg_catalog.pg_get_expr(c.relpartbound, c.oid), '')
       || coalesce(' by ' || pg_catalog.pg_get_partkeydef(c.oid), '')
       || coalesce((SELECT ' of ' || pg_catalog.string_agg(i.inhparent::pg_catalog.regclass::text, ',' ORDER BY i.inhseqno) FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), '')
     FROM own o JOIN pg_catalog.pg_class c ON c.oid = o.oid`,
    `SELECT 'constraint ' || ${table} || ' ' || c.conname || ' ' || pg_catalog.pg_get_constraintdef(c.oid)
     FROM own o JOIN pg_catalog.pg_constraint c ON c.conrelid = o.oid AND NOT (c.contype = 'f' AND c.conparentid <> 0)`,
    `SELECT 'index ' || pg_catalog.pg_get_indexdef(i.indexrelid) FROM own o JOIN pg_catalog.pg_index i ON i.indrelid = o.oid WHERE i.indisvalid`,
    `SELECT 'trigger ' || pg_catalog.pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text FROM own o JOIN pg_catalog.pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal`,
    `SELECT 'view ' || ${related} || ' ' || c.relkind::text || ' ' || pg_catalog.pg_get_viewdef(c.oid) ${ownOf('pg_class', 'c', 'relnamespace')} AND c.relkind IN ('v', 'm')`,
    `SELECT 'rule ' || pg_catalog.pg_get_ruledef(r.oid) FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE r.rulename <> '_RETURN' AND ${isUserSchema('n')} AND NOT ${isOfExtension("'pg_catalog.pg_class'", 'c.oid')}`,
    `SELECT 'sequence ' || ${related} || ' ' || pg_catalog.format('%s %s %s %s %s %s', pg_catalog.format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcycle)
     ${ownOf('pg_class', 'c', 'relnamespace').replace(' WHERE', ' JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid WHERE')} AND NOT ${isKept('c.oid')}`,
    `SELECT 'function ' || p.prokind::text || ' ' || ${name('n.nspname', 'p.proname')} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ') '
       || pg_catalog.md5(CASE WHEN p.prokind = 'a' THEN p.prosrc ELSE pg_catalog.pg_get_functiondef(p.oid) END) ${ownOf('pg_proc', 'p', 'pronamespace')} AND NOT ${isForKept('p.oid')}`,
    `SELECT 'type ' || ${name('n.nspname', 't.typname')} || ' ' || t.typtype::text || coalesce((SELECT ' ' || pg_catalog.string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), '')
       || coalesce((SELECT ' ' || pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), ',' ORDER BY k.conname) FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid), '')
       || coalesce((SELECT ' ' || pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), ',' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind = 'c' WHERE a.attrelid = t.typrelid AND NOT a.attisdropped), '')
     ${ownOf('pg_type', 't', 'typnamespace')} AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND (SELECT relkind FROM pg_catalog.pg_class WHERE oid = t.typrelid) = 'c')`,
    `SELECT 'policy ' || ${table} || ' ' || p.polname || ' ' || p.polcmd::text || p.polpermissive::text || ' ' || coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') || ' ' || coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '')
     FROM own o JOIN pg_catalog.pg_policy p ON p.polrelid = o.oid`,
    `SELECT 'owner ' || ${related} || ' ' || pg_catalog.pg_get_userbyid(c.relowner) ${ownOf('pg_class', 'c', 'relnamespace')} AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT ${isKept('c.oid')}`,
    `SELECT 'grant ' || ${related} || ' ' || ${granted('c.relacl', 'c.relowner', 'r')} ${ownOf('pg_class', 'c', 'relnamespace')} AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT ${isKept('c.oid')}`,
    `SELECT 'grant ' || ${related} || '.' || a.attname || ' ' || ${granted('a.attacl', 'c.relowner', 'c')} ${ownOf('pg_class', 'c', 'relnamespace').replace(' WHERE', ' JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL AND NOT a.attisdropped WHERE')}
       AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT ${isKept('c.oid')}`,
    `SELECT 'grant ' || ${name('n.nspname', 'p.proname')} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ') ' || ${granted('p.proacl', 'p.proowner', 'f')} ${ownOf('pg_proc', 'p', 'pronamespace')} AND NOT ${isForKept('p.oid')}`,
    `SELECT 'large object ' || oid::text || ' ' || pg_catalog.md5(pg_catalog.lo_get(oid)) FROM pg_catalog.pg_largeobject_metadata`,
  ];
  return `WITH own AS (${ownTables()}) SELECT pg_catalog.regexp_replace(line, E'[\\\\n\\\\r]+', ' ', 'g') AS line FROM (${parts.join('\nUNION ALL ')}) t(line)`;
}

/**
 * Selects `sql`, one statement a table, which gives its `name`, `rows` and `contents`: the sum of a hash of each row, which no order changes.
 * Generated columns are left out: a dump has them made again. Rows of children are counted with those.
 */
export function contentStatements(): string {
  return `SELECT pg_catalog.format($$SELECT %L AS name, pg_catalog.count(*)::text AS rows, coalesce(pg_catalog.sum(pg_catalog.hashtextextended(ROW(%s)::text, 0)::numeric), 0)::text AS contents FROM ONLY %I.%I t$$,
      pg_catalog.format('%I.%I', t.nspname, t.relname),
      (SELECT pg_catalog.string_agg(pg_catalog.format('t.%I', a.attname), ', ' ORDER BY a.attname) FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
      t.nspname, t.relname) AS sql FROM (${ownTables()}) t ORDER BY 1`;
}

/** A line of what such a statement gave. */
export const rowsLine = `pg_catalog.format('rows %s: %s, contents %s', name, rows, contents)`;

/** What differs, for people: `rows public.articles: 400, contents 7; the backup has rows public.articles: 500, contents 9`. */
export function stateDifferences(held: readonly string[], there: readonly string[]): readonly string[] {
  const [before, now] = [new Set(held), new Set(there)];
  return [
    ...held.flatMap((line) => (now.has(line) ? [] : [`missing: ${line}`])),
    ...there.flatMap((line) => (before.has(line) ? [] : [`not in the backup: ${line}`])),
  ];
}
