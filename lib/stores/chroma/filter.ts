import { Incompatible } from '../../errors.ts';
import type { Condition, Scalar } from '../../filter.ts';
import { splitArray, splitObject, stringOf } from '../json-members.ts';
import { type Answer, isKey, isParsedExactly, type Names, restKey } from './records.ts';

/**
 * A filter as Chroma's `where`, measured on 1.5.9:
 * - an operand without a fraction is held against integers and floats alike; one with a fraction against floats, and cut
 *   to its whole part against integers, so that `$eq: 1.5` finds 1. Such a comparison stands beside bounds that let
 *   no integer through;
 * - lists have `$contains` alone, which tells 1 from 1.0: both are asked for;
 * - document and URI are metadata under names of Chroma's own.
 */

/** What some records hold that `where` cannot see, from a sample of them. */
export interface Unseen {
  /** Fields carried as JSON text (lists of several types, integers beyond 64 bits), and a record that has one. */
  readonly json: ReadonlyMap<string, string>;
  /** Fields with lists of numbers, which ranges do not look into. */
  readonly numberLists: ReadonlyMap<string, string>;
}

/** A record may hold anything under a name, and Chroma has no question for that; most collections hold one kind. */
export function unseenIn({ ids, payloads }: Answer): Unseen {
  const json = new Map<string, string>();
  const numberLists = new Map<string, string>();
  for (const [at, { metadata }] of payloads.entries()) {
    const id = ids[at] ?? '';
    for (const [name, raw] of metadata) if (/^\[\s*[-0-9]/.test(raw)) numberLists.set(name, id);
    const rest = metadata.get(restKey);
    if (rest === undefined || !/^"\s*\{/.test(rest)) continue;
    for (const [name, raw] of splitObject(stringOf(rest))) if (!metadata.has(name) && canMeet(raw)) json.set(name, id);
  }
  return { json, numberLists };
}

/** Null, an object and an empty list meet no condition, so it does not matter where they stand. */
function canMeet(raw: string): boolean {
  if (raw === 'null' || raw.startsWith('{')) return false;
  return !raw.startsWith('[') || splitArray(raw).some((element) => !/^(null$|\{|\[)/.test(element));
}

/** The filter as JSON text. @throws Incompatible for a condition that Chroma cannot answer for each record. */
export function whereOf(conditions: readonly Condition[], names: Names, unseen: Unseen): string {
  const parts = conditions.map((condition) => {
    refuse(condition, names, unseen);
    return condition.kind === 'in' ? equalTo(condition, names) : between(condition);
  });
  return both(parts);
}

function refuse(condition: Condition, names: Names, { json, numberLists }: Unseen): void {
  const { field } = condition;
  const say = (why: string): never => {
    throw new Incompatible(`Chroma cannot filter on field '${field}': ${why}`, { ids: [field] });
  };
  const isOwn = field === names.document || field === names.uri;
  if (!isOwn && !isKey(field, names)) say('it keeps such names for itself, so the field is carried as JSON text');
  const carried = json.get(field);
  if (carried !== undefined)
    say(`record '${carried}' has a value there that metadata cannot hold, which is carried as JSON text`);
  const list = numberLists.get(field);
  if (condition.kind === 'range' && list !== undefined)
    say(`record '${list}' has a list of numbers there, and ranges do not look into lists`);
  const operands = condition.kind === 'in' ? condition.values : [condition.from?.value, condition.to?.value];
  const odd = operands.find((value) => typeof value === 'number' && !isParsedExactly(String(value)));
  if (odd !== undefined) say(`it reads ${odd} as a neighbouring number; give at most 15 digits`);
}

type In = Extract<Condition, { kind: 'in' }>;
type Range = Extract<Condition, { kind: 'range' }>;

function equalTo({ field, values }: In, names: Names): string {
  if (field === names.document) return oneOf('chroma:document', textsOf(values));
  if (field === names.uri) return oneOf('chroma:uri', textsOf(values));
  return either([
    oneOf(field, textsOf(values)),
    ...values.flatMap((value) => {
      if (typeof value !== 'number') return typeof value === 'boolean' ? [compare(field, '$eq', String(value))] : [];
      const same = compare(field, '$eq', String(value));
      return [Number.isInteger(value) ? same : both([same, ...noInteger(field, value)])];
    }),
    ...values.flatMap((value) => elementTexts(value).map((text) => compare(field, '$contains', text))),
  ]);
}

function textsOf(values: readonly Scalar[]): string[] {
  return values.flatMap((value) => (typeof value === 'string' ? [JSON.stringify(value)] : []));
}

function elementTexts(value: Scalar): string[] {
  if (typeof value !== 'number') return [JSON.stringify(value)];
  return Number.isInteger(value) ? [String(value), `${value}.0`] : [String(value)];
}

function between({ field, from, to }: Range): string {
  return both([
    ...(from === undefined ? [] : [bound(field, from.isOpen ? '$gt' : '$gte', from.value)]),
    ...(to === undefined ? [] : [bound(field, to.isOpen ? '$lt' : '$lte', to.value)]),
  ]);
}

/** With a fraction: the floats between its two neighbouring integers, and everything from the farther of these on. */
function bound(field: string, operator: '$gt' | '$gte' | '$lt' | '$lte', value: number): string {
  if (Number.isInteger(value)) return compare(field, operator, String(value));
  const [beyond, integer] = operator.startsWith('$g') ? ['$gte', Math.ceil(value)] : ['$lte', Math.floor(value)];
  return either([
    compare(field, beyond, String(integer)),
    both([compare(field, operator, String(value)), ...noInteger(field, value)]),
  ]);
}

/** Between the integers around a fraction there is none. */
function noInteger(field: string, value: number): string[] {
  return [compare(field, '$gt', String(Math.floor(value))), compare(field, '$lt', String(Math.ceil(value)))];
}

function compare(field: string, operator: string, operand: string): string {
  return `{${JSON.stringify(field)}:{"${operator}":${operand}}}`;
}

/** Of no texts at all: what no record meets. */
function oneOf(field: string, texts: readonly string[]): string {
  return texts.length === 0 ? '' : compare(field, '$in', `[${texts.join(',')}]`);
}

/** '' stands for what no record meets. */
function either(parts: readonly string[]): string {
  const able = parts.filter((part) => part !== '');
  return able.length > 1 ? `{"$or":[${able.join(',')}]}` : (able[0] ?? '');
}

function both(parts: readonly string[]): string {
  if (parts.includes('')) return '';
  return parts.length > 1 ? `{"$and":[${parts.join(',')}]}` : (parts[0] ?? '');
}
