import { conditionsOf, type Filter } from '../../filter.ts';
import { stringOf } from '../json-members.ts';
import type { FieldValues, ValueCount } from '../port.ts';
import type { Column, Layout } from './catalog.ts';
import type { Session } from './connect.ts';
import { filterSql } from './filter.ts';
import { quoteName, quoteText } from './names.ts';
import { areNumbers, compositeId, tableOf } from './read.ts';
import { isShortDecimal } from './types.ts';

/** Counts the values of a field in the server, as the payload has them: a plan that sends no record over the wire. */

/** SQL of a field's value, and of the JSON text that read.ts makes of it. */
interface ValueSql {
  readonly value: string;
  /** @param value SQL of the value, already grouped */
  readonly json: (value: string) => string;
  /** Condition that the value is the one whose JSON text this is. */
  readonly equals: (json: string) => string;
}

/** @param use runs its work with the layout as it is now */
export function fieldValues(
  use: <T>(work: (session: Session, layout: Layout) => Promise<T>) => Promise<T>,
): FieldValues {
  return {
    distinct: async (field, { limit, except }) =>
      await use(async (session, layout) => await countDistinct(session, layout, field, { limit, except })),
    idsWith: async (field, value, limit) =>
      await use(async (session, layout) => {
        const sql = valueSql(layout, field);
        if (sql === undefined) return [];
        const { key } = layout;
        const keys = key.map(({ name }) => quoteName(name));
        const selected = keys.map((name, at) => `${name}::text AS k${at}`).join(', ');
        const rows = await session.rows(
          `SELECT ${selected} FROM ${tableOf(layout)} WHERE ${sql.equals(value)} ORDER BY ${keys.join(', ')} LIMIT ${limit}`,
        );
        const ids = rows.map((row) => keys.map((_, at) => row[`k${at}`] ?? ''));
        return ids.map((values) => (key.length === 1 ? (values[0] ?? '') : compositeId(values, areNumbers(key))));
      }),
  };
}

async function countDistinct(
  session: Session,
  layout: Layout,
  field: string,
  { limit, except }: { readonly limit: number; readonly except: readonly Filter[] },
): Promise<readonly ValueCount[] | undefined> {
  const sql = valueSql(layout, field);
  // A filter's path into an object is not asked in SQL.
  const isAskable = except.every((filter) => Object.keys(filter).every((name) => !name.includes('.')));
  if (sql === undefined || !isAskable) return undefined;
  const excepted = except.map((filter) => `(${filterSql(layout, conditionsOf(filter)).join(' AND ')}) IS NOT TRUE`);
  const where = [`${sql.value} IS NOT NULL`, ...excepted].join(' AND ');
  const rows = await session.rows(
    `SELECT ${sql.json('v')} AS value, n::text AS records FROM (SELECT ${sql.value} AS v, count(*) AS n FROM ${tableOf(layout)} WHERE ${where} GROUP BY 1 ORDER BY 2 DESC LIMIT ${limit + 1}) AS counted`,
  );
  if (rows.length > limit) return undefined;
  return rows.flatMap((row) => {
    const value = row['value'] ?? 'null';
    return value === 'null' ? [] : [{ value, records: Number(row['records']) }];
  });
}

/** undefined where the server's text of it is not what stands in the payload: times, floats, bytes, lists. */
function valueSql({ payload, fields }: Layout, field: string): ValueSql | undefined {
  const steps = field.split('.');
  if (payload !== undefined) return jsonSql(payloadValue(quoteName(payload.name), field, steps));
  const column = fields.find(({ name }) => name === field);
  if (column !== undefined) return columnSql(column);
  const outer = fields.find(({ name }) => name === steps[0]);
  if (outer === undefined || (outer.base !== 'json' && outer.base !== 'jsonb')) return undefined;
  return jsonSql(`${quoteName(outer.name)}::jsonb #> ${pathText(steps.slice(1))}`);
}

function payloadValue(column: string, field: string, steps: readonly string[]): string {
  const own = `${column} -> ${quoteText(field)}`;
  if (steps.length === 1) return own;
  return `CASE WHEN jsonb_exists(${column}, ${quoteText(field)}) THEN ${own} ELSE ${column} #> ${pathText(steps)} END`;
}

const pathText = (steps: readonly string[]): string => `ARRAY[${steps.map(quoteText).join(', ')}]::text[]`;

function jsonSql(value: string): ValueSql {
  return { value: `(${value})`, json: (v) => `${v}::text`, equals: (json) => `(${value}) = ${quoteText(json)}::jsonb` };
}

const plainTypes = new Set(['bool', 'int2', 'int4', 'int8']);
const otherForms = new Set(['float4', 'float8', 'bpchar', 'timestamp', 'timestamptz', 'date', 'time', 'bytea']);

function columnSql(column: Column): ValueSql | undefined {
  const { base, isArray } = column;
  const value = quoteName(column.name);
  if (base === 'json' || base === 'jsonb') return jsonSql(`${value}::jsonb`);
  if (isArray || otherForms.has(base)) return undefined;
  const equals = (json: string): string =>
    `${value}::text = ${quoteText(json.startsWith('"') ? stringOf(json) : json)}`;
  if (plainTypes.has(base) || (base === 'numeric' && isShortDecimal(column)))
    return { value, json: (v) => `${v}::text`, equals };
  return { value, json: (v) => `to_json(${v}::text)::text`, equals };
}
