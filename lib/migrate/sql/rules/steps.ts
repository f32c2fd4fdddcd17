import type { RangeVar } from 'libpg-query';
import { madeName, nameOf, quote } from './names.ts';

/**
 * Expand, backfill, contract: the words that safe steps begin with. After `deploy:` stands what people do; after the others one
 * statement to copy, each a migration of its own, with the file's transaction ended between any two: a lock is held until then.
 */

/** Pages of one transaction, 8 KB each: 22,600 rows of two integers, locked for 54 ms on a busy machine of 2 cores. */
const batchPages = 100;

/**
 * `change` (UPDATE … or DELETE … up to its WHERE) where `condition` holds, some pages a transaction, until a pass finds nothing: rows are
 * locked for milliseconds, and what is done stays done when it is ended half way. By ranges of ctid, which every table has and which is
 * read as a TID range scan (PostgreSQL 14 and later): a LIMIT would search the table from its front for each batch. Another pass, since an
 * update of somebody else may have moved a row to a page that was read already. A DO block that commits runs outside our transaction. A
 * partitioned table has no pages: it is done partition by partition.
 */
function inBatches(relation: RangeVar, change: string, condition: string): string {
  const size = `pg_relation_size('${nameOf(relation).replaceAll("'", "''")}')`;
  const range = `ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + ${batchPages})::tid`;
  const each = `${change} WHERE ${range} AND (${condition}); found_some := found_some OR FOUND; COMMIT; page := page + ${batchPages};`;
  const pass = `page := 0; found_some := false; WHILE page * current_setting('block_size')::bigint < ${size} LOOP ${each} END LOOP;`;
  return `DO $$ DECLARE page bigint; found_some boolean; BEGIN LOOP ${pass} EXIT WHEN NOT found_some; END LOOP; END $$;`;
}

/** Sets `assignment` in each row where `condition` holds, which it must make false. */
export function backfill(relation: RangeVar, assignment: string, condition: string): string {
  return `backfill: ${inBatches(relation, `UPDATE ${nameOf(relation)} SET ${assignment}`, condition)}`;
}

/** Deletes each row where `condition` holds. */
export function clear(relation: RangeVar, condition: string): string {
  return `contract: ${inBatches(relation, `DELETE FROM ${nameOf(relation)}`, condition)}`;
}

/**
 * Makes a column NOT NULL without a scan under ACCESS EXCLUSIVE: the constraint is added unchecked, then checked under SHARE UPDATE
 * EXCLUSIVE, which lets reads and writes pass. NOT NULL itself may be NOT VALID since 18 (its release notes, E.1.3.4); before, a CHECK
 * stands in for it, which SET NOT NULL takes for a proof since 12 (ALTER TABLE's manual).
 */
export function notNullSteps(relation: RangeVar, column: string, postgres: number): readonly string[] {
  const table = nameOf(relation);
  const quoted = quote(column);
  const name = madeName(relation, column, 'not_null');
  if (postgres >= 18)
    return [
      `contract: ALTER TABLE ${table} ADD CONSTRAINT ${name} NOT NULL ${quoted} NOT VALID;`,
      `contract: ALTER TABLE ${table} VALIDATE CONSTRAINT ${name};`,
    ];
  return [
    `contract: ALTER TABLE ${table} ADD CONSTRAINT ${name} CHECK (${quoted} IS NOT NULL) NOT VALID;`,
    `contract: ALTER TABLE ${table} VALIDATE CONSTRAINT ${name};`,
    `contract: ALTER TABLE ${table} ALTER COLUMN ${quoted} SET NOT NULL;`,
    `contract: ALTER TABLE ${table} DROP CONSTRAINT ${name};`,
  ];
}

/** A new column beside the old one, kept the same by a trigger until nobody needs the old one. */
export function twinSteps(relation: RangeVar, from: string, to: string, type: string): readonly string[] {
  const table = nameOf(relation);
  const [old, made] = [quote(from), quote(to)];
  const keep = madeName(relation, to, 'kept');
  // An application writes the old name until it is deployed anew, and the new one from then on: what was written last is in both. The new
  // one has no default, so a value there was written; the old one may have, which would pass for a value.
  const body = `IF TG_OP = 'INSERT' THEN IF NEW.${made} IS NULL THEN NEW.${made} := NEW.${old}::${type}; ELSE NEW.${old} := NEW.${made}; END IF;`;
  const other = `ELSIF NEW.${made} IS DISTINCT FROM OLD.${made} THEN NEW.${old} := NEW.${made}; ELSE NEW.${made} := NEW.${old}::${type}; END IF; RETURN NEW;`;
  return [
    `expand: ALTER TABLE ${table} ADD COLUMN ${made} ${type};`,
    `expand: CREATE FUNCTION ${keep}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${body} ${other} END $$;`,
    `expand: CREATE TRIGGER ${keep} BEFORE INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION ${keep}();`,
    backfill(relation, `${made} = ${old}::${type}`, `${made} IS DISTINCT FROM ${old}::${type}`),
    `deploy: applications read and write ${made}, and no longer ${old}; then its indexes, constraints, NOT NULL and default are made anew on ${made}`,
    // At once: an INSERT between them would lack the old column where that is NOT NULL.
    `contract: DROP TRIGGER ${keep} ON ${table}; DROP FUNCTION ${keep}(); ALTER TABLE ${table} DROP COLUMN ${old};`,
  ];
}
