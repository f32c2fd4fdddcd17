import { z } from 'zod';

/**
 * A filter on payload fields, as an application sends one along with a search: each field must meet its condition. One
 * small language that every store can be asked in, and that the exact neighbours are worked out by.
 *
 * `{"topic": "news", "year": {"gte": 2020}, "lang": {"in": ["en", "de"]}}`
 *
 * A field that is absent or null meets no condition. A list meets one when any of its elements does. Numbers compare by
 * value (1 and 1.0 are equal), text by its code points, and no value equals one of another JSON type.
 */

const scalar = z.union([z.string(), z.number(), z.boolean()]);
export type Scalar = z.infer<typeof scalar>;

const range = z
  .strictObject({
    gt: z.number().optional(),
    gte: z.number().optional(),
    lt: z.number().optional(),
    lte: z.number().optional(),
  })
  .refine((bounds) => Object.keys(bounds).length > 0, 'names no bound; it takes gt, gte, lt or lte');

export const filterSchema = z
  .record(z.string().min(1), z.union([scalar, z.strictObject({ in: z.array(scalar).min(1).max(100) }), range]))
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

/** A payload's fields, parsed once for many conditions; undefined where it is no JSON object. */
export type Fields = ReadonlyMap<string, unknown> | undefined;

/** @param payload a JSON object as text */
export function fieldsOf(payload: string): Fields {
  const fields: unknown = JSON.parse(payload);
  return typeof fields === 'object' && fields !== null ? new Map(Object.entries(fields)) : undefined;
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
