import { z } from 'zod';

/**
 * A filter on payload fields, as an application sends one along with a search: each field must meet its condition. One
 * small language that every store can be asked in, and that the exact neighbours are worked out by.
 *
 * `{"topic": "news", "year": {"gte": 2020}, "lang": {"in": ["en", "de"]}}`
 *
 * A field that is absent or null meets no condition. A list meets one when any of its elements does; lists and objects
 * within it do not. A range's two ends must hold for the same element. Numbers compare by value (1 and 1.0 are equal), text
 * by its code points, and no value equals one of another JSON type.
 *
 * A number of a payload counts as the double nearest to it, as every JSON reader takes it; a filter's numbers go up to
 * 2^53 - 1. So an integer beyond 2^53 (a snowflake id, nanoseconds) is met by ranges as its digits say, whether a store compares
 * 64-bit integers or doubles, and never by equality: the double nearest to it is 2^53 or more. Of numbers with more than 17
 * digits those are equal that have the same nearest double.
 */

const filterNumber = z
  .number()
  .refine(
    (value) => Math.abs(value) <= Number.MAX_SAFE_INTEGER,
    'is beyond 2^53 - 1, where JSON readers round integers; filter on another field, or keep such a value as text',
  );
const filterText = z
  .string()
  .refine((value) => value.isWellFormed(), 'has half of a surrogate pair, which UTF-8 has no form for');
const scalar = z.union([filterText, filterNumber, z.boolean()]);
export type Scalar = z.infer<typeof scalar>;

const range = z
  .strictObject({
    gt: filterNumber.optional(),
    gte: filterNumber.optional(),
    lt: filterNumber.optional(),
    lte: filterNumber.optional(),
  })
  .refine((bounds) => Object.keys(bounds).length > 0, 'names no bound; it takes gt, gte, lt or lte');

// `__proto__` is the one name that zod's records drop: the field would be left out and the filter let more through.
const isNotDropped = (filter: unknown): boolean =>
  typeof filter !== 'object' || filter === null || !Object.hasOwn(filter, '__proto__');

export const filterSchema = z
  .unknown()
  .refine(isNotDropped, "cannot filter on a field named '__proto__'; give it another name with mapping.payload")
  .pipe(z.record(filterText.min(1), z.union([scalar, z.strictObject({ in: z.array(scalar).min(1).max(100) }), range])))
  .refine((filter) => Object.keys(filter).length > 0, 'names no field');
export type Filter = z.infer<typeof filterSchema>;

/** One field's condition in the form that stores are asked in: equality is a list of one. */
export type Condition =
  | { readonly kind: 'in'; readonly field: string; readonly values: readonly Scalar[] }
  | {
      readonly kind: 'range';
      readonly field: string;
      /** The least and the greatest number that may stand there; `isOpen` ends are themselves left out. */
      readonly from?: { readonly value: number; readonly isOpen: boolean };
      readonly to?: { readonly value: number; readonly isOpen: boolean };
    };

/** All of them must hold. */
export function conditionsOf(filter: Filter): readonly Condition[] {
  return Object.entries(filter).map(([field, wanted]): Condition => {
    if (typeof wanted !== 'object') return { kind: 'in', field, values: [wanted] };
    if ('in' in wanted) return { kind: 'in', field, values: wanted.in };
    const from = bound(wanted.gt, wanted.gte, Math.max);
    const to = bound(wanted.lt, wanted.lte, Math.min);
    return { kind: 'range', field, ...(from && { from }), ...(to && { to }) };
  });
}

/** Of an open and a closed bound the tighter one holds; where they are the same, the open one is. */
function bound(open: number | undefined, closed: number | undefined, tighter: (a: number, b: number) => number) {
  if (open === undefined) return closed === undefined ? undefined : { value: closed, isOpen: false };
  if (closed === undefined) return { value: open, isOpen: true };
  const value = tighter(open, closed);
  return { value, isOpen: value === open };
}

/** A payload's fields, parsed once for many conditions; a map, so that no name is inherited. undefined where it is no JSON object. */
export type Fields = ReadonlyMap<string, unknown> | undefined;

/** @param payload a JSON object as text @throws SyntaxError when it is not JSON */
export function fieldsOf(payload: string): Fields {
  const fields: unknown = JSON.parse(payload);
  return typeof fields === 'object' && fields !== null && !Array.isArray(fields)
    ? new Map(Object.entries(fields))
    : undefined;
}

/** True when a record's payload meets every condition. @param payload a JSON object as text */
export function meets(conditions: readonly Condition[], payload: string): boolean {
  return fieldsMeet(conditions, fieldsOf(payload));
}

/** The same of a payload that is parsed already. */
export function fieldsMeet(conditions: readonly Condition[], fields: Fields): boolean {
  if (fields === undefined) return false;
  return conditions.every((condition) => {
    const value = fields.get(condition.field);
    return Array.isArray(value) ? value.some((each) => holds(condition, each)) : holds(condition, value);
  });
}

function holds(condition: Condition, value: unknown): boolean {
  if (condition.kind === 'in') return condition.values.some((each) => each === value);
  if (typeof value !== 'number') return false;
  const { from, to } = condition;
  const isAbove = from === undefined || (from.isOpen ? value > from.value : value >= from.value);
  const isBelow = to === undefined || (to.isOpen ? value < to.value : value <= to.value);
  return isAbove && isBelow;
}
