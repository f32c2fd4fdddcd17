import { Incompatible, StoreUnavailable } from '../../errors.ts';
import { plural } from '../../words.ts';
import type { FillLacking } from '../place-port.ts';
import { placeStands } from '../place-stands.ts';
import type { Dropping, Pointer } from '../port.ts';
import { markOf, markText, type VectorField } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { serverError } from './errors.ts';
import { cutTo, mayHaveText, type PlacedLayout } from './in-place.ts';
import { refuseDependents, refuseUsersOfBackup } from './in-place-check.ts';
import { switchHeld } from './in-place-held.ts';
import { ensureLackingIndex } from './in-place-lacking.ts';
import { hasColumn, onlyWhere, withTableLocked } from './in-place-lock.ts';
import { dropTriggerSql, type ReadPlaced, triggerSql } from './in-place-prepare.ts';
import { indexName } from './index.ts';
import { quoteName, quoteText, type TableName } from './names.ts';
import { keyList, tableOf } from './read.ts';

/**
 * Readers follow the name of a column. The switch gives the old column another name and its own to the run's, and the same
 * to their indexes, in one transaction; rollback is the same in reverse. Neither touches a row.
 */

interface Switching {
  readonly database: Database;
  readonly name: TableName;
  readonly readPlaced: ReadPlaced;
}

export function placePointer(
  input: Switching,
  guard: <T>(doing: string, work: () => Promise<T>) => Promise<T>,
  onMoved: () => void,
): Pointer {
  return {
    read: async () =>
      await guard('reading the columns of', async () => {
        const { placed } = await input.database.use(input.readPlaced);
        return placed.state === 'switched' ? placeStands.made(placed.place.run) : placeStands.old;
      }),
    move: async (_, to) =>
      await guard('switching the columns of', async () => {
        const { placed } = await input.database.use(input.readPlaced);
        const isForward = to === placeStands.made(placed.place.run);
        await pastRenames(async () => await (isForward ? advance(input) : takeBack(input)));
        onMoved();
      }),
    moveFilled: async (_, __, fill) =>
      await guard('switching the columns of', async () => {
        await advanceHeld(input, fill);
        onMoved();
      }),
    lost: async () =>
      await guard('counting rows of', async () => {
        const layout = await input.database.use(input.readPlaced);
        const { placed } = layout;
        if (placed.state !== 'switched' || placed.old === undefined) return 0;
        const where = `${quoteName(placed.names.backup)} IS NULL AND ${quoteName(placed.column)} IS NOT NULL`;
        return await input.database.use(async (session) => await countRows(session, layout, where));
      }),
  };
}

/** Somebody else may switch the same between a look at the columns and what is done by it: then all is looked at again. */
async function pastRenames(work: () => Promise<void>): Promise<void> {
  for (let tried = 1; ; tried++) {
    try {
      return await work();
    } catch (error) {
      // undefined_column
      if (serverError(error)?.code !== '42703' || tried === 3) throw error;
    }
  }
}

/** @throws StoreUnavailable while rows lack their vector: they have to be caught up first. */
async function advance(switching: Switching): Promise<void> {
  const { database, name, readPlaced } = switching;
  await ensureLackingIndex(database, readPlaced);
  const statements = await database.use(async (session) => {
    const layout = await readPlaced(session);
    if (layout.placed.state === 'switched') return undefined;
    requireBoth(layout);
    await refuseDependents(session, layout);
    // Said before anybody has to wait; the same is looked at again once nobody can write.
    refuseLacking(layout, await lackingIds(session, layout));
    return await advanceSql(session, layout);
  });
  if (statements !== undefined) {
    try {
      await withTableLocked(database, name, statements);
    } catch (error) {
      if (serverError(error)?.code !== rowsLack) throw error;
      await database.use(async (session) => {
        const layout = await readPlaced(session);
        refuseLacking(layout, await lackingIds(session, layout));
      });
      // Those that did are gone, or somebody else has made them.
      return await advance(switching);
    }
  }
  await proveRequired(switching);
}

/** An SQLSTATE of ours: rows lack their vector. */
const rowsLack = 'VF001';

/** @throws StoreUnavailable where rows lack a vector that `fill` could not make, or it took too long. */
async function advanceHeld(switching: Switching, fill: FillLacking): Promise<void> {
  const { database, readPlaced } = switching;
  const statementsOf = async (session: Session, layout: PlacedLayout): Promise<string> => {
    requireBoth(layout);
    return await advanceSql(session, layout);
  };
  try {
    await switchHeld({ ...switching, statementsOf }, fill);
  } catch (error) {
    if (serverError(error)?.code !== rowsLack) throw error;
    await database.use(async (session) => {
      const layout = await readPlaced(session);
      refuseLacking(layout, await lackingIds(session, layout));
    });
    // Those that did are gone, or somebody else has made them.
    return await advance(switching);
  }
  await proveRequired(switching);
}

async function advanceSql(session: Session, layout: PlacedLayout): Promise<string> {
  const { placed, oid } = layout;
  const { backup, made, required } = placed.names;
  // After a rollback that left rows without the old vector the check stands for NOT NULL.
  const isRequired = placed.old?.column.notNull === true || (await hasConstraint(session, layout, required));
  const statements = [
    `IF EXISTS (SELECT FROM ${tableOf(layout)} WHERE ${lackingWhere(layout)}) THEN
       RAISE EXCEPTION 'rows lack their vector' USING ERRCODE = '${rowsLack}'; END IF`,
    `ALTER TABLE ${tableOf(layout)} DROP CONSTRAINT IF EXISTS ${quoteName(required)}`,
    ...(await renameSql(session, layout, { aside: backup, from: made })),
    dropTriggerSql(layout, 'stale'),
    triggerSql(layout, 'outdated', backup),
    ...commentSql(layout),
    ...(await grantsSql(session, layout)),
    ...(isRequired ? [requiredSql(layout, backup, placed.column)] : []),
  ];
  return onlyWhere(`NOT ${hasColumn(oid, backup)}`, statements.join('; '));
}

async function takeBack({ database, name, readPlaced }: Switching): Promise<void> {
  const statements = await database.use(async (session) => {
    const layout = await readPlaced(session);
    const { placed } = layout;
    if (placed.state === 'beside') return undefined;
    if (placed.state === 'switched') return await takeBackSql(session, layout);
    const text = `table ${tableOf(layout)} has no column ${quoteName(placed.names.backup)} to go back to`;
    throw new Incompatible(`${text}: the run was retired, or never switched`, { ids: [placed.names.backup] });
  });
  if (statements !== undefined) await withTableLocked(database, name, statements);
  await proveRequired({ database, name, readPlaced });
}

async function takeBackSql(session: Session, layout: PlacedLayout): Promise<string> {
  const { placed, oid } = layout;
  const { backup, made, required } = placed.names;
  const isRequired = placed.made?.column.notNull === true || (await hasConstraint(session, layout, required));
  const statements = [
    `ALTER TABLE ${tableOf(layout)} DROP CONSTRAINT IF EXISTS ${quoteName(required)}`,
    ...(await renameSql(session, layout, { aside: made, from: backup })),
    dropTriggerSql(layout, 'outdated'),
    triggerSql(layout, 'stale', made),
    // What lacks the old vector cannot be NOT NULL again: whoever took readers back was told how many rows do.
    ...(isRequired ? [requiredSql(layout, made, placed.column)] : []),
  ];
  return onlyWhere(hasColumn(oid, backup), statements.join('; '));
}

function requireBoth(layout: PlacedLayout): void {
  const { made, old, names, column } = layout.placed;
  if (made !== undefined && old !== undefined) return;
  const name = quoteName(made === undefined ? names.made : column);
  throw new Incompatible(`table ${tableOf(layout)} has no column ${name}: the run was retired, or its column dropped`, {
    ids: [name],
  });
}

/** Rows that lack the run's vector: those with a text, and of a column that is NOT NULL every one. */
function lackingWhere({ placed }: PlacedLayout): string {
  const which = placed.old?.column.notNull === true ? '' : ` AND ${mayHaveText(placed)}`;
  return `${quoteName(placed.names.made)} IS NULL${which}`;
}

/** Some of their ids. */
async function lackingIds(session: Session, layout: PlacedLayout): Promise<readonly string[]> {
  if (layout.placed.state !== 'beside') return [];
  const texts = layout.key.map(({ name }) => `${quoteName(name)}::text`).join(" || ',' || ");
  const rows = await session.rows(
    `SELECT ${texts} AS id FROM ${tableOf(layout)} WHERE ${lackingWhere(layout)} ORDER BY ${keyList(layout)} LIMIT 101`,
  );
  return rows.map(({ id }) => id ?? '');
}

function refuseLacking(layout: PlacedLayout, ids: readonly string[]): void {
  if (ids.length === 0) return;
  const count =
    ids.length > 100
      ? 'more than 100 records lack'
      : `${plural(ids.length, 'record')} ${ids.length === 1 ? 'lacks' : 'lack'}`;
  const first = ids.slice(0, 5).join(', ');
  const text = `${count} the new vector in ${tableOf(layout)} (${first}${ids.length > 5 ? ', …' : ''}), so nothing was switched`;
  throw new StoreUnavailable(
    `${text}; they were written meanwhile and are caught up first, or have a text that cannot be embedded: embedding.json names those`,
    { ids },
  );
}

/** The column that readers use gets the name `aside`, and `from` the one they use. */
async function renameSql(
  session: Session,
  layout: PlacedLayout,
  { aside, from }: { readonly aside: string; readonly from: string },
): Promise<readonly string[]> {
  const { placed, schema } = layout;
  const table = tableOf(layout);
  const [column, index] = [quoteName(placed.column), (name: string) => `${quoteName(schema)}.${quoteName(name)}`];
  const indexes = await indexNames(session, layout);
  return [
    ...indexes.map(([old, name]) => `ALTER INDEX ${index(old)} RENAME TO ${quoteName(name)}`),
    `ALTER TABLE ${table} RENAME COLUMN ${column} TO ${quoteName(aside)}`,
    `ALTER TABLE ${table} RENAME COLUMN ${quoteName(from)} TO ${column}`,
    `DROP INDEX IF EXISTS ${index(placed.names.lacking)}`,
  ];
}

/**
 * The name of the index that readers' searches go through stays: the old one steps aside, the run's takes its name; and back.
 * In the order in which no two have one name.
 */
async function indexNames(session: Session, layout: PlacedLayout): Promise<readonly (readonly [string, string])[]> {
  const { placed, table } = layout;
  const isSwitched = placed.state === 'switched';
  const [readers, other] = isSwitched
    ? [await vectorIndexes(session, layout, placed.column), await vectorIndexes(session, layout, placed.names.backup)]
    : [await vectorIndexes(session, layout, placed.column), await vectorIndexes(session, layout, placed.names.made)];
  const asideOf = (name: string): string => cutTo(name, placed.names.backup.slice(-'__before_12345678'.length));
  const madeName = (kind: string): string => indexName(table, placed.names.made, kind);
  if (isSwitched) {
    return readers.flatMap(({ name, method }) => {
      const old = other.find((each) => each.name === asideOf(name));
      if (old !== undefined) return [[name, madeName(method)] as const, [old.name, name] as const];
      return name === indexName(table, placed.column, method) ? [[name, madeName(method)] as const] : [];
    });
  }
  return other.flatMap(({ name, method }) => {
    const old = readers.find((each) => each.method === method) ?? readers[0];
    if (old !== undefined) return [[old.name, asideOf(old.name)] as const, [name, old.name] as const];
    return [[name, indexName(table, placed.column, method)] as const];
  });
}

async function vectorIndexes(
  session: Session,
  { oid }: PlacedLayout,
  column: string,
): Promise<readonly { readonly name: string; readonly method: string }[]> {
  const rows = await session.rows(
    `SELECT c.relname::text AS name, m.amname::text AS method FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
       JOIN pg_am m ON m.oid = c.relam JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid = $1::oid AND a.attname = $2::text AND m.amname IN ('hnsw', 'ivfflat') AND i.indisvalid ORDER BY c.oid`,
    [oid, column],
  );
  return rows.map(({ name, method }) => ({ name: name ?? '', method: method ?? '' }));
}

/** A person's words stay with the name; what vecferry wrote there of a vector's name stays too, with the new distance. */
function commentSql(layout: PlacedLayout): readonly string[] {
  const { old, made, column } = layout.placed;
  const words = old?.column.comment ?? null;
  if (words === null || old === undefined || made === undefined) return [];
  const mark = markOf(old.column);
  const text = Object.keys(mark).length > 0 ? markText({ ...mark, ...distanceIn(made) }) : words;
  return [`COMMENT ON COLUMN ${tableOf(layout)}.${quoteName(column)} IS ${quoteText(text)}`];
}

const distanceIn = ({ column }: VectorField): Pick<ReturnType<typeof markOf>, 'distance'> => {
  const { distance } = markOf(column);
  return distance === undefined ? {} : { distance };
};

/** Grants on the one column; those on the table hold for each. */
async function grantsSql(session: Session, layout: PlacedLayout): Promise<readonly string[]> {
  const { column } = layout.placed;
  const rows = await session.rows(
    `SELECT a.privilege_type::text AS privilege, a.is_grantable::text AS grantable,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
     FROM pg_attribute c, aclexplode(c.attacl) a WHERE c.attrelid = $1::oid AND c.attname = $2::text`,
    [layout.oid, column],
  );
  return rows.map(({ privilege, role, grantable }) => {
    const option = grantable === 'true' ? ' WITH GRANT OPTION' : '';
    return `GRANT ${privilege} (${quoteName(column)}) ON ${tableOf(layout)} TO ${role}${option}`;
  });
}

/**
 * NOT NULL goes from one column to the other: as a check that holds for what is written from now on, which takes no look
 * at the rows, and is proved afterwards, while everybody works.
 */
function requiredSql(layout: PlacedLayout, from: string, to: string): string {
  const table = tableOf(layout);
  return `ALTER TABLE ${table} ALTER COLUMN ${quoteName(from)} DROP NOT NULL;
    ALTER TABLE ${table} ADD CONSTRAINT ${quoteName(layout.placed.names.required)} CHECK (${quoteName(to)} IS NOT NULL) NOT VALID`;
}

/** SET NOT NULL reads no row where a valid check says the same (manual, ALTER TABLE). */
async function proveRequired({ database, name, readPlaced }: Switching): Promise<void> {
  const layout = await database.use(readPlaced);
  const { placed } = layout;
  const [table, required, column] = [tableOf(layout), quoteName(placed.names.required), quoteName(placed.column)];
  if (!(await database.use(async (session) => await hasConstraint(session, layout, placed.names.required)))) return;
  const nulls = await database.use(async (session) => await countRows(session, layout, `${column} IS NULL`));
  // After a rollback rows may lack the old vector. The check stays for what is written from now on.
  if (nulls > 0) return;
  await database.use(async (session) => await session.run(`ALTER TABLE ${table} VALIDATE CONSTRAINT ${required}`));
  const condition = `EXISTS (SELECT FROM pg_constraint WHERE conrelid = ${layout.oid} AND conname = ${quoteText(placed.names.required)})`;
  const statements = `ALTER TABLE ${table} ALTER COLUMN ${column} SET NOT NULL; ALTER TABLE ${table} DROP CONSTRAINT ${required}`;
  await withTableLocked(database, name, onlyWhere(condition, statements));
}

async function hasConstraint(session: Session, { oid }: PlacedLayout, name: string): Promise<boolean> {
  const rows = await session.rows(
    'SELECT conname::text AS name FROM pg_constraint WHERE conrelid = $1::oid AND conname = $2::text',
    [oid, name],
  );
  return rows.length > 0;
}

async function countRows(session: Session, layout: PlacedLayout, where: string): Promise<number> {
  const [row] = await session.rows(`SELECT count(*)::text AS count FROM ${tableOf(layout)} WHERE ${where}`);
  return Number(row?.['count'] ?? 0);
}

/**
 * Drops the old column, and the trigger that watches it. Rows that are written use its space again; what an old row holds
 * goes when that is written anew.
 */
export async function dropPlace(
  { database, name, readPlaced }: Switching,
  { dryRun }: { readonly dryRun: boolean },
): Promise<Dropping> {
  const layout = await database.use(readPlaced);
  const { placed } = layout;
  const column = placed.names.backup;
  const what = `column ${quoteName(column)} of table ${tableOf(layout)} with its indexes`;
  if (placed.state === 'fill') throw inUse(layout, 'the run filled a column and replaced none');
  if (placed.state === 'beside') throw inUse(layout, 'the old column is the one that readers use');
  if (placed.state === 'absent') return { name: column, what, isThere: false };
  const bytes = await database.use(async (session) => {
    await refuseUsersOfBackup(session, layout);
    return await bytesOf(session, layout, column);
  });
  if (!dryRun) {
    const drops = `${dropTriggerSql(layout, 'stale')}; ${dropTriggerSql(layout, 'outdated')}`;
    await withTableLocked(
      database,
      name,
      `${drops}; ALTER TABLE ${tableOf(layout)} DROP COLUMN IF EXISTS ${quoteName(column)} RESTRICT`,
    );
  }
  return { name: column, what, isThere: true, bytes };
}

function inUse(layout: PlacedLayout, why: string): Incompatible {
  return new Incompatible(`nothing of table ${tableOf(layout)} was dropped: ${why}`, { ids: [layout.placed.column] });
}

/** As the statistics have it, and 0 before there are any. */
async function bytesOf(session: Session, { oid, schema, table }: PlacedLayout, column: string): Promise<number> {
  const [row] = await session.rows(
    `SELECT round(greatest(c.reltuples, 0) * (1 - s.null_frac) * s.avg_width)::bigint::text AS bytes FROM pg_class c, pg_stats s
     WHERE c.oid = $1::oid AND s.schemaname = $2::text AND s.tablename = $3::text AND s.attname = $4::text`,
    [oid, schema, table, column],
  );
  return Number(row?.['bytes'] ?? 0);
}
