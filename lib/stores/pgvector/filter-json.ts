import type { Condition, Scalar } from '../../filter.ts';
import type { Column } from './catalog.ts';
import { quoteName, quoteText } from './names.ts';
import { roundedTo } from './rounding.ts';

/** Conditions on values that are JSON in PostgreSQL too: a column of json or jsonb, a list, a field of the whole payload. */

export const anyOf = (alternatives: readonly string[]): string =>
  alternatives.length === 0 ? 'false' : `(${alternatives.join(' OR ')})`;

export const textsIn = (values: readonly Scalar[]): string[] => values.filter((value) => typeof value === 'string');
export const numbersIn = (values: readonly Scalar[]): number[] => values.filter((value) => typeof value === 'number');
export const booleansIn = (values: readonly Scalar[]): boolean[] =>
  values.filter((value) => typeof value === 'boolean');

/** PostgreSQL's text has no NUL and no half of a surrogate pair, so no value but one of json holds such a text. */
export const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed();

/** @param payload the column that holds whole payloads */
export function payloadCondition(payload: Column, condition: Condition): string {
  const { field } = condition;
  if (!isStorable(field)) return 'false';
  const column = quoteName(payload.name);
  const value = `(${column} -> ${quoteText(field)})`;
  if (condition.kind === 'range') return jsonbCondition(value, condition);
  // A GIN index on the payload serves both. Only at the top of a value does containment take a list for its elements.
  const contained = containable(condition.values).flatMap((wanted) =>
    [wanted, [wanted]].map((each) => `${column} @> ${jsonb({ [field]: each })}`),
  );
  const numbers = numbersIn(condition.values);
  return anyOf(
    numbers.length === 0 ? contained : [...contained, numberAmong(value, { ...condition, values: numbers })],
  );
}

/** @param value SQL of type jsonb */
export function jsonbCondition(value: string, condition: Condition): string {
  if (condition.kind === 'range') return numberAmong(value, condition);
  const contained = containable(condition.values).map((wanted) => `${value} @> ${jsonb(wanted)}`);
  const hasNumbers = numbersIn(condition.values).length > 0;
  return anyOf(hasNumbers ? [...contained, numberAmong(value, condition)] : contained);
}

const jsonb = (value: unknown): string => `${quoteText(JSON.stringify(value))}::jsonb`;

/** Texts and booleans: `'["a", "b"]' @> '"a"'`, as `'"a"' @> '"a"'` (manual, "jsonb Containment and Existence"). */
const containable = (values: readonly Scalar[]): readonly (string | boolean)[] => [
  ...textsIn(values).filter(isStorable),
  ...booleansIn(values),
];

/** A number is compared by the double that it becomes, which containment does not know. */
const numberAmong = (value: string, condition: Condition): string =>
  anyElement('jsonb', value, (each) => [`WHEN 'number' THEN ${numberTest(`(${each})::numeric`, condition)}`]);

/** @param cases of what json_typeof says of an element, or of the value itself where it is no list */
function anyElement(form: 'json' | 'jsonb', value: string, cases: (each: string) => readonly string[]): string {
  const element = '"vecferry element"';
  const test = (each: string): string => {
    const found = cases(each);
    return found.length === 0 ? 'false' : `CASE ${form}_typeof(${each}) ${found.join(' ')} ELSE false END`;
  };
  return `CASE ${form}_typeof(${value}) WHEN 'array' THEN EXISTS (SELECT FROM ${form}_array_elements(${value}) ${element}(value) WHERE ${test(`${element}.value`)}) ELSE ${test(value)} END`;
}

/** Every number that becomes the wanted double, or one between the bounds. @param number SQL of type numeric */
function numberTest(number: string, condition: Condition): string {
  const literal = (text: string): string => `'${text}'::numeric`;
  if (condition.kind === 'in') {
    return anyOf(
      numbersIn(condition.values).map((value) => {
        const { from, to, isClosed } = roundedTo(value);
        const [atLeast, atMost] = isClosed ? ['>=', '<='] : ['>', '<'];
        return `(${number} ${atLeast} ${literal(from)} AND ${number} ${atMost} ${literal(to)})`;
      }),
    );
  }
  const tests: string[] = [];
  if (condition.from !== undefined) {
    const { value, isOpen } = condition.from;
    const { from, to, isClosed } = roundedTo(value);
    tests.push(
      isOpen
        ? `${number} ${isClosed ? '>' : '>='} ${literal(to)}`
        : `${number} ${isClosed ? '>=' : '>'} ${literal(from)}`,
    );
  }
  if (condition.to !== undefined) {
    const { value, isOpen } = condition.to;
    const { from, to, isClosed } = roundedTo(value);
    tests.push(
      isOpen
        ? `${number} ${isClosed ? '<' : '<='} ${literal(from)}`
        : `${number} ${isClosed ? '<=' : '<'} ${literal(to)}`,
    );
  }
  return tests.length === 0 ? 'true' : `(${tests.join(' AND ')})`;
}

/**
 * json keeps its text as it was written, also what no other type can hold: the cast of a number that overflows a numeric,
 * or of a text with U+0000 or half a surrogate pair, would fail the whole search.
 * @param value SQL of type json
 */
export function jsonCondition(value: string, condition: Condition): string {
  return anyElement('json', value, (each) => {
    const numbers = `WHEN 'number' THEN ${numberTest(jsonNumber(each), condition)}`;
    if (condition.kind === 'range') return [numbers];
    const texts = textsIn(condition.values);
    const booleans = booleansIn(condition.values);
    return [
      ...(numbersIn(condition.values).length === 0 ? [] : [numbers]),
      ...(texts.length === 0 ? [] : [`WHEN 'string' THEN ${jsonText(each, texts)}`]),
      ...(booleans.length === 0 ? [] : [`WHEN 'boolean' THEN (${each} #>> '{}')::boolean IN (${booleans.join(', ')})`]),
    ];
  });
}

/** The value of a number's text; beyond every double it is one that is also beyond. */
function jsonNumber(each: string): string {
  const text = `(${each})::text`;
  return `CASE WHEN ${text} !~ '[eE][-+]?0*[1-9][0-9]{3}' THEN ${text}::numeric WHEN ${text} ~ '^\\s*-?[0.]+[eE]|[eE]-' THEN 0 WHEN ${text} ~ '^\\s*-' THEN -1e400 ELSE 1e400 END`;
}

function jsonText(each: string, texts: readonly string[]): string {
  const text = `(${each})::text`;
  const list = (all: readonly string[]): string => all.map(quoteText).join(', ');
  // Such a text can only be compared as it is written.
  const escaped = texts.filter((value) => !isStorable(value)).map((value) => JSON.stringify(value));
  const plain = texts.filter(isStorable);
  const raw = escaped.length === 0 ? 'false' : `btrim(${text}, E' \\t\\r\\n') IN (${list(escaped)})`;
  const same = plain.length === 0 ? 'false' : `(${each} #>> '{}') COLLATE "C" IN (${list(plain)})`;
  // Escapes, each with an even number of backslashes before it: whole pairs are taken out, then none may be left.
  const withoutPairs = `regexp_replace(${text}, '(?<!\\\\)((?:\\\\\\\\)*)\\\\u[dD][89abAB]..\\\\u[dD][c-fC-F]..', '\\1', 'g')`;
  return `CASE WHEN ${withoutPairs} ~ '(?<!\\\\)(\\\\\\\\)*\\\\u(0000|[dD][89a-fA-F])' THEN ${raw} ELSE ${same} END`;
}
