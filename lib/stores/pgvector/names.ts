import { InvalidEvent, NotFound } from '../../errors.ts';
import type { Session } from './connect.ts';

/** Names and literals in SQL text: COPY takes no parameters, so everything that is not ours is quoted here. */

/** Bytes of a name that PostgreSQL keeps (NAMEDATALEN - 1); it would cut a longer one off in silence. */
export const maxNameBytes = 63;

/** A table's name as the user wrote it; without a schema the search path decides. */
export interface TableName {
  readonly schema: string | undefined;
  readonly table: string;
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A string literal; sessions have standard_conforming_strings on, so only the quote is special. */
export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function quoteTable({ schema, table }: TableName): string {
  return schema === undefined ? quoteName(table) : `${quoteName(schema)}.${quoteName(table)}`;
}

/**
 * `table` or `schema.table`; each part is taken as it is, upper case included, and may stand in double quotes where it
 * holds a dot. @throws InvalidEvent when it is neither, or longer than PostgreSQL keeps.
 */
export function parseTableName(collection: string): TableName {
  const match = /^(?:("(?:[^"]|"")+"|[^".]+)\.)?("(?:[^"]|"")+"|[^".]+)$/u.exec(collection);
  const table = match?.[2];
  if (table === undefined || collection.includes('\0')) {
    throw new InvalidEvent(`'${collection}' is no name of a table; write table, schema.table or "schema"."ta.ble"`, {
      ids: [collection],
    });
  }
  const schema = match?.[1];
  const name = { schema: schema === undefined ? undefined : unquote(schema), table: unquote(table) };
  for (const part of [name.schema ?? '', name.table]) {
    if (Buffer.byteLength(part) > maxNameBytes)
      throw new InvalidEvent(`the name '${part}' is longer than PostgreSQL's ${maxNameBytes} bytes; shorten it`);
  }
  return name;
}

/** The table's oid as text; undefined when there is none. Views and indexes have oids too: the caller looks at the kind. */
export async function findTable(session: Session, name: TableName): Promise<string | undefined> {
  const [row] = await session.rows('SELECT to_regclass($1::text)::oid::text AS oid', [quoteTable(name)]);
  return row?.['oid'] ?? undefined;
}

/** @throws NotFound when there is no such table. */
export async function requireTable(session: Session, name: TableName): Promise<string> {
  const oid = await findTable(session, name);
  if (oid !== undefined) return oid;
  throw new NotFound(`there is no table ${quoteTable(name)}, or its schema is not on the search path`, {
    ids: [quoteTable(name)],
  });
}

function unquote(part: string): string {
  return part.startsWith('"') ? part.slice(1, -1).replaceAll('""', '"') : part;
}
