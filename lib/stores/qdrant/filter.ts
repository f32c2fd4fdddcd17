import { Incompatible } from '../../errors.ts';
import type { Condition, Scalar } from '../../filter.ts';
import { type ProtoWriter, tagOf } from './wire.ts';

/**
 * Conditions on payload fields in Qdrant's words: JSON for REST, messages for gRPC. Every number is asked for as a range,
 * because `match` takes integers only and finds no 1.0 where 1 is asked for; a range compares as doubles, as `meets` does.
 * An application's `match` finds the same records where a field holds integers.
 */

/** One item of a filter's `must`, as REST takes it. */
export type QdrantCondition =
  | { readonly key: string; readonly match: { readonly value: string | boolean } | { readonly any: readonly string[] } }
  | { readonly key: string; readonly range: NumberRange }
  | { readonly should: readonly QdrantCondition[] };

interface NumberRange {
  readonly lt?: number;
  readonly gt?: number;
  readonly gte?: number;
  readonly lte?: number;
}

/** What `must` holds. @throws Incompatible for a field that Qdrant's filters cannot name. */
export function mustOf(conditions: readonly Condition[]): readonly QdrantCondition[] {
  return conditions.map((condition): QdrantCondition => {
    const key = pathOf(condition.field);
    if (condition.kind === 'in') return oneOf(key, condition.values);
    const { from, to } = condition;
    const range = {
      ...(from && (from.isOpen ? { gt: from.value } : { gte: from.value })),
      ...(to && (to.isOpen ? { lt: to.value } : { lte: to.value })),
    };
    return { key, range };
  });
}

function oneOf(key: string, values: readonly Scalar[]): QdrantCondition {
  const texts = new Set<string>();
  const others: QdrantCondition[] = [];
  for (const value of new Set(values)) {
    if (typeof value === 'string') texts.add(value);
    else if (typeof value === 'boolean') others.push({ key, match: { value } });
    else others.push({ key, range: { gte: value, lte: value } });
  }
  const [first] = texts;
  if (first !== undefined) others.push({ key, match: texts.size === 1 ? { value: first } : { any: [...texts] } });
  const [only, ...more] = others;
  // None of no values: an empty `should` would let every record through.
  if (only === undefined) return { key, match: { any: [] } };
  return more.length === 0 ? only : { should: others };
}

/**
 * A top-level field as Qdrant's JSON path: in quotes where it is more than letters, digits, - and _, since a dot would
 * lead into an object and brackets into a list. Within quotes there is no escape, for any character.
 */
function pathOf(field: string): string {
  if (/^[\p{Alphabetic}\p{N}_-]+$/u.test(field)) return field;
  if (!/["\\]/.test(field)) return `"${field}"`;
  throw new Incompatible(
    `Qdrant's filters cannot name the field ${JSON.stringify(field)}: its JSON path takes neither quotes nor backslashes; filter on another field`,
    { ids: [field] },
  );
}

/** Field numbers of qdrant_common.proto. */
const filterField = { should: 1, must: 2 } as const;
const conditionField = { field: 1, filter: 4 } as const;
const fieldCondition = { key: 1, match: 2, range: 3 } as const;
const match = { keyword: 1, boolean: 3, keywords: 5 } as const;
const rangeField = { lt: 1, gt: 2, gte: 3, lte: 4 } as const;

/** Writes a Filter message that demands all of `must` as `field` of the message under construction. */
export function writeFilter(writer: ProtoWriter, field: number, must: readonly QdrantCondition[]): void {
  writeClauses(writer, field, filterField.must, must);
}

function writeClauses(
  writer: ProtoWriter,
  field: number,
  clause: number,
  conditions: readonly QdrantCondition[],
): void {
  const filter = writer.open(field);
  for (const each of conditions) {
    const start = writer.open(clause);
    if ('should' in each) writeClauses(writer, conditionField.filter, filterField.should, each.should);
    else writeFieldCondition(writer, each);
    writer.close(start);
  }
  writer.close(filter);
}

function writeFieldCondition(writer: ProtoWriter, condition: Exclude<QdrantCondition, { should: unknown }>): void {
  const start = writer.open(conditionField.field);
  writer.text(fieldCondition.key, condition.key);
  if ('range' in condition) {
    const range = writer.open(fieldCondition.range);
    writeBound(writer, rangeField.lt, condition.range.lt);
    writeBound(writer, rangeField.gt, condition.range.gt);
    writeBound(writer, rangeField.gte, condition.range.gte);
    writeBound(writer, rangeField.lte, condition.range.lte);
    writer.close(range);
  } else {
    const wanted = writer.open(fieldCondition.match);
    writeMatch(writer, condition.match);
    writer.close(wanted);
  }
  writer.close(start);
}

function writeMatch(writer: ProtoWriter, wanted: { value: string | boolean } | { any: readonly string[] }): void {
  if ('any' in wanted) {
    const keywords = writer.open(match.keywords);
    for (const each of wanted.any) writer.text(1, each);
    writer.close(keywords);
  } else if (typeof wanted.value === 'string') {
    writer.text(match.keyword, wanted.value);
  } else {
    writer.varint(tagOf(match.boolean, 'varint'));
    writer.varint(wanted.value ? 1 : 0);
  }
}

function writeBound(writer: ProtoWriter, field: number, value: number | undefined): void {
  if (value === undefined) return;
  writer.varint(tagOf(field, 'fixed64'));
  writer.double(value);
}
