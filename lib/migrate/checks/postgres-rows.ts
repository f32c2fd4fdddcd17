import type { Session } from '../../stores/pgvector/connect.ts';
import { quoteName } from '../../stores/pgvector/names.ts';
import { ownTables } from '../backup/pg-catalog.ts';
import { type Looking, look, ok, unchecked, wrong } from './look.ts';
import type { CheckResult } from './result.ts';

/** What the rows themselves say: parents that are missing, sequences that are behind, vectors of two lengths, a search. */

const own = `(${ownTables()}) t`;
/** Ids named of what is wrong; one more is looked for, to say that there are others. */
const named = 10;

export async function checkRows(looking: Looking): Promise<readonly CheckResult[]> {
  return [
    ...(await checkOrphans(looking)),
    ...(await checkSequences(looking)),
    ...(await checkVectors(looking)),
    ...(await checkSearches(looking)),
  ];
}

/** `1, 2, 3 and more`. */
export function listed(ids: readonly string[]): string {
  const first = ids.slice(0, named).join(', ');
  return ids.length > named ? `${first} and more` : first;
}

/** SQL of what names a row of `alias`: its primary key, or where it lies. */
export async function rowName(session: Session, table: string, alias: string): Promise<string> {
  const [row] = await session.rows(
    `SELECT string_agg(format('%s.%I::text', $2::text, a.attname), ' || '','' || ' ORDER BY k.at) AS key
     FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, at)
     JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
     WHERE i.indrelid = to_regclass($1) AND i.indisprimary`,
    [table, alias],
  );
  return row?.['key'] ?? `${alias}.ctid::text`;
}

/** Rows whose parent is missing: let in by NOT VALID, or by triggers that were off while something was loaded. */
async function checkOrphans(looking: Looking): Promise<readonly CheckResult[]> {
  let keys: Awaited<ReturnType<Session['rows']>> = [];
  const failed = await look(looking, 'foreign keys', async (session) => {
    keys = await session.rows(
      `SELECT format('%I.%I', t.nspname, t.relname) AS table, quote_ident(k.conname) AS name, k.confrelid::regclass::text AS parent,
         (SELECT string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ') FROM unnest(k.conkey) x(n) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n) AS given,
         (SELECT string_agg(format('p.%I = c.%I', b.attname, a.attname), ' AND ') FROM unnest(k.conkey, k.confkey) x(n, m)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = x.m) AS same
       FROM ${own} JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f' AND k.conparentid = 0 ORDER BY 1, 2`,
    );
    return [];
  });
  const results = [...failed];
  for (const { table, name, parent, given, same } of keys) {
    const what = `${table}: foreign key ${name} has no orphans`;
    results.push(
      ...(await look(looking, what, async (session) => {
        const id = await rowName(session, table ?? '', 'c');
        const orphans = await session.rows(
          `SELECT ${id} AS id FROM ${table} c WHERE ${given} AND NOT EXISTS (SELECT FROM ${parent} p WHERE ${same}) LIMIT ${named + 1}`,
        );
        if (orphans.length === 0) return [ok(what, `to ${parent}`)];
        const ids = listed(orphans.map((row) => row['id'] ?? ''));
        return [
          wrong(
            what,
            `rows ${ids} have a parent that is not in ${parent}: bring it back, or take their reference out, then ALTER TABLE ${table} VALIDATE CONSTRAINT ${name}`,
          ),
        ];
      })),
    );
  }
  return results;
}

/** A sequence behind its column, as a load by COPY leaves it: the next INSERT fails. */
async function checkSequences(looking: Looking): Promise<readonly CheckResult[]> {
  let owned: Awaited<ReturnType<Session['rows']>> = [];
  const failed = await look(looking, 'sequences', async (session) => {
    owned = await session.rows(
      `SELECT format('%I.%I', t.nspname, t.relname) AS table, quote_ident(a.attname) AS column, d.objid::regclass::text AS sequence
       FROM ${own} JOIN pg_depend d ON d.refobjid = t.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass
         AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
       JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0
       JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid ORDER BY 1, 2`,
    );
    return [];
  });
  const results = [...failed];
  for (const { table, column, sequence } of owned) {
    const what = `${table}: sequence of ${column} is ahead`;
    results.push(
      ...(await look(looking, what, async (session) => {
        const [row] = await session.rows(
          `SELECT m.max::text, s.last_value::text AS last, (m.max > s.last_value OR (m.max = s.last_value AND NOT s.is_called))::text AS behind
           FROM (SELECT max(${column}) FROM ${table}) m, ${sequence} s`,
        );
        if (row?.['behind'] !== 'true') return [ok(what, `at ${row?.['last']}`)];
        const mend = `SELECT setval('${sequence}', (SELECT max(${column}) FROM ${table}))`;
        return [
          wrong(
            what,
            `it is at ${row['last']} and the column at ${row['max']}, so an INSERT will meet an id that is taken: ${mend}`,
          ),
        ];
      })),
    );
  }
  return results;
}

interface VectorColumn {
  readonly table: string;
  readonly column: string;
  readonly type: string;
  /** Floats that the column's type fixes; 0: any. */
  readonly dimension: number;
  /** The column that names what made the vector, as the runs that embed write it. */
  readonly model: string | undefined;
}

async function checkVectors(looking: Looking): Promise<readonly CheckResult[]> {
  let columns: readonly VectorColumn[] = [];
  const failed = await look(looking, 'vector columns', async (session) => {
    const rows = await session.rows(
      `SELECT format('%I.%I', t.nspname, t.relname) AS table, a.attname AS column, y.typname AS type, greatest(a.atttypmod, 0)::text AS dimension,
         (SELECT m.attname FROM pg_attribute m WHERE m.attrelid = t.oid AND NOT m.attisdropped AND m.attname IN (a.attname || '_model', 'embedding_model')
            ORDER BY m.attname <> a.attname || '_model' LIMIT 1) AS model
       FROM ${own} JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
       JOIN pg_type y ON y.oid = a.atttypid AND y.typname IN ('vector', 'halfvec', 'sparsevec') ORDER BY 1, a.attnum`,
    );
    columns = rows.map(({ table, column, type, dimension, model }) => ({
      table: table ?? '',
      column: column ?? '',
      type: type ?? '',
      dimension: Number(dimension),
      model: model ?? undefined,
    }));
    return [];
  });
  const results = [...failed];
  for (const column of columns) {
    results.push(...(await checkDimensions(looking, column)));
  }
  return results;
}

/** `{1:0.5}/100`: a sparse vector says its own at its end. */
const dimensionOf = (type: string, name: string): string =>
  type === 'sparsevec' ? `split_part(${name}::text, '/', 2)` : `vector_dims(${name})::text`;

/**
 * A column without a length in its type takes vectors of any, and one search over two fails; so does one over the vectors of two models
 * in silence, which only the column that names the model can tell.
 */
async function checkDimensions(
  looking: Looking,
  { table, column, type, dimension, model }: VectorColumn,
): Promise<readonly CheckResult[]> {
  const what = `${table}: ${column} has one dimension${model === undefined ? '' : ' a model'}`;
  if (dimension > 0 && model === undefined) return [ok(what, `${dimension} floats, by its type`)];
  return await look(looking, what, async (session) => {
    const name = quoteName(column);
    const by = model === undefined ? "''" : `coalesce(${quoteName(model)}::text, '')`;
    const rows = await session.rows(
      `SELECT ${by} AS model, ${dimensionOf(type, name)} AS dimension, count(*)::text AS rows FROM ${table} WHERE ${name} IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2`,
    );
    const told = rows.map(
      (row) => `${row['model'] || 'no model named'}: ${row['dimension']} floats in ${row['rows']} rows`,
    );
    const results: CheckResult[] = [];
    const models = new Set(rows.map((row) => row['model']));
    if (rows.length > models.size || (model === undefined && rows.length > 1))
      results.push(
        wrong(
          what,
          `${told.join('; ')}: embed those of the wrong length again, and fix it in the type: ${type}(${rows[0]?.['dimension']})`,
        ),
      );
    else if (models.size > 1)
      results.push(
        wrong(
          what,
          `vectors of several models are in one column (${told.join('; ')}), and a search compares them as if they were one: embed all with one model, or keep a column a model`,
        ),
      );
    if (results.length > 0) return results;
    return [ok(what, rows.length === 0 ? `no vectors; the type says ${dimension || 'any'}` : told.join('; '))];
  });
}

/** pgvector's operators by the operator class of an index. github.com/pgvector/pgvector, Indexing */
const operators: readonly (readonly [ending: string, operator: string])[] = [
  ['_l2_ops', '<->'],
  ['_ip_ops', '<#>'],
  ['_cosine_ops', '<=>'],
  ['_l1_ops', '<+>'],
  ['_hamming_ops', '<~>'],
  ['_jaccard_ops', '<%>'],
];
const k = 10;

interface VectorIndex {
  readonly table: string;
  readonly index: string;
  readonly method: string;
  readonly operatorClass: string;
  /** What it holds: a column, or an expression such as `((embedding)::halfvec(384))`, and its type. */
  readonly expression: string;
  readonly type: string;
  /** ` AND …` of a partial index. */
  readonly filter: string;
}

/** A stored record is looked for by its own vector, through each index. That of a partitioned table is one of each partition. */
async function checkSearches(looking: Looking): Promise<readonly CheckResult[]> {
  let indexes: readonly VectorIndex[] = [];
  const results = [
    ...(await look(looking, 'searches', async (session) => {
      const rows = await session.rows(
        `SELECT format('%I.%I', t.nspname, t.relname) AS table, c.relname AS index, am.amname AS method, o.opcname AS class,
           pg_get_indexdef(c.oid, 1, true) AS expression, format_type(a.atttypid, a.atttypmod) AS type,
           coalesce(' AND (' || pg_get_expr(i.indpred, i.indrelid) || ')', '') AS filter
         FROM ${own} JOIN pg_index i ON i.indrelid = t.oid AND i.indisvalid JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i'
         JOIN pg_am am ON am.oid = c.relam AND am.amname IN ('hnsw', 'ivfflat') JOIN pg_opclass o ON o.oid = i.indclass[0]
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1 ORDER BY 1, 2`,
      );
      indexes = rows.map((row) => ({
        table: row['table'] ?? '',
        index: row['index'] ?? '',
        method: row['method'] ?? '',
        operatorClass: row['class'] ?? '',
        expression: row['expression'] ?? '',
        type: row['type'] ?? '',
        filter: row['filter'] ?? '',
      }));
      return [];
    })),
  ];
  for (const index of indexes) {
    const what = `${index.table}: a search by ${index.expression} through ${index.index}`;
    const operator = operators.find(([ending]) => index.operatorClass.endsWith(ending))?.[1];
    if (operator === undefined)
      results.push(unchecked(what, `its operator class ${index.operatorClass} is not one that we know`));
    else results.push(...(await look(looking, what, (session) => searchThrough(session, what, index, operator))));
  }
  return results;
}

/** The record is found first, at no distance, among k hits. */
async function searchThrough(
  session: Session,
  what: string,
  { table, index, method, expression, type, filter }: VectorIndex,
  operator: string,
): Promise<readonly CheckResult[]> {
  const vector = `(${expression})`;
  const where = `${vector} IS NOT NULL${filter}`;
  const [count] = await session.rows(
    `SELECT count(*)::text AS rows FROM (SELECT FROM ${table} s WHERE ${where} LIMIT ${k}) t`,
  );
  const wanted = Number(count?.['rows']);
  if (wanted === 0) return [ok(what, 'no row has a vector yet')];
  const id = await rowName(session, table, 's');
  // Of a zero vector there is no cosine, and no index holds it.
  const isNear = operator === '<=>' || operator === '<%>' ? ` AND (${vector} ${operator} ${vector}) < 0.01` : '';
  const [sample] = await session.rows(
    `SELECT ${id} AS id, ${vector}::text AS vector FROM ${table} s WHERE ${where}${isNear} LIMIT 1`,
  );
  if (sample === undefined) return [unchecked(what, 'every vector is zero')];
  const by = `${vector} ${operator} '${sample['vector']}'::${type}`;
  const sql = `SELECT ${id} AS id, (${by})::text AS distance FROM ${table} s WHERE ${where} ORDER BY ${by} LIMIT ${k}`;
  // Rows that were deleted and not yet vacuumed away take up some of what a search looks at.
  await session.run(
    'SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off; SET LOCAL hnsw.ef_search = 400',
  );
  const plan = await session.rows(`EXPLAIN ${sql}`);
  const text = plan.map((row) => Object.values(row).join('')).join('\n');
  if (!text.includes(index))
    return [wrong(what, `the planner cannot use the index for it: ${text.split('\n')[1]?.trim()}`)];
  const hits = await session.rows(sql);
  // Of the lists that ivfflat visits by itself, one, only some hold records.
  const least = method === 'ivfflat' ? 1 : wanted;
  return [judge(what, { hits, wanted: least, id: sample['id'] ?? '', operator })];
}

interface Hits {
  readonly hits: readonly Readonly<Record<string, string | null>>[];
  readonly wanted: number;
  readonly id: string;
  readonly operator: string;
}

function judge(what: string, { hits, wanted, id, operator }: Hits): CheckResult {
  const again = 'rebuild the index: REINDEX INDEX CONCURRENTLY, or look at its probes and lists';
  if (hits.length < wanted) return wrong(what, `it found ${hits.length} records of at least ${wanted}; ${again}`);
  // By inner product a longer vector may be nearer than the vector itself.
  if (operator !== '<#>' && Number(hits[0]?.['distance']) > 1e-3 && !hits.some((hit) => hit['id'] === id))
    return wrong(what, `record ${id} is not found by its own vector; ${again}`);
  return ok(what, `${hits.length} hits, record ${id} by its own vector`);
}
