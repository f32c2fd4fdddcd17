import { Incompatible } from '../../errors.ts';
import type { VectorIndex } from '../../schema.ts';
import { bytes, count } from '../../words.ts';
import type { IndexCheck, IndexedNow, IndexForm } from '../index-port.ts';
import { indexOf, type VectorForm } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { maxIndexedDimensions } from './index.ts';
import { type IndexedLayout, isOfAnotherRun, type OwnIndex } from './index-side.ts';
import { quoteName } from './names.ts';
import { tableOf } from './read.ts';

/** Looks whether a vector of a table can get another index, and what a person should know before. */

/** pgvector's own where an index says none (README, "HNSW", "IVFFlat"). */
const defaults = { hnsw: { m: 16, efConstruction: 64 }, ivfflat: { lists: 100 } } as const;

/** An index by all its settings. */
export function formOf(index: OwnIndex | undefined): VectorIndex {
  if (index === undefined) return { kind: 'none' };
  const said = indexOf(index);
  if (said.kind === 'hnsw') return { ...said, ...defaults.hnsw, ...said };
  if (said.kind === 'ivfflat') return { ...said, ...defaults.ivfflat, ...said };
  return said;
}

export async function readNow(
  session: Session,
  layout: IndexedLayout,
  fallback: IndexedNow['distance'],
): Promise<IndexedNow> {
  const { field, old, distance } = layout.indexed;
  if (field.dimension === undefined) {
    const text = `column ${quoteName(field.column.name)} of table ${tableOf(layout)} says no dimension, so it cannot be indexed as it is`;
    throw new Incompatible(`${text}; ALTER TABLE … ALTER COLUMN … TYPE vector(N) gives it one`, { ids: [field.name] });
  }
  const [row] = await session.rows(
    `SELECT count(${quoteName(field.column.name)})::text AS count FROM ${tableOf(layout)}`,
  );
  return {
    vector: field.name,
    index: formOf(old),
    records: Number(row?.['count'] ?? 0),
    dimension: field.dimension,
    distance: distance ?? fallback,
    ...(old && { bytes: old.bytes }),
  };
}

interface Problem {
  readonly id: string;
  readonly text: string;
}

/** @throws Incompatible with every reason why it cannot be done. */
export async function checkIndex(
  database: Database,
  layout: IndexedLayout,
  wanted: IndexForm,
  { isNew, records }: { readonly isNew: boolean; readonly records: number },
): Promise<IndexCheck> {
  const server = await database.use(async (session) => await readServer(session, layout));
  const problems = [
    ...tableProblems(layout, server),
    ...formProblems(layout, wanted.index),
    ...indexProblems(layout, isNew),
  ];
  if (problems.length > 0) {
    const texts = problems.map(({ text }) => text).join('; ');
    throw new Incompatible(`the index of vector '${layout.indexed.field.name}' of table ${tableOf(layout)}: ${texts}`, {
      ids: problems.map(({ id }) => id),
    });
  }
  const oldAsked = isAskedBefore(layout, wanted.index, server) ? 'before' : 'in turn';
  return { notes: notesOf(layout, wanted.index, server, { records, oldAsked }), oldAsked };
}

interface ServerNow {
  readonly kind: string;
  readonly isOwner: boolean;
  readonly canCreate: boolean;
  readonly isSuperuser: boolean;
  readonly countsScans: boolean;
  /** A replica, or a role that only reads. */
  readonly isReadOnly: boolean;
  /** maintenance_work_mem, in bytes, and max_parallel_maintenance_workers. */
  readonly memory: number;
  readonly workers: number;
}

async function readServer(session: Session, { oid, schema }: IndexedLayout): Promise<ServerNow> {
  const [row] = await session.rows(
    `SELECT relkind::text AS kind, pg_has_role(relowner, 'USAGE')::text AS "isOwner",
       has_schema_privilege($2::text, 'CREATE')::text AS "canCreate", current_setting('track_counts')::text AS counts,
       current_setting('transaction_read_only')::text AS "readOnly",
       (SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user) AS "isSuperuser",
       pg_size_bytes(current_setting('maintenance_work_mem'))::text AS memory,
       current_setting('max_parallel_maintenance_workers')::text AS workers
     FROM pg_class WHERE oid = $1::oid`,
    [oid, schema],
  );
  return {
    kind: row?.['kind'] ?? '',
    isOwner: row?.['isOwner'] === 'true',
    canCreate: row?.['canCreate'] === 'true',
    isSuperuser: row?.['isSuperuser'] === 'true',
    countsScans: row?.['counts'] === 'on',
    isReadOnly: row?.['readOnly'] === 'on',
    memory: Number(row?.['memory'] ?? 0),
    workers: Number(row?.['workers'] ?? 0),
  };
}

function tableProblems({ schema, indexed }: IndexedLayout, server: ServerNow): Problem[] {
  const problems: Problem[] = [];
  const add = (id: string, text: string): void => void problems.push({ id, text });
  if (server.kind === 'p')
    add(
      'partition',
      'it is partitioned, and PostgreSQL builds no such index CONCURRENTLY; change the index of each partition by a run of its own',
    );
  else if (indexed.old?.isAttached === true)
    add(
      'partition',
      `'${indexed.old.name}' is a part of its partitioned table’s index, and PostgreSQL drops and detaches no part; build the new one on each partition by hand`,
    );
  else if (server.kind !== 'r' && server.kind !== 'm') add('kind', 'it is no table (a view or a foreign table?)');
  if (server.isReadOnly)
    add(
      'connection',
      'the connection only reads: it leads to a replica (connect to the primary), or default_transaction_read_only is on for its role or database',
    );
  if (!server.isOwner) add('rights', 'the connection’s role does not own the table, and only an owner may index it');
  if (!server.canCreate) add('rights', `the connection’s role may not CREATE in schema ${quoteName(schema)}`);
  if (!server.countsScans)
    add('track_counts', 'track_counts is off on the server, by which a search shows which index it used; set it on');
  if (indexed.field.column.isArray) add(indexed.field.name, 'it is an array, which has no such index');
  return problems;
}

function formProblems({ indexed: { field, distance } }: IndexedLayout, wanted: VectorIndex): Problem[] {
  const problems: Problem[] = [];
  const add = (id: string, text: string): void => void problems.push({ id, text });
  const most = maxIndexedDimensions[field.form];
  if ((field.dimension ?? 0) > most) {
    const text = `it has ${count(field.dimension ?? 0)} dimensions, and pgvector indexes a ${field.form} of at most ${count(most)}`;
    add(field.name, `${text}; a halfvec column takes 4,000`);
  }
  if (field.form === 'sparsevec') add(field.name, 'it is sparse, and only dense vectors are searched and validated');
  if (wanted.kind === 'ivfflat' && distance === 'manhattan')
    add('index.to.kind', 'IVFFlat indexes no manhattan distance; use hnsw');
  if (wanted.kind === 'hnsw' && wanted.efConstruction !== undefined && wanted.efConstruction < 2 * (wanted.m ?? 16)) {
    const text = `efConstruction ${wanted.efConstruction} is less than twice m, ${wanted.m ?? 16}, which pgvector refuses`;
    add('index.to.efConstruction', `${text}; raise it, or leave it out`);
  }
  return problems;
}

/** Of two of one kind only a superuser can have the older one searched: index-search.ts. */
const isAskedBefore = (
  { indexed: { old } }: IndexedLayout,
  wanted: VectorIndex,
  { isSuperuser }: Pick<ServerNow, 'isSuperuser'>,
): boolean => old !== undefined && old.method === wanted.kind && !isSuperuser;

function indexProblems({ indexed }: IndexedLayout, isNew: boolean): Problem[] {
  const { old, made, others, madeName, state, side } = indexed;
  const problems: Problem[] = [];
  const add = (id: string, text: string): void => void problems.push({ id, text });
  const named = (all: readonly OwnIndex[]): string => all.map(({ name }) => `'${name}'`).join(', ');
  const partial = others.filter(({ isPlain }) => !isPlain);
  // Beside one of the whole column they serve queries of their own, before and after.
  if (partial.length > 0 && old === undefined)
    add(
      'partial',
      `${named(partial)}: an index of some rows, or of an expression, is another one for each query, and none is on the whole column; change it by hand`,
    );
  const runs = others.filter((each) => isOfAnotherRun(each, madeName));
  if (runs.length > 0)
    add('run', `${named(runs)} was left by another run: retire that run, or take it back (vecferry rollback RUN)`);
  const { replaces } = side;
  const whole = others.filter((each) => each.isPlain && each.isValid && !runs.includes(each));
  const listed = (all: readonly OwnIndex[]): string => all.map((each) => `'${each.name}' (${each.opclass})`).join(', ');
  if (old === undefined && replaces !== undefined) {
    const text = `index.replaces: it has no index '${replaces}', nor one of such an operator class`;
    add('index.replaces', `${text}; it has ${listed(whole) || 'none'}`);
  }
  // Those of another operator class serve other searches, whichever is there.
  const further = whole.filter((each) => replaces === undefined || each.opclass === old?.opclass);
  if (old !== undefined && further.length > 0) {
    const all = [old, ...further];
    const isOneClass = further.some(({ opclass }) => opclass === old.opclass);
    const next = isOneClass
      ? 'each may serve the same search, so neither what the old one finds nor what readers lose can be told; drop those of one operator class that nobody needs'
      : 'which of them is meant has to be said: index.replaces takes its name, or its operator class';
    add('several', `it has several indexes, ${listed(all)}, and ${next}`);
  }
  if (isNew && state !== 'absent')
    add(
      'run',
      `${named(made === undefined ? [] : [made])} was left by an earlier run of this name; give this one another id`,
    );
  return problems;
}

/** Bytes of a float. */
const floatBytes: Readonly<Partial<Record<VectorForm, number>>> = { vector: 4, halfvec: 2 };
/** What of a page of 8 KiB is left for tuples. */
const pageBytes = 8168;

/** On disk, as pgvector lays it out: whole tuples a page. Measured with 100 to 768 dimensions, m 16 and 32: within 10 %. */
export function diskBytes(index: VectorIndex, form: VectorForm, records: number, dimension: number): number {
  const floats = (floatBytes[form] ?? 4) * dimension;
  const tuple = index.kind === 'hnsw' ? floats + 12 * (index.m ?? 16) + 100 : floats + 24;
  return Math.ceil(records / Math.max(1, Math.floor(pageBytes / tuple))) * 8192;
}

/** Of a graph while it is built, measured by when maintenance_work_mem was full: 100 to 768 dimensions, m 16 and 32. */
export function graphBytes(m: number, form: VectorForm, records: number, dimension: number): number {
  return records * ((floatBytes[form] ?? 4) * dimension + 32 * m + 203);
}

function notesOf(
  { indexed, ...layout }: IndexedLayout,
  wanted: VectorIndex,
  { memory, workers }: ServerNow,
  { records, oldAsked }: Pick<IndexCheck, 'oldAsked'> & { readonly records: number },
): readonly string[] {
  const { old, made, others, madeName, field } = indexed;
  const dimension = field.dimension ?? 0;
  const invalid = others.filter(({ isValid }) => !isValid);
  const size = diskBytes(wanted, field.form, records, dimension);
  const beside = old === undefined ? '' : `, beside the ${bytes(old.bytes)} of '${old.name}'`;
  const build = `it is built CONCURRENTLY as ${quoteName(madeName)}: nobody waits for it, and it waits for transactions that are older, so a long one delays the run; every write goes into both indexes until the run is retired`;
  const graph = wanted.kind === 'hnsw' ? graphBytes(wanted.m ?? 16, field.form, records, dimension) : 0;
  const needs =
    graph > memory
      ? [
          `memory: the graph takes about ${bytes(graph)} while it is built, more than maintenance_work_mem (${bytes(memory)}), so the build gets many times slower; ALTER ROLE … SET maintenance_work_mem for the connection's role, as far as the server has it (pgvector README, "Index Build Time")`,
        ]
      : [];
  const alone =
    workers === 0 ? ['max_parallel_maintenance_workers is 0 on the server, so the index is built by one process'] : [];
  const swap =
    old === undefined
      ? 'searches have no index by now and use the new one as soon as it is built'
      : `PostgreSQL's planner may use either index from the end of the build on, by what it thinks cheaper; the cutover swaps their names, and readers use the new one for certain once vecferry retire has dropped the old one, or the old one for certain after vecferry rollback, which drops the new one`;
  const kept = others.filter(({ isPlain, isValid }) => !isPlain && isValid).map(({ name }) => `'${name}'`);
  const classes = others.filter(({ isPlain, isValid, opclass }) => isPlain && isValid && opclass !== old?.opclass);
  return [
    build,
    ...(kept.length === 0
      ? []
      : [
          `${kept.join(', ')}, of some rows or of an expression, ${kept.length === 1 ? 'stays as it is, and serves' : 'stay as they are, and serve'} the queries that fit, before and after`,
        ]),
    ...classes.map(
      ({ name, opclass }) => `'${name}' (${opclass}) stays as it is, and serves the searches of its operator`,
    ),
    `disk space: about ${bytes(size)}${beside}`,
    ...needs,
    ...alone,
    ...(oldAsked === 'before' && old !== undefined
      ? [
          `'${old.name}' is asked its queries before the new one is built: beside another ${wanted.kind === 'hnsw' ? 'HNSW' : 'IVFFlat'} index only a superuser can have the older one searched, so the times of the two are taken one after the other`,
        ]
      : []),
    swap,
    ...invalid.map(
      ({ name }) =>
        `index '${name}' is INVALID, left by a build that failed: every write goes into it and no search does; DROP INDEX CONCURRENTLY ${quoteName(layout.schema)}.${quoteName(name)} takes it away`,
    ),
    ...(made?.isValid === false
      ? [`index '${made.name}' is left by an earlier try of the run and is dropped and built anew`]
      : []),
  ];
}
