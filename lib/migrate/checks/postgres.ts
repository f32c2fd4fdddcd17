import { quoteName } from '../../stores/pgvector/names.ts';
import { isUserSchema, ownTables } from '../backup/pg-catalog.ts';
import type { Expected, ExpectedTable } from './derive.ts';
import { type Looking, look, ok, unchecked, wrong } from './look.ts';
import { checkRoutines, defaultFault } from './postgres-code.ts';
import type { CheckResult } from './result.ts';

/** What PostgreSQL's catalog says, held against what the migrations made and against what PostgreSQL itself calls whole. */

export async function checkCatalog(looking: Looking, expected: Expected): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const [name, table] of expected.tables) results.push(...(await checkTable(looking, name, table)));
  for (const [name, { from }] of expected.views)
    results.push(...(await checkRelation(looking, `view ${name}`, name, from, 'vm')));
  for (const [name, { from }] of expected.indexes)
    results.push(...(await checkRelation(looking, `index ${name}`, name, from, 'iI')));
  results.push(...(await checkRoutines(looking, expected.routines)));
  results.push(...(await checkIndexes(looking)));
  results.push(...(await checkConstraints(looking)));
  results.push(...(await checkTriggers(looking)));
  const mend = 'it cannot be read from its text; declare it in expect.yaml, and accept this there';
  results.push(...expected.unread.map((text) => unchecked(text, mend)));
  return results;
}

async function checkTable(looking: Looking, name: string, table: ExpectedTable): Promise<readonly CheckResult[]> {
  const what = `${name}: its columns`;
  return await look(looking, what, async (session) => {
    const columns = await session.rows(
      `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull::text AS notnull,
         pg_get_expr(d.adbin, d.adrelid) AS default, (a.attgenerated::text || a.attidentity::text) AS made
       FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
       WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p', 'f')`,
      [name],
    );
    if (columns.length === 0)
      return [
        wrong(
          `table ${name}`,
          `it is not there, and ${table.from} made it: somebody dropped or renamed it; restore a backup, or write a migration that says so`,
        ),
      ];
    const faults = columnFaults(name, table, columns);
    for (const found of columns) {
      const column = table.columns.get(found['name'] ?? '');
      const fault = column === undefined ? undefined : await defaultFault(session, name, column, found);
      if (fault !== undefined) faults.push(fault);
    }
    const constraints = await session.rows(
      'SELECT conname AS name FROM pg_constraint WHERE conrelid = to_regclass($1)',
      [name],
    );
    const held = new Set(constraints.map((each) => each['name']));
    for (const [constraint, { from }] of table.constraints)
      if (!held.has(constraint))
        faults.push(
          wrong(
            `${name}: constraint ${constraint}`,
            `it is not there, and ${from} made it; add it again in a migration`,
          ),
        );
    const made = `${table.columns.size} columns and ${table.constraints.size} named constraints are as migrations made them`;
    return faults.length > 0 ? faults : [ok(what, made)];
  });
}

function columnFaults(
  name: string,
  table: ExpectedTable,
  columns: readonly Readonly<Record<string, string | null>>[],
): CheckResult[] {
  const there = new Map(columns.map((column) => [column['name'] ?? '', column]));
  return [...table.columns].flatMap(([column, { type, nullable, from }]) => {
    const about = `${name}: column ${column}`;
    const found = there.get(column);
    if (found === undefined)
      return [wrong(about, `it is not there, and ${from} made it; add it again in a migration, or restore a backup`)];
    const faults: CheckResult[] = [];
    if (type !== undefined && !sameType(found['type'] ?? '', type))
      faults.push(wrong(about, `it is ${found['type']}, and ${from} made it ${type}; change one in a migration`));
    if (nullable === false && found['notnull'] !== 'true')
      faults.push(
        wrong(
          about,
          `it takes NULL, and ${from} made it NOT NULL; ALTER COLUMN ${quoteName(column)} SET NOT NULL in a migration`,
        ),
      );
    return faults;
  });
}

/** A type of an extension or an enum stands with its schema where that is not on the search path. */
const sameType = (found: string, expected: string): boolean => {
  const plain = found.replaceAll('"', '');
  return plain === expected || plain.slice(plain.lastIndexOf('.') + 1) === expected;
};

async function checkRelation(
  looking: Looking,
  what: string,
  name: string,
  from: string,
  kinds: string,
): Promise<readonly CheckResult[]> {
  return await look(looking, what, async (session) => {
    const rows = await session.rows('SELECT relkind::text AS kind FROM pg_class WHERE oid = to_regclass($1)', [name]);
    if (kinds.includes(rows[0]?.['kind'] ?? ' ')) return [ok(what, `made by ${from}`)];
    return [wrong(what, `it is not there, and ${from} made it; make it again in a migration, or restore a backup`)];
  });
}

const own = `(${ownTables()}) t`;

/** An index that is not valid is kept up to date and never read: a build that failed, CREATE INDEX CONCURRENTLY that was stopped. */
async function checkIndexes(looking: Looking): Promise<readonly CheckResult[]> {
  return await look(looking, 'indexes', async (session) => {
    const rows = await session.rows(
      `SELECT format('%I.%I', t.nspname, t.relname) AS table, i.indexrelid::regclass::text AS index, i.indisvalid::text AS valid,
         i.indisready::text AS ready, am.amname AS method, i.indisunique::text AS unique, pg_size_pretty(pg_relation_size(i.indexrelid)) AS size,
         EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)::text AS building,
         EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)::text AS constrains
       FROM ${own} JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
       ORDER BY 1, 2`,
    );
    return rows.map((row) => {
      const { table, index, valid, ready, method, unique, size, building, constrains } = row;
      const what = `${table}: index ${index} is valid`;
      if (building === 'true') return unchecked(what, 'it is being built; check again once that has ended');
      if (valid === 'true' && ready === 'true') return ok(what, `${method}, ${size}`);
      const again = `REINDEX INDEX CONCURRENTLY ${index}, which builds it beside itself; or DROP INDEX CONCURRENTLY ${index} if nothing needs it`;
      const lost = unique === 'true' || constrains === 'true' ? '; until then duplicates are let in' : '';
      return wrong(what, `it is not: its build failed or was stopped, and no search reads it${lost}. ${again}`);
    });
  });
}

async function checkConstraints(looking: Looking): Promise<readonly CheckResult[]> {
  return await look(looking, 'constraints', async (session) => {
    const rows = await session.rows(
      `SELECT format('%I.%I', t.nspname, t.relname) AS table, quote_ident(k.conname) AS name, pg_get_constraintdef(k.oid) AS def,
         k.convalidated::text AS valid, coalesce(to_jsonb(k) ->> 'conenforced', 'true') AS enforced
       FROM ${own} JOIN pg_constraint k ON k.conrelid = t.oid WHERE k.contype IN ('c', 'f', 'n') ORDER BY 1, 2`,
    );
    return rows.map(({ table, name, def, valid, enforced }) => {
      const what = `${table}: constraint ${name} is validated`;
      if (enforced !== 'true')
        return wrong(
          what,
          `it is NOT ENFORCED (${def}), so it holds nothing: ALTER TABLE ${table} ALTER CONSTRAINT ${name} ENFORCED`,
        );
      if (valid === 'true') return ok(what, def ?? '');
      return wrong(
        what,
        `it is NOT VALID: rows from before it may break it. Mend those, then ALTER TABLE ${table} VALIDATE CONSTRAINT ${name}, which lets others read and write`,
      );
    });
  });
}

/** Triggers of foreign keys too: DISABLE TRIGGER ALL for a load, and never enabled again. */
async function checkTriggers(looking: Looking): Promise<readonly CheckResult[]> {
  const what = 'triggers are enabled';
  return await look(looking, what, async (session) => {
    const rows = await session.rows(
      `SELECT format('%I.%I', t.nspname, t.relname) AS table, count(*)::text AS count,
         string_agg(DISTINCT coalesce('foreign key ' || quote_ident(k.conname), quote_ident(g.tgname)), ', ') AS names
       FROM ${own} JOIN pg_trigger g ON g.tgrelid = t.oid LEFT JOIN pg_constraint k ON k.oid = g.tgconstraint
       WHERE g.tgenabled = 'D' GROUP BY 1 ORDER BY 1`,
    );
    if (rows.length === 0) return [ok(what)];
    return rows.map(({ table, names }) =>
      wrong(
        `${table}: ${what}`,
        `${names} are switched off, so what they hold is not held: ALTER TABLE ${table} ENABLE TRIGGER ALL, and look at the orphans below`,
      ),
    );
  });
}

/** Extensions whose types a database uses and that were left behind by an update of the server's packages. */
export async function checkExtensions(looking: Looking): Promise<readonly CheckResult[]> {
  return await look(looking, 'extensions', async (session) => {
    const rows = await session.rows(
      `SELECT e.extname AS name, e.extversion AS version, a.default_version AS newest FROM pg_extension e
       JOIN pg_namespace n ON n.oid = e.extnamespace LEFT JOIN pg_available_extensions a ON a.name = e.extname
       WHERE ${isUserSchema('n')} ORDER BY 1`,
    );
    return rows.map(({ name, version, newest }) => {
      const what = `extension ${name} has its files`;
      if (newest === null)
        return wrong(what, `its files are not on the server (${version} is installed): install its package`);
      return ok(
        what,
        newest === version ? `${version}` : `${version}; the server has ${newest}: ALTER EXTENSION ${name} UPDATE`,
      );
    });
  });
}
