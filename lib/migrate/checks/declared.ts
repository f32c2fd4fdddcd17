import { parseTableName, quoteName, quoteTable } from '../../stores/pgvector/names.ts';
import { parseSql } from '../sql/parse.ts';
import { type Expected, type ExpectedTable, typeText } from './derive.ts';
import type { ExpectedCount, ExpectStore, ExpectTable } from './expect.ts';
import { type Looking, look, ok, wrong } from './look.ts';
import { listed, rowName } from './postgres-rows.ts';
import type { CheckResult, CountOf } from './result.ts';

/** What a team has declared of its tables. */

const file = 'expect.yaml';

/** Joins what is declared to what migrations made, so that both are looked at once. */
export async function addDeclared({ tables, indexes }: Expected, declared: ExpectStore): Promise<void> {
  for (const [given, table] of Object.entries(declared.tables)) {
    const { schema, table: bare } = parseTableName(given);
    const isPublic = schema === undefined || schema === 'public';
    const name = isPublic ? quoteName(bare) : quoteTable({ schema, table: bare });
    const made: ExpectedTable = tables.get(name) ?? { columns: new Map(), constraints: new Map(), from: file };
    tables.set(name, made);
    for (const [column, words] of Object.entries(table.columns)) {
      const { type, nullable } = typeof words === 'string' ? { type: words, nullable: undefined } : words;
      made.columns.set(column, {
        type: type === undefined ? made.columns.get(column)?.type : await normalType(type),
        nullable: nullable ?? made.columns.get(column)?.nullable,
        default: made.columns.get(column)?.default,
        from: file,
      });
    }
    for (const index of table.indexes) {
      const of = isPublic ? quoteName(index) : `${quoteName(schema)}.${quoteName(index)}`;
      indexes.set(of, { from: file, about: '', table: name });
    }
  }
}

/** `varchar(20)` as `character varying(20)`. @throws InvalidEvent where it is no type */
async function normalType(type: string): Promise<string | undefined> {
  const [statement] = await parseSql(`CREATE TABLE t (c ${type})`, `${file}, the type '${type}'`);
  const node = statement?.node;
  const column = node !== undefined && 'CreateStmt' in node ? node.CreateStmt.tableElts?.[0] : undefined;
  return column !== undefined && 'ColumnDef' in column ? typeText(column.ColumnDef.typeName) : undefined;
}

export async function checkDeclared(
  looking: Looking,
  declared: ExpectStore,
  countOf: CountOf,
): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const [name, table] of Object.entries(declared.tables)) {
    const quoted = quoteTable(parseTableName(name));
    for (const columns of table.unique) results.push(...(await checkUnique(looking, quoted, columns)));
    for (const status of table.status) results.push(...(await checkStatus(looking, quoted, status)));
    for (const [vector, model] of Object.entries(table.models))
      results.push(...(await checkModels(looking, quoted, vector, model)));
    if (table.rows !== undefined) {
      const { rows } = table;
      const what = `${quoted}: its rows`;
      results.push(
        ...(await look(looking, what, async (session) => {
          const [row] = await session.rows(`SELECT count(*)::text AS rows FROM ${quoted}`);
          return [await judgeCount(what, Number(row?.['rows']), rows, countOf)];
        })),
      );
    }
  }
  return results;
}

export async function judgeCount(
  what: string,
  count: number,
  { atLeast, atMost, sameAs }: ExpectedCount,
  countOf: CountOf,
): Promise<CheckResult> {
  if (atLeast !== undefined && count < atLeast)
    return wrong(
      what,
      `there are ${count}, and ${file} says at least ${atLeast}: look what has deleted them, or load them again`,
    );
  if (atMost !== undefined && count > atMost)
    return wrong(what, `there are ${count}, and ${file} says at most ${atMost}`);
  if (sameAs === undefined) return ok(what, `${count}`);
  const other = await countOf(sameAs.store, sameAs.of);
  if (other === count) return ok(what, `${count}, as ${sameAs.of} of ${sameAs.store}`);
  return wrong(
    what,
    `there are ${count}, and ${sameAs.of} of ${sameAs.store} has ${other}: hold the two against each other with vecferry validate`,
  );
}

async function checkUnique(
  looking: Looking,
  table: string,
  columns: readonly string[],
): Promise<readonly CheckResult[]> {
  const what = `${table}: ${columns.join(', ')} has no duplicates`;
  const names = columns.map(quoteName).join(', ');
  return await look(looking, what, async (session) => {
    const id = await rowName(session, table, 't');
    const rows = await session.rows(
      `SELECT string_agg(id, ' and ') AS ids FROM (SELECT ${names}, ${id} AS id FROM ${table} t) d
       WHERE ${columns.map((column) => `${quoteName(column)} IS NOT NULL`).join(' AND ')} GROUP BY ${names} HAVING count(*) > 1 LIMIT 11`,
    );
    if (rows.length === 0) return [ok(what)];
    const ids = listed(rows.map((row) => row['ids'] ?? ''));
    return [
      wrong(
        what,
        `rows ${ids} are alike: merge or delete them, then CREATE UNIQUE INDEX CONCURRENTLY ON ${table} (${names})`,
      ),
    ];
  });
}

/** Rows that say they are done without what that means, and those that have it and say they are not: both are found by nobody. */
async function checkStatus(
  looking: Looking,
  table: string,
  { column, completed, pending, filled }: ExpectTable['status'][number],
): Promise<readonly CheckResult[]> {
  const what = `${table}: ${column} fits ${filled.join(', ')}`;
  return await look(looking, what, async (session) => {
    const id = await rowName(session, table, 't');
    const some = filled.map((each) => `t.${quoteName(each)} IS NULL`).join(' OR ');
    const all = filled.map((each) => `t.${quoteName(each)} IS NOT NULL`).join(' AND ');
    const find = async (states: readonly string[], fault: string): Promise<readonly string[]> => {
      const list = states.map((_, at) => `$${at + 1}`).join(', ');
      const sql = `SELECT ${id} AS id FROM ${table} t WHERE t.${quoteName(column)}::text IN (${list}) AND (${fault}) LIMIT 11`;
      return (await session.rows(sql, states)).map((row) => row['id'] ?? '');
    };
    const empty = await find(completed, some);
    const full = pending.length === 0 ? [] : await find(pending, all);
    const faults = [
      ...(empty.length > 0
        ? [
            wrong(
              what,
              `rows ${listed(empty)} are ${completed.join(' or ')} and lack ${filled.join(' or ')}: set them back to be done again`,
            ),
          ]
        : []),
      ...(full.length > 0
        ? [
            wrong(
              what,
              `rows ${listed(full)} are ${pending.join(' or ')} and have ${filled.join(' and ')}: the status was not written; set it, or empty them`,
            ),
          ]
        : []),
    ];
    return faults.length > 0 ? faults : [ok(what)];
  });
}

async function checkModels(
  looking: Looking,
  table: string,
  vector: string,
  { column, dimensions }: ExpectTable['models'][string],
): Promise<readonly CheckResult[]> {
  const what = `${table}: ${vector} has one dimension for each ${column}`;
  return await look(looking, what, async (session) => {
    const name = quoteName(vector);
    const rows = await session.rows(
      `SELECT coalesce(${quoteName(column)}::text, '') AS model, string_agg(DISTINCT vector_dims(${name})::text, ' and ') AS dims, count(*)::text AS rows
       FROM ${table} WHERE ${name} IS NOT NULL GROUP BY 1 ORDER BY 1`,
    );
    const faults = rows.flatMap(({ model, dims, rows: held }) => {
      const wanted = dimensions?.[model ?? ''];
      if (model === '')
        return [wrong(what, `${held} rows have a vector and name no model: say which, or embed them again`)];
      if (dimensions !== undefined && wanted === undefined)
        return [
          wrong(
            what,
            `${held} rows are of ${model}, which ${file} does not name: embed them with ${Object.keys(dimensions).join(' or ')}, or name it`,
          ),
        ];
      if ((dims ?? '').includes(' and ') || (wanted !== undefined && dims !== String(wanted)))
        return [
          wrong(
            what,
            `${model} has vectors of ${dims} floats, and ${wanted === undefined ? 'a model has one length' : `${file} says ${wanted}`}: embed them again`,
          ),
        ];
      return [];
    });
    return faults.length > 0 ? faults : [ok(what, rows.map(({ model, dims }) => `${model}: ${dims}`).join('; '))];
  });
}
