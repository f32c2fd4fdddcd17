import { parse, stringify } from 'lossless-json';
import type { MappingPlan } from './mapping-files.ts';

/** The fields of a target's record that say which model made its vector. */
export type Mark = NonNullable<MappingPlan['mark']>;

/**
 * The payload with the mark, in front of its other fields: a mark that an earlier run left there gives way to it. A record
 * that has no vector has no mark; where the target declares its fields, these are null then. With `isKept` a mark that is there stays.
 */
export function withMark(payload: string, { fields, isDeclared, isKept }: Mark, hasVector: boolean): string {
  const names = Object.keys(fields);
  if (isKept === true && hasVector && saysAny(payload, names)) return payload;
  const rest = names.some((name) => payload.includes(JSON.stringify(name))) ? without(payload, names) : payload;
  const values = names.map((name) => [name, hasVector ? fields[name] : null] as const);
  if (!hasVector && !isDeclared) return rest;
  const own = JSON.stringify(Object.fromEntries(values)).slice(1, -1);
  const others = rest.slice(rest.indexOf('{') + 1);
  return /^\s*\}/.test(others) ? `{${own}}` : `{${own},${others}`;
}

const saysAny = (payload: string, names: readonly string[]): boolean =>
  Object.entries(Object(parse(payload))).some(([name, value]) => names.includes(name) && value !== null);

function without(payload: string, names: readonly string[]): string {
  const kept = Object.entries(Object(parse(payload))).filter(([name]) => !names.includes(name));
  return stringify(Object.fromEntries(kept)) ?? '{}';
}
