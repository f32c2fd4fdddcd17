import type { Table } from '@lancedb/lancedb';
import { type DataType, type Field, TimeUnit, DataType as Type } from 'apache-arrow';
import { Incompatible } from '../../errors.ts';
import type { Condition, Scalar } from '../../filter.ts';
import { dayText, parseTimestamp, timestampText } from '../arrow-cells.ts';
import { type Layout, restColumn } from './layout.ts';

/**
 * A filter as SQL over the table's columns. LanceDB filters before it searches (prefilter), so k records are found where
 * k meet it. Its JSON functions read Lance's own binary JSON, not text, so what stands in the JSON column of a table made
 * here cannot be asked for: such a condition is refused. Columns answer for themselves as long as no value of the field
 * stands in the JSON column because it did not fit, which is looked up once a field and table version.
 */

const never = 'false';

/** Conditions on columns; remembers which fields have values in the JSON column. One for a handle on a table. */
export interface FilterWriter {
  /** @throws Incompatible for a condition that LanceDB cannot answer for each record. */
  sql(table: Table, layout: Layout, conditions: readonly Condition[]): Promise<string>;
}

export function filterWriter(): FilterWriter {
  const checked = new Map<string, Promise<number>>();
  return {
    async sql(table, layout, conditions) {
      const arrow = await table.schema();
      const version = await table.version();
      const parts: string[] = [];
      for (const condition of conditions) {
        const field = layout.fields.some(({ name }) => name === condition.field)
          ? arrow.fields.find(({ name }) => name === condition.field)
          : undefined;
        if (field === undefined) parts.push(withoutColumn(layout, condition.field));
        else {
          if (layout.isOurs) {
            const key = `${version}:${field.name}`;
            const pending = checked.get(key) ?? table.countRows(standsInJson(field));
            checked.set(key, pending);
            refuseLeft(field, await pending);
          }
          parts.push(conditionSql(field, condition));
        }
      }
      return parts.map((part) => `(${part})`).join(' AND ');
    },
  };
}

/** No record of a table made elsewhere has a field that is no column. */
function withoutColumn({ isOurs, fields }: Layout, name: string): string {
  if (!isOurs) return never;
  throw new Incompatible(
    `field '${name}' is no column of the LanceDB table: it stands in the JSON column '${restColumn}', which LanceDB cannot filter on; columns are ${fields.map((each) => each.name).join(', ') || '(none: the source declares no fields)'}`,
    { ids: [name] },
  );
}

function refuseLeft({ name, type }: Field, left: number): void {
  if (left === 0) return;
  throw new Incompatible(
    `${left} records have a value of field '${name}' that does not fit its column (${type}): it stands in the JSON column '${restColumn}', which LanceDB cannot filter on; mend these records or leave the field out of the filters`,
    { ids: [name] },
  );
}

/**
 * True for records whose JSON column has a value of the field, null aside. A number beside a column of doubles only has
 * more digits than a double, which count for nothing. A field of the same name deep in an object looks the same, and is
 * then refused without need.
 */
function standsInJson({ name, type }: Field): string {
  const key = [...JSON.stringify(name)].map(escaped).join('');
  return `regexp_like(\`${restColumn}\`, '${key}:[^n${Type.isFloat(type) ? '0-9-' : ''}]')`;
}

function escaped(char: string): string {
  return /[\p{L}\p{N}]/u.test(char) ? char : `\\x{${char.codePointAt(0)?.toString(16)}}`;
}

function conditionSql({ name, type }: Field, condition: Condition): string {
  const column = `\`${name}\``;
  if (Type.isList(type) || Type.isFixedSizeList(type))
    return listSql(column, name, type.children[0]?.type ?? type, condition);
  if (Type.isStruct(type) || Type.isMap(type)) return never;
  if (isNumeric(type)) return numberSql(column, type, condition);
  if (condition.kind === 'range') return never;
  const literals = condition.values.flatMap((value) => literalOf(name, type, value) ?? []);
  return literals.length === 0 ? never : `${column} IN (${literals.join(', ')})`;
}

/** Decimals of more digits are text in a payload. */
function isNumeric(type: DataType): boolean {
  return Type.isInt(type) || Type.isFloat(type) || (Type.isDecimal(type) && type.precision <= 15);
}

/** LanceDB turns a literal into the column's type, which rounds or fails for narrow ones: these are widened instead. */
function numberSql(column: string, type: DataType, condition: Condition): string {
  const isWhole = Type.isInt(type);
  const isWide = isWhole ? type.bitWidth === 64 && type.isSigned : Type.isFloat(type) && type.precision === 2;
  const wide = isWide ? column : `cast(${column} as ${isWhole ? wholeType(type) : 'double'})`;
  if (condition.kind === 'in') {
    const values = condition.values.filter((value) => typeof value === 'number');
    const literals = values.filter((value) => !isWhole || Number.isInteger(value)).map(numberText);
    return literals.length === 0 ? never : `${wide} IN (${literals.join(', ')})`;
  }
  return (isWhole ? wholeEnds(condition) : realEnds(condition)).map((end) => `${wide} ${end}`).join(' AND ');
}

type RangeCondition = Extract<Condition, { kind: 'range' }>;

/** A fraction is no bound for a column of integers. */
function wholeEnds({ from, to }: RangeCondition): string[] {
  return [
    ...(from === undefined
      ? []
      : [`>= ${numberText(from.isOpen ? Math.floor(from.value) + 1 : Math.ceil(from.value))}`]),
    ...(to === undefined ? [] : [`<= ${numberText(to.isOpen ? Math.ceil(to.value) - 1 : Math.floor(to.value))}`]),
  ];
}

function realEnds({ from, to }: RangeCondition): string[] {
  return [
    ...(from === undefined ? [] : [`${from.isOpen ? '>' : '>='} ${numberText(from.value)}`]),
    ...(to === undefined ? [] : [`${to.isOpen ? '<' : '<='} ${numberText(to.value)}`]),
  ];
}

/** 64 bits without a sign reach beyond bigint. */
function wholeType(type: DataType): string {
  return Type.isInt(type) && type.bitWidth === 64 ? 'decimal(20, 0)' : 'bigint';
}

function numberText(value: number): string {
  return String(value === 0 ? 0 : value);
}

function listSql(column: string, name: string, type: DataType, condition: Condition): string {
  if (condition.kind === 'range') {
    if (!isNumeric(type)) return never;
    throw new Incompatible(
      `field '${name}' of the LanceDB table holds lists, and its SQL cannot ask for a range within a list; filter on single values of it`,
      { ids: [name] },
    );
  }
  const literals = condition.values.flatMap((value) => elementOf(name, type, value) ?? []);
  return literals.length === 0 ? never : literals.map((literal) => `array_has(${column}, ${literal})`).join(' OR ');
}

function elementOf(name: string, type: DataType, value: Scalar): string | undefined {
  if (!isNumeric(type)) return literalOf(name, type, value);
  if (typeof value !== 'number' || (Type.isInt(type) && !Number.isInteger(value))) return undefined;
  // No float32 equals a double that is not one.
  if (Type.isFloat(type) && type.precision === 1 && Math.fround(value) !== value) return undefined;
  return numberText(value);
}

/** The value as the column's type spells it in SQL; undefined where no value of the column stands for it in a payload. */
function literalOf(name: string, type: DataType, value: Scalar): string | undefined {
  if (Type.isBool(type)) return typeof value === 'boolean' ? String(value) : undefined;
  if (Type.isUtf8(type) || Type.isLargeUtf8(type)) return typeof value === 'string' ? textLiteral(value) : undefined;
  if (Type.isTimestamp(type) && type.unit === TimeUnit.MICROSECOND && type.timezone) return instantLiteral(value);
  if (Type.isDate(type) && type.unit === 0) return dayLiteral(value);
  if (Type.isBinary(type) || Type.isLargeBinary(type)) return bytesLiteral(value);
  throw new Incompatible(`field '${name}' of the LanceDB table is ${type}, which vecferry has no filter for`, {
    ids: [name],
  });
}

function textLiteral(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}

/** In the one spelling that a payload has for it; equality is of text. */
function instantLiteral(value: Scalar): string | undefined {
  const instant = typeof value === 'string' ? parseTimestamp(value) : undefined;
  if (instant === undefined) return undefined;
  const text = timestampText(instant, TimeUnit.MICROSECOND);
  return `${text}Z` === value ? `timestamp '${text.replace('T', ' ')}'` : undefined;
}

function dayLiteral(value: Scalar): string | undefined {
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\d$/.test(value)) return undefined;
  const day = Date.parse(`${value}T00:00:00Z`) / 86_400_000;
  return Number.isInteger(day) && dayText(day) === value ? `date '${value}'` : undefined;
}

function bytesLiteral(value: Scalar): string | undefined {
  if (typeof value !== 'string') return undefined;
  const bytes = Buffer.from(value, 'base64');
  return bytes.toString('base64') === value ? `X'${bytes.toString('hex')}'` : undefined;
}
