import { Incompatible } from '../../errors.ts';
import type { CollectionSchema, Distance, VectorSpec } from '../../schema.ts';
import { bytes, count } from '../../words.ts';
import type { PlaceCheck } from '../place-port.ts';
import { type Column, distanceOperators } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { isRunsColumn, type Placed, type PlacedLayout } from './in-place.ts';
import { type ReadPlaced, specOf } from './in-place-prepare.ts';
import { quoteName } from './names.ts';
import { tableOf } from './read.ts';

/** Whether a table can take a new vector beside the old one, or have one filled: looked at before anything is changed. */

interface CheckInput {
  readonly database: Database;
  readonly readPlaced: ReadPlaced;
  readonly schema: CollectionSchema;
  readonly options: PlaceCheck;
}

/** @returns what a person should know. @throws Incompatible with every reason why it cannot. */
export async function checkPlace({ database, readPlaced, schema, options }: CheckInput): Promise<readonly string[]> {
  if (database.embedded) {
    const text = 'PGlite has one connection, so no application could use the table meanwhile';
    throw new Incompatible(`${text}; "into": "place" needs a PostgreSQL server`, { ids: ['target.into'] });
  }
  return await database.use(async (session) => {
    const layout = await readPlaced(session);
    const problems = [
      ...(await kindProblems(session, layout)),
      ...textProblems(layout),
      ...(layout.placed.state === 'fill'
        ? await fillProblems(session, layout, schema, options)
        : [...(await columnProblems(session, layout, schema, options)), ...(await dependents(session, layout))]),
    ];
    if (problems.length > 0) {
      const where = `table ${tableOf(layout)} cannot be changed in place`;
      throw new Incompatible(`${where}: ${problems.map(({ text }) => text).join('; ')}`, {
        ids: problems.map(({ id }) => id),
      });
    }
    return await notesOf(session, layout, schema);
  });
}

/** The same right before the switch: an approval may take days. @throws Incompatible */
export async function refuseDependents(session: Session, layout: PlacedLayout): Promise<void> {
  const [problem] = await dependents(session, layout);
  if (problem === undefined) return;
  const text = `table ${tableOf(layout)}: ${problem.text}; it came since the run began, and nothing was switched`;
  throw new Incompatible(text, { ids: [problem.id] });
}

interface Problem {
  readonly id: string;
  readonly text: string;
}

async function kindProblems(session: Session, { oid, schema, placed }: PlacedLayout): Promise<Problem[]> {
  const [row] = await session.rows(
    `SELECT relkind::text AS kind, relispartition::text AS "isPartition", relforcerowsecurity::text AS "isForced",
       pg_has_role(relowner, 'USAGE')::text AS "isOwner", has_schema_privilege($2::text, 'CREATE')::text AS "canCreate",
       has_table_privilege(oid, 'SELECT, UPDATE')::text AS "canWrite",
       EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = pg_class.oid)::text AS "isReplica",
       EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid OR inhparent = pg_class.oid)::text AS inherits
     FROM pg_class WHERE oid = $1::oid`,
    [oid, schema],
  );
  const problems: Problem[] = [];
  const add = (id: string, text: string): void => {
    problems.push({ id, text });
  };
  if (row?.['kind'] === 'p' || row?.['isPartition'] === 'true')
    add('partition', 'it is partitioned, or a partition, whose columns are its parent’s');
  else if (row?.['kind'] !== 'r') add('kind', 'it is no table (a view or a foreign table?)');
  else if (row['inherits'] === 'true') add('inherits', 'other tables inherit from it, or it does from one');
  if (row?.['isForced'] === 'true')
    add('row security', 'its row security is forced, so rows that a policy hides would be left out');
  if (placed.state === 'fill') {
    if (row?.['canWrite'] !== 'true') add('rights', 'the connection’s role may not SELECT and UPDATE it');
    return problems;
  }
  if (row?.['isOwner'] !== 'true')
    add('rights', 'the connection’s role does not own it, and only an owner may ALTER a table and index it');
  if (row?.['isReplica'] === 'true')
    add(
      'subscription',
      'it is filled by logical replication, whose changes fire no trigger: an old vector would survive its text',
    );
  if (row?.['canCreate'] !== 'true')
    add(
      'rights',
      `the connection’s role may not CREATE in schema ${quoteName(schema)}, which a trigger's function needs`,
    );
  return problems;
}

function textProblems({ placed }: PlacedLayout): Problem[] {
  const unknown = placed.unknown.map((field) => ({
    id: field,
    text: `embed.text names '${field}', which is no column of it besides its key`,
  }));
  const generated = placed.texts.flatMap(({ column }) =>
    column.isGenerated
      ? [
          {
            id: column.name,
            text: `the text's column ${quoteName(column.name)} is generated; name those that it is made of`,
          },
        ]
      : [],
  );
  return [...unknown, ...generated];
}

/** Dimensions that a column holds already, looked for in so many rows. */
const lookedAt = 1000;

async function fillProblems(
  session: Session,
  layout: PlacedLayout,
  schema: CollectionSchema,
  { isSearched }: PlaceCheck,
): Promise<Problem[]> {
  const { made, column } = layout.placed;
  const { dimension = 0 } = specOf(schema, layout.placed);
  const name = quoteName(column);
  if (made === undefined) {
    const text = `it has no column ${name} of vectors to fill; add one (vector(${dimension}), or double precision[] where the database has no pgvector), or name another with embed.vector`;
    return [{ id: column, text }];
  }
  if (made.column.isGenerated) return [{ id: column, text: `column ${name} is generated` }];
  const isArray = made.form.endsWith('[]');
  if (isArray && isSearched) {
    const text = `column ${name} is an array, which PostgreSQL cannot search: set validate.recall to null`;
    return [{ id: 'validate.recall', text }];
  }
  const other = `column ${name} takes`;
  if (made.dimension !== undefined && !isArray) {
    const text = `${other} ${made.dimension} dimensions, and the model's vectors have ${dimension}`;
    return made.dimension === dimension ? [] : [{ id: column, text }];
  }
  const measure = isArray ? `array_length(${name}, 1)` : `vector_dims(${name})`;
  const rows = await session.rows(
    `SELECT DISTINCT ${measure}::text AS size FROM (SELECT ${name} FROM ${tableOf(layout)} WHERE ${name} IS NOT NULL LIMIT ${lookedAt}) held`,
  );
  const sizes = rows.map(({ size }) => size).filter((size) => size !== String(dimension));
  const text = `column ${name} holds vectors of ${sizes.join(', ')} dimensions, and the model's have ${dimension}`;
  return sizes.length === 0 ? [] : [{ id: column, text }];
}

async function columnProblems(
  session: Session,
  layout: PlacedLayout,
  schema: CollectionSchema,
  { isNew }: PlaceCheck,
): Promise<Problem[]> {
  const { placed } = layout;
  const name = quoteName(placed.column);
  const columns = await session.rows(
    'SELECT attname::text AS name FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped',
    [layout.oid],
  );
  const taken = columns.map(({ name: each }) => each ?? '').filter(isRunsColumn);
  const own: readonly string[] = [placed.names.made, placed.names.backup];
  const problems: Problem[] = [];
  for (const each of taken) {
    if (own.includes(each) && !isNew) continue;
    const left = `column ${quoteName(each)} was left by a run in place`;
    const text = `${left}: retire that run (vecferry retire RUN), or drop the column if nobody needs it`;
    problems.push({ id: each, text });
  }
  const old = placed.old?.column ?? placed.made?.column;
  if (old === undefined || (placed.state === 'absent' && placed.old === undefined)) {
    const add = `ALTER TABLE ${tableOf(layout)} ADD COLUMN ${name} vector(${specOf(schema, placed).dimension ?? 0})`;
    const text = `it has no vector ${name} that a new one could take the place of; ${add}, and fill it with embed {"records": "missing"}`;
    return [...problems, { id: placed.column, text }];
  }
  if (placed.old?.form.endsWith('[]') === true || placed.old?.form === 'sparsevec') {
    const text = `column ${name} is of ${old.native}; only vector and halfvec get another beside them`;
    problems.push({ id: placed.column, text });
  }
  return [...problems, ...ownProblems(old)];
}

function ownProblems({ name, isGenerated, default: initial }: Column): Problem[] {
  const problems: Problem[] = [];
  if (isGenerated) problems.push({ id: name, text: `column ${quoteName(name)} is generated` });
  if (initial !== null) {
    const text = `column ${quoteName(name)} has the default ${initial.slice(0, 40)}, a vector of the old model; drop the default first`;
    problems.push({ id: name, text });
  }
  return problems;
}

/**
 * What PostgreSQL knows by the column's number goes on to use the old one after a rename: views, policies, checks, generated columns,
 * which would also go with the old one when it is retired. Indexes and NOT NULL are seen to, its own default is named elsewhere. pg_depend: PostgreSQL manual, system catalogs.
 */
async function dependents(session: Session, layout: PlacedLayout): Promise<Problem[]> {
  const { placed } = layout;
  if (placed.state === 'switched') return [];
  const named = await dependentsOf(session, layout, placed.column);
  if (named.length === 0) return [];
  const [uses, them] = named.length === 1 ? ['uses', 'it'] : ['use', 'them'];
  const text = `${named.join(', ')} ${uses} column ${quoteName(placed.column)} and would go on with the old one after the switch; drop ${them} before the switch, and make ${them} anew after it`;
  return [{ id: placed.column, text }];
}

async function dependentsOf(
  session: Session,
  { placed, oid }: PlacedLayout,
  column: string,
): Promise<readonly string[]> {
  const rows = await session.rows(
    `SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)::text AS what
     FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
       LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
       LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
       LEFT JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1::oid AND a.attname = $2::text
       AND f.adnum IS DISTINCT FROM a.attnum
       AND NOT (c.contype IS NOT NULL AND (c.contype = 'n' OR c.conname = $3::text))
       AND NOT (i.indexrelid IS NOT NULL AND i.indnatts = 1 AND i.indexprs IS NULL AND i.indpred IS NULL)`,
    [oid, column, placed.names.required],
  );
  return rows.map(({ what }) => what ?? '');
}

/** What would hold up the end of the old column, or go with it. @throws Incompatible */
export async function refuseUsersOfBackup(session: Session, layout: PlacedLayout): Promise<void> {
  const { backup } = layout.placed.names;
  const named = await dependentsOf(session, layout, backup);
  if (named.length === 0) return;
  const text = `${named.join(', ')} ${named.length === 1 ? 'depends' : 'depend'} on column ${quoteName(backup)} of table ${tableOf(layout)}`;
  throw new Incompatible(`${text}; drop or change what does first`, { ids: [backup] });
}

async function notesOf(session: Session, layout: PlacedLayout, schema: CollectionSchema): Promise<readonly string[]> {
  const { placed, oid } = layout;
  const spec = specOf(schema, placed);
  const [row] = await session.rows(
    `SELECT greatest(reltuples, 0)::bigint::text AS rows, pg_table_size(oid)::text AS bytes,
       array_to_string(ARRAY(SELECT tgname FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal
         AND tgtype & 16 = 16 AND tgname NOT LIKE 'zzz\\_vecferry\\_%'), ', ')::text AS triggers
     FROM pg_class WHERE oid = $1::oid`,
    [oid],
  );
  const { dimension = 0, precision } = spec;
  const width = (precision === 'float16' ? 2 : 4) * dimension + 8;
  const rows = Number(row?.['rows'] ?? 0);
  const space = `disk space: about ${bytes(rows * width)} of vectors (${count(rows)} rows by the statistics, ${count(width)} bytes each)`;
  const dead = `and up to ${bytes(Number(row?.['bytes'] ?? 0))} of dead rows until vacuum has taken them, since every row is updated once`;
  const triggers = row?.['triggers'] ?? '';
  const fires =
    triggers === '' ? [] : [`triggers on update of the table fire for every row that is filled: ${triggers}`];
  const replicas =
    'replicas get every vector through the log; how far they lag is not looked at: slow the run down with target.options.rowsPerSecond';
  if (placed.state === 'fill') {
    const index = placed.made?.index.kind;
    const slow =
      index === undefined || index === 'none'
        ? []
        : [
            `column ${quoteName(placed.column)} has an index (${index}), which is written with every row: filling takes several times as long as without it`,
          ];
    return [
      `column ${quoteName(placed.column)} is filled where it is NULL; nothing is switched`,
      ...slow,
      ...fires,
      replicas,
    ];
  }
  const [made, backup] = [quoteName(placed.names.made), quoteName(placed.names.backup)];
  const required =
    placed.old?.column.notNull === true
      ? [
          `column ${quoteName(placed.column)} is NOT NULL: from the switch on an application has to insert vectors of the new model, and until then of the old one`,
        ]
      : [];
  return [
    `column ${made} is added beside ${quoteName(placed.column)} and filled; the switch renames ${quoteName(placed.column)} to ${backup} and ${made} to ${quoteName(placed.column)}, in one transaction; ${backup} stays until vecferry retire ${placed.place.run}`,
    'locks: adding the column, the switch and a rollback need ACCESS EXCLUSIVE for some milliseconds each; it is waited for in tries of 100 ms, so a long transaction delays the run and not the application. The index is built CONCURRENTLY',
    `${space}, ${dead}`,
    ...otherDistance(placed, spec),
    ...required,
    ...fires,
    replicas,
  ];
}

/** An index serves one operator: an application that goes on with the other one would read the whole table. */
function otherDistance({ old, column }: Placed, { distance, index }: VectorSpec): readonly string[] {
  if (old?.distance === undefined || distance === undefined || old.distance === distance || index?.kind === 'none')
    return [];
  const by = (each: Distance): string => `${each} (${distanceOperators[each].operator})`;
  return [
    `the index of ${quoteName(column)} is of ${by(old.distance)}, and the new one of ${by(distance)}, which the model's vectors are for: queries by the other are searched without an index after the switch; mapping.vectors says another`,
  ];
}
