import { Incompatible } from '../../errors.ts';
import type { CollectionSchema, VectorSpec } from '../../schema.ts';
import { markText } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { type Placed, type PlacedLayout, textDiffers } from './in-place.ts';
import { hasColumn, onlyWhere, withTableLocked } from './in-place-lock.ts';
import { quoteName, quoteText, type TableName } from './names.ts';
import { tableOf } from './read.ts';

/** Adds the run's column, and the trigger by which no vector of an older text survives in it. */

export type ReadPlaced = (session: Session) => Promise<PlacedLayout>;

/** @throws Incompatible when the column is there with other dimensions, or the one to fill is not. */
export async function preparePlace(
  database: Database,
  name: TableName,
  schema: CollectionSchema,
  readPlaced: ReadPlaced,
): Promise<void> {
  const layout = await database.use(readPlaced);
  const { placed } = layout;
  const spec = specOf(schema, placed);
  requireSameSize(layout, spec);
  if (placed.state === 'fill' || placed.state === 'switched') return;
  if (placed.state === 'beside' && (await database.use(async (session) => await hasTrigger(session, layout)))) return;
  const storage = await database.use(async (session) => await storageOf(session, layout.oid, placed.column));
  const statements = `${addColumnSql(layout, spec, storage)}; ${triggerSql(layout, 'stale', placed.names.made)}`;
  await withTableLocked(database, name, onlyWhere(`NOT ${hasColumn(layout.oid, placed.names.backup)}`, statements));
}

export function specOf(schema: CollectionSchema, { vector }: Placed): VectorSpec {
  const spec = schema.vectors.find(({ name }) => name === vector);
  if (spec !== undefined) return spec;
  throw new Incompatible(`the run makes no vector '${vector}'`, { ids: [vector] });
}

function requireSameSize({ placed, ...layout }: PlacedLayout, { dimension }: VectorSpec): void {
  const { made, state } = placed;
  if (made === undefined && state === 'fill') {
    const text = `table ${tableOf(layout)} has no column ${quoteName(placed.column)} of vectors to fill`;
    const form = `vector(${dimension}), or double precision[] where the database has no pgvector`;
    throw new Incompatible(`${text}; add one, ${form}, or name another with embed.vector`, { ids: [placed.column] });
  }
  if (made?.dimension === undefined || made.dimension === dimension) return;
  throw new Incompatible(
    `column ${quoteName(made.column.name)} of table ${tableOf(layout)} takes ${made.dimension} dimensions, and the run makes vectors of ${dimension}`,
    { ids: [made.column.name] },
  );
}

async function hasTrigger(session: Session, { oid, placed }: PlacedLayout): Promise<boolean> {
  const rows = await session.rows(
    `SELECT tgname::text AS name FROM pg_trigger WHERE tgrelid = $1::oid AND tgname = $2::text AND tgenabled <> 'D'`,
    [oid, placed.names.stale],
  );
  return rows.length > 0;
}

/** Without a default and without NOT NULL no row is rewritten. It is stored as the old one is, TOASTed or not. */
function addColumnSql(layout: PlacedLayout, spec: VectorSpec, storage: string | undefined): string {
  const [table, column] = [tableOf(layout), quoteName(layout.placed.names.made)];
  const form = spec.precision === 'float16' ? 'halfvec' : 'vector';
  const mark = markText(spec.distance === undefined ? {} : { distance: spec.distance });
  return `ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS ${column} ${form}(${spec.dimension ?? 0});
     ${storage === undefined ? '' : `ALTER TABLE ${table} ALTER COLUMN ${column} SET STORAGE ${storage};`}
     COMMENT ON COLUMN ${table}.${column} IS ${quoteText(mark)}`;
}

/** undefined: as its type has it. */
async function storageOf(session: Session, oid: string, column: string): Promise<string | undefined> {
  const [row] = await session.rows(
    `SELECT CASE WHEN a.attstorage = t.typstorage THEN NULL ELSE a.attstorage::text END AS storage
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = $1::oid AND a.attname = $2::text`,
    [oid, column],
  );
  const names: Readonly<Record<string, string>> = { p: 'PLAIN', e: 'EXTERNAL', x: 'EXTENDED', m: 'MAIN' };
  return names[row?.['storage'] ?? ''];
}

/**
 * Empties `column` of a row whose text changes: its vector was made of another one. The condition is looked at for every
 * update, whatever it sets, since a trigger of the table may change the text of one that does not.
 */
export function triggerSql(layout: PlacedLayout, which: 'stale' | 'outdated', column: string): string {
  const { schema, placed } = layout;
  const trigger = quoteName(placed.names[which]);
  const run = `${quoteName(schema)}.${trigger}`;
  const body = `BEGIN NEW.${quoteName(column)} := NULL; RETURN NEW; END`;
  return `CREATE OR REPLACE FUNCTION ${run}() RETURNS trigger LANGUAGE plpgsql AS ${quoteText(body)};
    DROP TRIGGER IF EXISTS ${trigger} ON ${tableOf(layout)};
    CREATE TRIGGER ${trigger} BEFORE UPDATE ON ${tableOf(layout)} FOR EACH ROW
      WHEN (${textDiffers(placed, 'OLD', 'NEW')}) EXECUTE FUNCTION ${run}()`;
}

export function dropTriggerSql(layout: PlacedLayout, which: 'stale' | 'outdated'): string {
  const trigger = quoteName(layout.placed.names[which]);
  return `DROP TRIGGER IF EXISTS ${trigger} ON ${tableOf(layout)};
    DROP FUNCTION IF EXISTS ${quoteName(layout.schema)}.${trigger}()`;
}
