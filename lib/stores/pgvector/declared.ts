import { z } from 'zod';
import { Incompatible, ShardDamaged } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import type { FieldSpec } from '../../schema.ts';
import type { Layout } from './catalog.ts';
import type { Session } from './connect.ts';
import { maxNameBytes, parseTableName, quoteName, quoteTable, quoteText, type TableName } from './names.ts';

/** Columns whose values an event declares: by an enum type, which is made where it is not there, or by a CHECK. */

/** The enum type as it stands in SQL; without a schema of its own it is in the table's. */
export function enumType(name: string, table: TableName): string {
  const { schema = table.schema, table: type } = parseTableName(name);
  return quoteTable({ schema, table: type });
}

/** Makes the enum types of these fields. @throws Incompatible when one is there with other values */
export async function requireEnums(session: Session, table: TableName, fields: readonly FieldSpec[]): Promise<void> {
  for (const { name, enum: type, values = [] } of fields) {
    if (type !== undefined) await requireEnum(session, enumType(type, table), values, name);
  }
}

async function requireEnum(session: Session, type: string, values: readonly string[], field: string): Promise<void> {
  // A label is a name (pg_enum.enumlabel), cut or refused beyond 63 bytes.
  const long = values.find((value) => value === '' || Buffer.byteLength(value) > maxNameBytes);
  if (long !== undefined) {
    const text = `field '${field}' has the value '${long}', and a value of an enum type has 1 to ${maxNameBytes} bytes`;
    throw new Incompatible(`${text}; leave "enum" out and say "check": true, which holds a text column to its values`, {
      ids: [field],
    });
  }
  const there = await labelsOf(session, type);
  if (there === undefined) {
    await session.run(`CREATE TYPE ${type} AS ENUM (${values.map(quoteText).join(', ')})`);
    return;
  }
  const isSame =
    there !== 'no enum' && there.length === values.length && values.every((value) => there.includes(value));
  if (isSame) return;
  const has = there === 'no enum' ? 'as another kind of type' : `with the values ${there.join(', ')}`;
  throw new Incompatible(
    `type ${type} is there ${has}, and mapping.columns '${field}' asks for ${values.join(', ')}; name another enum, or give it the type's values`,
    { ids: [field] },
  );
}

async function labelsOf(session: Session, type: string): Promise<readonly string[] | 'no enum' | undefined> {
  const [row] = await session.rows(
    `SELECT t.typtype::text AS kind, (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)::text AS labels
     FROM pg_type t WHERE t.oid = to_regtype($1::text)::oid`,
    [type],
  );
  if (row === undefined) return undefined;
  return row['kind'] === 'e'
    ? parseAs(z.array(z.string()), JSON.parse(row['labels'] ?? '[]'), 'the values of an enum type', ShardDamaged)
    : 'no enum';
}

/** ` CHECK ("state" IN ('pending', 'done'))`; null passes, as in every CHECK. '' where the field asks for none. */
export function checkClause({ name, type, values, check, enum: own }: FieldSpec): string {
  if (check !== true || values === undefined || own !== undefined) return '';
  const column = type === 'text' ? quoteName(name) : `${quoteName(name)}::text`;
  return ` CHECK (${column} IN (${values.map(quoteText).join(', ')}))`;
}

/** What is wrong with the columns of a table that is there. */
export function enumProblems(layout: Layout, table: TableName, fields: readonly FieldSpec[]): string[] {
  return fields.flatMap(({ name, enum: type }) => {
    const column = layout.fields.find((each) => each.name === name);
    if (type === undefined || column === undefined) return [];
    const { table: wanted } = parseTableName(enumType(type, table));
    return column.base === wanted
      ? []
      : [`its column '${name}' is of type ${column.native}, not of the enum ${wanted}`];
  });
}
