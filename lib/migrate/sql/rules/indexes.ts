import type { IndexStmt, Node, RangeVar } from 'libpg-query';
import { columnOf } from './made.ts';
import { beside, madeName, nameOf, quote } from './names.ts';
import type { Linted, Rule, Verdict } from './rule.ts';
import { strings, typeOf } from './tree.ts';

/** Indexes, those of pgvector among them. */

const vectorMethods = new Set(['hnsw', 'ivfflat']);

/** In the file of the index: a setting ends with its file. */
const setMemory = "SET maintenance_work_mem = '<as much as the server can spare>';";

/** CREATE INDEX on a table with rows: writes wait until it is built, which for HNSW may be hours. */
export const creatingIndex: Rule = ({ statement, facts }): readonly Verdict[] => {
  const { node } = statement;
  if (!('IndexStmt' in node)) return [];
  const { relation, concurrent, accessMethod = 'btree', idxname } = node.IndexStmt;
  if (relation === undefined || facts.isNew(relation)) return [];
  if (facts.isPartitioned(relation)) return partitionedIndex(statement.text, node.IndexStmt, relation);
  if (concurrent === true) return [];
  const table = nameOf(relation);
  const index = beside(relation, idxname === undefined ? '<its name>' : quote(idxname));
  const text = statement.text.replace(/^(create\s+(?:unique\s+)?index)\b/i, '$1 CONCURRENTLY');
  return [
    {
      rule: 'require-concurrent-index-creation',
      level: 'error',
      message: `the index on ${table} is built while nobody may write to it`,
      safeSteps: [
        `expand: ${vectorMethods.has(accessMethod) ? `${setMemory} ` : ''}${text};`,
        `deploy: where it fails, it leaves an invalid index: DROP INDEX CONCURRENTLY ${index}; then the same again`,
      ],
    },
  ];
};

/**
 * PostgreSQL refuses CONCURRENTLY there: the index of the whole is made without its parts, which is quick, and each part's own is built
 * concurrently and attached. postgresql.org/docs/current/ddl-partitioning.html, Partition Maintenance
 */
function partitionedIndex(text: string, { concurrent, idxname }: IndexStmt, relation: RangeVar): readonly Verdict[] {
  // ONLY builds nothing.
  if (relation.inh !== true) return [];
  const table = nameOf(relation);
  const index = beside(relation, idxname === undefined ? '<its name>' : quote(idxname));
  const whole = text.replace(/\bconcurrently\s+/i, '').replace(/\bon\s+(?!only\b)/i, 'ON ONLY ');
  const message =
    concurrent === true
      ? `${table} is partitioned, and PostgreSQL refuses to build an index of such a table concurrently`
      : `the index on ${table} is built in every partition while nobody may write to any`;
  return [
    {
      rule: 'require-concurrent-index-creation',
      level: 'error',
      message,
      safeSteps: [
        `expand: ${whole};`,
        `expand: of each partition CREATE INDEX CONCURRENTLY <its index> ON <partition> …; with the columns of the above`,
        `expand: of each partition ALTER INDEX ${index} ATTACH PARTITION <its index>; with the last one the index is valid`,
      ],
    },
  ];
}

export const droppingIndex: Rule = ({ statement: { node } }): readonly Verdict[] => {
  if (!('DropStmt' in node) || node.DropStmt.removeType !== 'OBJECT_INDEX' || node.DropStmt.concurrent === true)
    return [];
  const names = listedNames(node.DropStmt.objects).join(', ');
  return [
    {
      rule: 'require-concurrent-index-deletion',
      level: 'warning',
      message: `DROP INDEX ${names} waits for all that reads the table, and whoever comes later waits for it`,
      safeSteps: [
        `deploy: no search needs it: idx_scan in pg_stat_user_indexes stands still`,
        ...listedNames(node.DropStmt.objects).map((name) => `contract: DROP INDEX CONCURRENTLY ${name};`),
      ],
    },
  ];
};

/** `a.b` of each object that DROP names. */
export function listedNames(objects: readonly Node[] | undefined): readonly string[] {
  return (objects ?? []).map((object) => {
    if ('List' in object) return strings(object.List.items).map(quote).join('.');
    return strings([object]).map(quote).join('.');
  });
}

export const reindexing: Rule = ({ statement }): readonly Verdict[] => {
  const { node } = statement;
  if (!('ReindexStmt' in node)) return [];
  const { params, kind, relation } = node.ReindexStmt;
  // CONCURRENTLY FALSE is somebody's wish, and rare enough.
  if ((params ?? []).some((param) => 'DefElem' in param && param.DefElem.defname === 'concurrently')) return [];
  const name = relation === undefined ? 'of all tables' : nameOf(relation);
  const word = kind === 'REINDEX_OBJECT_INDEX' ? 'INDEX' : 'TABLE';
  const step = relation === undefined ? statement.text : `REINDEX ${word} CONCURRENTLY ${name};`;
  return [
    {
      rule: 'require-concurrent-reindex',
      level: 'error',
      message: `REINDEX ${name} stops writes, and reads that would use the index, until it is built`,
      safeSteps: [`expand: ${step}`],
    },
  ];
};

/** Dimensions that pgvector's indexes take (its README, "Indexing": HNSW and IVFFlat). sparsevec counts its elements that are not zero. */
const maxDims: Readonly<Record<string, number>> = { vector: 2000, halfvec: 4000, bit: 64_000 };

export const vectorIndex: Rule = (linted): readonly Verdict[] => {
  const {
    statement: { node },
    facts,
  } = linted;
  if (!('IndexStmt' in node)) return [];
  const { relation, accessMethod = '' } = node.IndexStmt;
  if (relation === undefined || !vectorMethods.has(accessMethod)) return [];
  const verdicts: Verdict[] = [...tooManyDims(relation, node.IndexStmt, linted)];
  const table = nameOf(relation);
  if (accessMethod === 'ivfflat' && facts.isNew(relation) && !facts.isFilled(relation))
    verdicts.push({
      rule: 'ivfflat-on-empty-table',
      level: 'error',
      message: `IVFFlat learns its lists from the rows that are there, and ${table} has none yet: recall stays low for good (pgvector's README, "IVFFlat")`,
      safeSteps: [
        'deploy: the table is filled first',
        `expand: ${linted.statement.text.replace(/^(create\s+index)\b(?!\s+concurrently)/i, '$1 CONCURRENTLY')};`,
        'deploy: or HNSW, which needs no rows to learn from',
      ],
    });
  if (node.IndexStmt.concurrent === true && !setsMemory(linted))
    verdicts.push({
      rule: 'vector-index-without-memory',
      level: 'warning',
      message: `an index of ${accessMethod} that does not fit in maintenance_work_mem (64 MB unless set) is built many times slower (pgvector's README, "Index Build Time")`,
      safeSteps: [
        `expand: ${setMemory} ${linted.statement.text};`,
        'deploy: max_parallel_maintenance_workers is set likewise where there are cores to spare',
      ],
    });
  return verdicts;
};

function setsMemory({ statements, index }: Linted): boolean {
  return statements
    .slice(0, index)
    .some(({ node }) => 'VariableSetStmt' in node && node.VariableSetStmt.name === 'maintenance_work_mem');
}

function* tooManyDims(relation: RangeVar, index: IndexStmt, { facts }: Linted): Iterable<Verdict> {
  for (const param of index.indexParams ?? []) {
    if (!('IndexElem' in param)) continue;
    const { name, expr, opclass } = param.IndexElem;
    // An index on (v::halfvec(3072)) says its type itself.
    const cast = expr !== undefined && 'TypeCast' in expr ? expr.TypeCast : undefined;
    const column = name ?? (cast?.arg === undefined ? undefined : columnOf(cast.arg));
    if (column === undefined) continue;
    const type = cast === undefined ? facts.typeOf(relation, column) : typeOf(cast.typeName);
    const [, kind = '', dims = '0'] = /^(?:\w+\.)?(\w+)\((\d+)\)$/.exec(type ?? '') ?? [];
    const limit = maxDims[kind];
    if (limit === undefined || Number(dims) <= limit) continue;
    yield {
      rule: 'index-over-too-many-dimensions',
      level: 'error',
      message: `${type} has more dimensions than an index of ${index.accessMethod} takes: ${limit} of ${kind}; PostgreSQL refuses it`,
      safeSteps: [
        smallerIndex(relation, column, Number(dims), strings(opclass).at(-1)),
        'deploy: searches order by the same expression, or the index is not used',
      ],
    };
  }
}

/** The same distance over two bytes a dimension; beyond what that takes, over one bit, whose hits are to be ranked again by the vectors. */
function smallerIndex(relation: RangeVar, name: string, dims: number, operators = 'vector_l2_ops'): string {
  const column = quote(name);
  const expression =
    dims <= (maxDims['halfvec'] ?? 0)
      ? `(${column}::halfvec(${dims})) ${operators.replace(/^vector/, 'halfvec')}`
      : `(binary_quantize(${column})::bit(${dims})) bit_hamming_ops`;
  const index = madeName(relation, name, 'idx');
  return `expand: CREATE INDEX CONCURRENTLY ${index} ON ${nameOf(relation)} USING hnsw (${expression});`;
}
