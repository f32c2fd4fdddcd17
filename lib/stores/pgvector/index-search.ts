import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Incompatible, StoreUnavailable } from '../../errors.ts';
import type { Hit, SearchRequest } from '../port.ts';
import type { Database, Row, Session } from './connect.ts';
import { serverError } from './errors.ts';
import type { Indexed, IndexedLayout, OwnIndex } from './index-side.ts';
import { quoteText } from './names.ts';
import {
  maxEfSearch,
  maxProbes,
  type SearchContext,
  type SearchSql,
  searchNearest,
  searchSql,
  vectorText,
} from './search.ts';

/**
 * Searches one of two indexes of a vector while both are there. PostgreSQL has no hint for that, but it plans a prepared statement
 * once and carries it out by whatever settings there are then: so it is planned under settings that make the wanted index cheap and the
 * other dear (both estimate their costs by hnsw.ef_search and ivfflat.probes: pgvector, hnswcostestimate and ivfflatcostestimate), and carried out
 * under those of the application. Two of one kind cannot be told apart so. A superuser hides the other one from the planner, in a
 * transaction that is rolled back. Whoever is none has the statement planned as if nothing cost anything: of paths that cost the same the planner
 * keeps the first, and it looks at the index of the highest oid first (PostgreSQL 13 to 18: RelationGetIndexList in relcache.c sorts by oid, get_relation_info
 * in plancat.c prepends, add_path in pathnode.c keeps the path that is there where the other is no cheaper). So the youngest one is searched, which is the
 * run's; the old one is asked before that is built. Where oids have begun anew, or somebody gives the old one a REINDEX CONCURRENTLY, it is another, and is refused.
 *
 * A plan is made anew when the table's statistics change. So each search counts the scans of both indexes besides
 * (pg_stat_get_xact_numscans), and an answer that came from the other one is never taken.
 */

export interface PinnedContext extends SearchContext {
  readonly layout: IndexedLayout;
  readonly isSuperuser: boolean;
}

/** A plan may be made anew between two statements; each of these tries plans it again. */
const maxTries = 5;

/** @throws Incompatible where the side's index is not there, or the planner cannot be brought to use it. @throws as searchNearest */
export async function searchPinned(
  database: Database,
  context: PinnedContext,
  request: SearchRequest,
): Promise<readonly Hit[]> {
  const { indexed } = context.layout;
  const { made, old } = indexed;
  if (request.exact === true || request.vector !== indexed.field.name)
    return await searchNearest(database, context, request);
  const isSource = indexed.side.side === 'source';
  const [wanted, other] = isSource ? [old, made] : [made, old];
  if (wanted?.isValid !== true) {
    // Without an old index every search was exact, and is so still as the source is asked.
    if (isSource && indexed.side.from?.index.kind !== 'none') throw notThere(indexed, 'the old index');
    if (!isSource) throw notThere(indexed, `the index of run ${indexed.side.run}`);
    return await searchNearest(database, context, { ...request, exact: true });
  }
  // One of another operator class answers no search of this operator.
  const isRival = (each: OwnIndex | undefined): each is OwnIndex =>
    each?.isValid === true && each.isPlain && each.opclass === wanted.opclass;
  const pin = { ...context, wanted, rivals: [other, ...indexed.others].filter(isRival) };
  const sql = searchSql(context, request);
  return await database.use(async (session) => sql.hitsOf(await run(session, pin, sql, request)));
}

function notThere({ field, madeName }: Indexed, what: string): Incompatible {
  const text = `vector '${field.name}' cannot be searched by ${what}, which is not there or not valid`;
  return new Incompatible(`${text}; start the run again under its id, which builds what is missing`, {
    ids: [madeName],
  });
}

interface Pin extends PinnedContext {
  readonly wanted: OwnIndex;
  /** Others that the planner might use. */
  readonly rivals: readonly OwnIndex[];
}

const genericPlan = 'plan_cache_mode = force_generic_plan';

async function run(session: Session, pin: Pin, sql: SearchSql, request: SearchRequest): Promise<readonly Row[]> {
  const { wanted, rivals } = pin;
  const statement = sql.select('$1');
  const hash = createHash('sha256').update(JSON.stringify([statement, wanted.oid, rivals.map(({ oid }) => oid)]));
  const name = `vecferry_${hash.digest('hex').slice(0, 24)}`;
  const scans = [wanted, ...rivals]
    .map(({ oid }, at) => `pg_stat_get_xact_numscans(${oid})::text AS s${at}`)
    .join(', ');
  const local = [genericPlan, ...sql.settings].map((setting) => `SET LOCAL ${setting}; `).join('');
  const search = `${local}SELECT ${scans}; EXECUTE ${name}(${vectorText(request)}); SELECT ${scans}`;
  const isFiltered = (request.filter ?? []).length > 0;
  for (let tried = 1; ; tried++) {
    const results = await unlessUnprepared(async () => await session.results(search));
    if (results !== undefined) {
      const [before, rows, after] = results.slice(-3);
      const [used, ...others] = [wanted, ...rivals].map((_, at) => counted(after, at) - counted(before, at));
      // A filter may be met by another index, of a payload field, as it would be in the application.
      if (others.every((scanned) => scanned === 0) && (isFiltered || (used ?? 0) > 0)) return rows ?? [];
      await session.run(`DEALLOCATE ${name}`);
      if (tried >= maxTries) throw notUsed(pin);
      await sleep(20 * tried);
    } else if (tried >= maxTries) throw forgotten(pin);
    await prepare(session, pin, sql, { name, statement, isFiltered });
  }
}

const counted = (rows: readonly Row[] | undefined, at: number): number => Number(rows?.[0]?.[`s${at}`] ?? 0);

/** undefined: the connection does not know the statement. */
async function unlessUnprepared<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    // invalid_sql_statement_name
    if (serverError(error)?.code === '26000') return undefined;
    throw error;
  }
}

function forgotten({ wanted }: Pin): Incompatible {
  const text = `searches of index '${wanted.name}' are prepared, and the connection forgets what it has prepared`;
  const next = 'connect to the server itself, or let PgBouncer pool sessions: a pooler of transactions keeps none';
  return new Incompatible(`${text}; ${next}`, { ids: [wanted.name] });
}

function notUsed({ wanted, rivals }: Pin): StoreUnavailable {
  const others = rivals.map(({ name }) => `'${name}'`).join(', ');
  const text = `searches of index '${wanted.name}' went through another one (${others}), or through none`;
  return new StoreUnavailable(`${text}, as the table's statistics change all the time or track_counts is off`, {
    ids: [wanted.name],
  });
}

interface Statement {
  readonly name: string;
  readonly statement: string;
  readonly isFiltered: boolean;
}

/** Prepares the statement on this connection, and has it planned. @throws Incompatible where no way leads to the wanted index */
async function prepare(session: Session, pin: Pin, sql: SearchSql, prepared: Statement): Promise<void> {
  const { wanted, rivals, isSuperuser } = pin;
  const left = `EXISTS (SELECT FROM pg_prepared_statements WHERE name = ${quoteText(prepared.name)})`;
  await session.run(
    `DO $vecferry$ BEGIN IF ${left} OR (SELECT count(*) FROM pg_prepared_statements) > ${maxPrepared} THEN EXECUTE 'DEALLOCATE ALL'; END IF; END $vecferry$`,
  );
  const dear = rivals.flatMap((rival) => (rival.method === wanted.method ? [] : [dearly[rival.method]]));
  const canTell = rivals.every(({ method }) => method !== wanted.method);
  const ways: Way[] = [
    // As the application's own query would be planned, were the wanted index alone.
    ...(prepared.isFiltered && canTell ? [{ settings: [...sql.settings, ...dear], hides: false }] : []),
    ...(canTell ? [{ settings: ['enable_seqscan = off', cheaply[wanted.method], ...dear], hides: false }] : []),
    ...(prepared.isFiltered && isSuperuser ? [{ settings: sql.settings, hides: true }] : []),
    ...(isSuperuser ? [{ settings: ['enable_seqscan = off', cheaply[wanted.method]], hides: true }] : []),
    // What the planner would not search by a rival while that is there, it would not without it either.
    ...(prepared.isFiltered ? [{ settings: sql.settings, hides: false }] : []),
    ...[['enable_seqscan = off'], costless].map((settings) => ({ settings, hides: false })),
  ];
  for (const way of ways) if (await planned(session, pin, prepared, way)) return;
  const others = rivals.map(({ name }) => `'${name}'`).join(', ');
  const text = `PostgreSQL does not search index '${wanted.name}' beside ${others}`;
  const back = `vecferry rollback ${pin.layout.indexed.side.run} and the run started again make the new one the younger`;
  const why = isSuperuser ? '' : `; the older one of two of a kind is searched by a superuser alone: ${back}`;
  throw new Incompatible(`${text}, so what it finds cannot be measured${why}`, { ids: [wanted.name] });
}

/** Of queries with filters of their own each is another statement; so many stay with a connection. */
const maxPrepared = 50;

const dearly = { hnsw: `hnsw.ef_search = ${maxEfSearch}`, ivfflat: `ivfflat.probes = ${maxProbes}` } as const;
/** A path that is disabled loses however little it costs. */
const costless = [
  ...['seqscan', 'sort', 'bitmapscan'].map((way) => `enable_${way} = off`),
  ...['random_page', 'seq_page', 'cpu_tuple', 'cpu_index_tuple', 'cpu_operator'].map((unit) => `${unit}_cost = 0`),
] as const;

const cheaply = { hnsw: 'hnsw.ef_search = 1', ivfflat: 'ivfflat.probes = 1' } as const;

interface Way {
  readonly settings: readonly string[];
  readonly hides: boolean;
}

/** Prepared statements outlive the transaction that they are made in, and so do their plans. */
async function planned(
  session: Session,
  { wanted, rivals, layout }: Pin,
  { name, statement, isFiltered }: Statement,
  { settings, hides }: Way,
): Promise<boolean> {
  const form = layout.indexed.field.form;
  await session.run('BEGIN');
  try {
    if (hides) {
      const oids = rivals.map(({ oid }) => oid).join(', ');
      await session.run(`UPDATE pg_index SET indisvalid = false WHERE indexrelid IN (${oids})`);
    }
    await session.run([genericPlan, ...settings].map((setting) => `SET LOCAL ${setting}`).join('; '));
    await session.run(`PREPARE ${name}(${form}) AS ${statement}`);
    const [row] = await session.rows(`EXPLAIN (FORMAT JSON) EXECUTE ${name}(NULL)`);
    const used = indexesIn(Object.values(row ?? {})[0]);
    const isRight = !rivals.some((each) => used.includes(each.name)) && (isFiltered || used.includes(wanted.name));
    if (!isRight) await session.run(`DEALLOCATE ${name}`);
    return isRight;
  } finally {
    await session.run('ROLLBACK');
  }
}

/** Names of the indexes that a plan scans. @param plan of EXPLAIN (FORMAT JSON), as text or already parsed */
export function indexesIn(plan: unknown): readonly string[] {
  const found: string[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === 'object' && value !== null) {
      for (const [name, each] of Object.entries(value)) {
        if (name === 'Index Name' && typeof each === 'string') found.push(each);
        else visit(each);
      }
    }
  };
  visit(typeof plan === 'string' ? JSON.parse(plan) : plan);
  return found;
}
