import { createHash } from 'node:crypto';
import { z } from 'zod';
import { Incompatible } from '../../errors.ts';
import type { CollectionSchema, Distance, VectorSpec } from '../../schema.ts';
import type { IndexProgress } from '../port.ts';
import { distanceOperators, type Layout, type VectorField, type VectorForm } from './catalog.ts';
import type { Database, Row, Session } from './connect.ts';
import { maxNameBytes, quoteName, quoteText } from './names.ts';
import { tableOf } from './read.ts';

/**
 * Indexes are built after the load. CREATE INDEX is started on a connection of its own and left: the server finishes it
 * when this process is frozen or gone. It is found again by its name; a build that died leaves none, or an INVALID one
 * where it was CONCURRENTLY, and is started anew.
 */

/** Largest dimension each form is indexed with (pgvector README, "HNSW" and "IVFFlat"); a sparsevec by its non-zero entries. */
export const maxIndexedDimensions: Readonly<Record<VectorForm, number>> = {
  vector: 2000,
  halfvec: 4000,
  sparsevec: Number.POSITIVE_INFINITY,
  'float4[]': 0,
  'float8[]': 0,
};

/** Errors in the statement itself come within milliseconds. */
const settleMs = 500;

export interface WantedIndex {
  readonly name: string;
  readonly sql: string;
  /** True: the table is in use, so what a build that died has left is taken away without a lock too. */
  readonly isConcurrent?: boolean;
}

export interface IndexMemory {
  /** A build of this process that failed after it was left. */
  failure: unknown;
}

export function wantedIndexes(
  layout: Layout,
  schema: CollectionSchema,
  defaultDistance: Distance,
): readonly WantedIndex[] {
  const vectors = schema.vectors.flatMap((spec) => {
    const field = layout.vectors.find(({ name }) => name === spec.name);
    const wanted = field === undefined ? undefined : vectorIndex(layout, field, spec, defaultDistance);
    return wanted === undefined ? [] : [wanted];
  });
  const others = schema.payloadIndexes.flatMap(({ native }, at) => {
    const own = payloadNative.safeParse(native).data;
    if (own === undefined) return [];
    const name = indexName(layout.table, String(at), 'payload');
    return [
      {
        name,
        sql: `CREATE ${own.isUnique ? 'UNIQUE ' : ''}INDEX ${quoteName(name)} ON ${tableOf(layout)} ${own.using}`,
      },
    ];
  });
  return [...vectors, ...others];
}

/** What describe hands out for a secondary index; the definition is pg_get_indexdef's from USING on. */
const payloadNative = z.object({ isUnique: z.boolean(), using: z.string().regex(/^USING \w+ /) });

function vectorIndex(
  layout: Layout,
  field: VectorField,
  spec: VectorSpec,
  defaultDistance: Distance,
): WantedIndex | undefined {
  // A sparse vector is indexed only up to 1,000 entries a record, so only where it was asked for.
  const index = spec.index ?? (field.form === 'sparsevec' ? { kind: 'none' as const } : { kind: 'hnsw' as const });
  if (index.kind === 'none' || index.kind === 'other') return undefined;
  const dimension = field.dimension ?? spec.dimension;
  if (dimension === undefined || (field.form !== 'sparsevec' && dimension > maxIndexedDimensions[field.form]))
    return undefined;
  const distance = spec.distance ?? field.distance ?? defaultDistance;
  if (index.kind === 'ivfflat' && (field.form === 'sparsevec' || distance === 'manhattan')) {
    throw new Incompatible(
      `IVFFlat indexes no ${field.form === 'sparsevec' ? 'sparse vector' : 'manhattan distance'} ('${field.name}'); use hnsw or none`,
      {
        ids: [field.name],
      },
    );
  }
  const settings =
    index.kind === 'hnsw' ? { m: index.m, ef_construction: index.efConstruction } : { lists: index.lists };
  const given = Object.entries(settings).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name} = ${value}`],
  );
  const name = indexName(layout.table, field.column.name, index.kind);
  const opclass = `${field.form}_${distanceOperators[distance].opclass}_ops`;
  const options = given.length === 0 ? '' : ` WITH (${given.join(', ')})`;
  return {
    name,
    sql: `CREATE INDEX ${quoteName(name)} ON ${tableOf(layout)} USING ${index.kind} (${quoteName(field.column.name)} ${opclass})${options}`,
  };
}

/** The same for the same table and column, and within PostgreSQL's bound: a long one ends in a digest. */
export function indexName(table: string, column: string, kind: string): string {
  const name = `${table}_${column}_${kind}`;
  if (Buffer.byteLength(name) <= maxNameBytes) return name;
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 12);
  return `${Buffer.from(table).subarray(0, 24).toString('utf8').replaceAll('\uFFFD', '')}_${digest}_${kind}`;
}

/**
 * Starts what is neither there nor under way, and returns. Of a table in use one index at a time: builds that are CONCURRENTLY, and
 * what takes away a dead one's rest, hold a snapshot while they wait for the table, and whoever has the table waits for older snapshots
 * at its end. The server would end one of them, whose rest the next call takes away, and beside long transactions so without
 * end. Whoever watches calls again for the next one, since one that waits is stalled.
 * @throws the server's error when a statement fails at once
 */
export async function startIndexes(
  database: Database,
  layout: Layout,
  wanted: readonly WantedIndex[],
  memory: IndexMemory,
): Promise<void> {
  memory.failure = undefined;
  const look = async (): Promise<State> =>
    await database.use(async (session) => await stateOf(session, layout, wanted));
  const { missing, invalid, building } = await look();
  // Autovacuum looks minutes later at the earliest. Until then the planner guesses how many records meet a filter, and
  // recall would be measured on other plans than the application gets tomorrow. It would wait for an index that is built.
  if (building.length === 0) {
    await database.use(async (session) => await session.run(`ANALYZE ${tableOf(layout)}`));
  }
  const isOneByOne = wanted.some(({ isConcurrent = false }) => isConcurrent);
  for (const index of [...invalid, ...missing]) {
    if (isOneByOne && (await look()).building.length > 0) return;
    if (invalid.includes(index)) {
      const drop = `DROP INDEX ${index.isConcurrent === true ? 'CONCURRENTLY ' : ''}IF EXISTS`;
      const name = `${quoteName(layout.schema)}.${quoteName(index.name)}`;
      await database.use(async (session) => await session.run(`${drop} ${name}`));
    }
    await database.start(index.sql, {
      settleMs,
      onFailure: (error) => {
        memory.failure = error;
      },
    });
  }
}

export async function progressOf(
  database: Database,
  layout: Layout,
  wanted: readonly WantedIndex[],
  memory: IndexMemory,
): Promise<IndexProgress> {
  if (memory.failure !== undefined) {
    const failure = memory.failure;
    memory.failure = undefined;
    throw failure;
  }
  const { missing, invalid, building } = await database.use(async (session) => await stateOf(session, layout, wanted));
  return summary(wanted.length, missing.length + invalid.length, building);
}

function summary(total: number, waiting: number, building: readonly Building[]): IndexProgress {
  const open = waiting + building.length;
  if (open === 0) return { done: true, fraction: 1, detail: `${total} of ${total} indexes` };
  const parts = building.reduce((sum, { fraction }) => sum + fraction, 0);
  const phases = building.map(({ name, phase }) => `${name}: ${phase}`).join(', ');
  return {
    done: false,
    fraction: Math.min(1, (total - open + parts) / total),
    detail: `${total - open} of ${total} indexes${phases === '' ? '' : `; ${phases}`}`,
    ...(waiting > 0 && { isStalled: true }),
  };
}

interface Building {
  readonly name: string;
  readonly fraction: number;
  readonly phase: string;
}

interface State {
  readonly missing: readonly WantedIndex[];
  readonly invalid: readonly WantedIndex[];
  readonly building: readonly Building[];
}

/** A build that is CONCURRENTLY waits for whoever has an older snapshot, or writes, and for an application that has forgotten its transaction. */
function waitText({ waits, state, seconds }: Row): string {
  if (waits == null) return '';
  return `; waits for process ${waits} (${state}${seconds == null ? '' : `, in a transaction for ${seconds} s`})`;
}

async function stateOf(session: Session, layout: Layout, wanted: readonly WantedIndex[]): Promise<State> {
  // Builds first: one that ends between the two queries is then seen as there, not as missing.
  const active = await session.rows(
    `SELECT a.query::text AS query, coalesce(p.phase, 'starting')::text AS phase,
       coalesce(p.blocks_done::float8 / nullif(p.blocks_total, 0), 0)::text AS blocks,
       coalesce(p.tuples_done::float8 / nullif(p.tuples_total, 0), 0)::text AS tuples,
       CASE WHEN p.phase LIKE 'waiting %' THEN l.pid::text || coalesce(', ' || nullif(l.application_name, ''), '') END AS waits,
       coalesce(l.state, 'active')::text AS state,
       round(extract(epoch FROM clock_timestamp() - l.xact_start))::text AS seconds
     FROM pg_stat_activity a LEFT JOIN pg_stat_progress_create_index p ON p.pid = a.pid
       LEFT JOIN pg_stat_activity l ON l.pid = nullif(p.current_locker_pid, 0)
     WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.state = 'active'
       AND a.query ~ '^CREATE (UNIQUE )?INDEX ' AND strpos(a.query, ${quoteText(` ON ${tableOf(layout)} `)}) > 0`,
  );
  const there = await session.rows(
    `SELECT c.relname::text AS name, i.indisvalid::text AS valid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1::oid`,
    [layout.oid],
  );
  const valid = new Map(there.map((row) => [row['name'], row['valid'] === 'true']));
  const building = wanted.flatMap(({ name }): Building[] => {
    const row =
      valid.get(name) === true
        ? undefined
        : active.find(({ query }) => query?.includes(` ${quoteName(name)} ON `) === true);
    if (row === undefined) return [];
    const fraction = Math.max(Number(row['blocks'] ?? 0), Number(row['tuples'] ?? 0));
    return [
      {
        name,
        fraction: Math.min(1, fraction),
        phase: `${row['phase'] ?? 'starting'}, ${Math.round(fraction * 100)} %${waitText(row)}`,
      },
    ];
  });
  const isIdle = ({ name }: WantedIndex): boolean => !building.some((each) => each.name === name);
  return {
    missing: wanted.filter((each) => !valid.has(each.name) && isIdle(each)),
    invalid: wanted.filter((each) => valid.get(each.name) === false && isIdle(each)),
    building,
  };
}
