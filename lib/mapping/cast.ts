import { canonicalNumber } from '../compare/json-equal.ts';
import type { CastName } from '../event-mapping.ts';
import { isNumber, stringOf } from '../stores/json-members.ts';
import { dateText, parseDate, parseTimestamp, timestampText } from '../stores/pgvector/time.ts';

/**
 * Casts, from JSON text to JSON text. null is no value and stays null under each. What is refused is never guessed at:
 *
 * number: numbers and texts of one; the nearest double
 * integer: numbers and texts without a fraction, of any size; every digit stays
 * string: texts; numbers by their digits, true and false, lists and objects as JSON
 * boolean: true, false, 1, 0, and the texts that PostgreSQL takes: true, t, yes, y, on, 1 and their opposites, in any case
 * timestamp: ISO 8601 (without an offset it is UTC), dates (their midnight), numbers where the rule says their unit; in UTC
 * date: ISO 8601 dates; of a timestamp its day in UTC; numbers where the rule says their unit
 * json: a text that is JSON becomes what it says; all else stays
 * list: lists, texts of a JSON list; any other value alone
 */

/** A value that a cast does not take; `because` goes on from the value. */
export class CastRefused extends Error {}

export type Unit = 's' | 'ms' | 'us';

/** @throws CastRefused */
export function castValue(raw: string, to: CastName, unit?: Unit): string {
  if (raw === 'null') return raw;
  switch (to) {
    case 'number':
      return toNumber(raw);
    case 'integer':
      return toInteger(raw);
    case 'string':
      return raw.startsWith('"') ? raw : JSON.stringify(raw);
    case 'boolean':
      return toBoolean(raw);
    case 'timestamp':
      return JSON.stringify(timestampText(toMicros(raw, unit, 'a timestamp')));
    case 'date':
      return toDate(raw, unit);
    case 'json':
      return raw.startsWith('"') ? toJson(raw) : raw;
    case 'list':
      return toList(raw);
  }
}

/** What a cast loses of a value that it takes; undefined: nothing. */
export function lossOf(raw: string, cast: string, to: CastName): 'digits' | 'time of day' | undefined {
  if (raw === 'null') return undefined;
  const text = plainText(raw).trim();
  if (to === 'number') return canonicalNumber(text) === canonicalNumber(cast) ? undefined : 'digits';
  if (to !== 'date' || isNumber(raw) || parseDate(text) !== undefined) return undefined;
  const micros = parseTimestamp(text) ?? 0n;
  return micros % microsPerDay === 0n ? undefined : 'time of day';
}

/** A text without its quotes; any other value's JSON. */
export const plainText = (raw: string): string => (raw.startsWith('"') ? stringOf(raw) : raw);

function toNumber(raw: string): string {
  const text = plainText(raw).trim();
  if (raw.startsWith('"') && /^[+.]/.test(text))
    return toNumber(JSON.stringify(text.replace(/^\+/, '').replace(/^\./, '0.')));
  const value = isNumber(text) ? Number(text) : Number.NaN;
  if (Number.isFinite(value)) return Object.is(value, -0) ? '0' : String(value);
  throw new CastRefused('is no number');
}

function toInteger(raw: string): string {
  const text = plainText(raw).trim();
  const whole = /^[+-]?(\d+)(?:\.0*)?$/.exec(text)?.[1];
  if (whole !== undefined) {
    const digits = whole.replace(/^0+(?=\d)/, '');
    return text.startsWith('-') && digits !== '0' ? `-${digits}` : digits;
  }
  // 1e3 and 1.20e1, whose digits are moved; a bound keeps 1e999999999 from being written out.
  const value = isNumber(text) && /e/i.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value)) return String(value === 0 ? 0 : value);
  throw new CastRefused('is no integer');
}

const truths = new Set(['true', 't', 'yes', 'y', 'on', '1']);
const lies = new Set(['false', 'f', 'no', 'n', 'off', '0']);

function toBoolean(raw: string): string {
  const word = plainText(raw).trim().toLowerCase();
  if (truths.has(word)) return 'true';
  if (lies.has(word)) return 'false';
  throw new CastRefused('is neither true nor false');
}

const microsPerDay = 86_400_000_000n;
/** Microseconds from 1970 to PostgreSQL's epoch, 2000. */
const epoch = 946_684_800_000_000n;
const digitsOfUnit: Readonly<Record<Unit, number>> = { s: 6, ms: 3, us: 0 };

/** Microseconds since 2000-01-01 UTC. */
function toMicros(raw: string, unit: Unit | undefined, what: string): bigint {
  const text = plainText(raw).trim();
  if (raw.startsWith('"') && unit === undefined) {
    const micros = parseTimestamp(text);
    if (micros !== undefined) return inRange(micros);
    throw new CastRefused(`is not ${what} of ISO 8601, with a second's fraction of six digits at most`);
  }
  const [, sign, whole = '', fraction = ''] = /^([+-]?)(\d{1,20})(?:\.(\d{1,20}))?$/.exec(text) ?? [];
  if (unit === undefined && whole !== '')
    throw new CastRefused(`is a number; say what it counts since 1970 with "unit": "s", "ms" or "us"`);
  const kept = unit === undefined ? 0 : digitsOfUnit[unit];
  if (whole === '' || /[1-9]/.test(fraction.slice(kept))) throw new CastRefused(`is not ${what}`);
  const micros = BigInt(`${whole}${fraction.slice(0, kept).padEnd(kept, '0')}`);
  return inRange((sign === '-' ? -micros : micros) - epoch);
}

/** What PostgreSQL's timestamps hold, 4713 BC to 294276, which is also what can be written as text here. */
function inRange(micros: bigint): bigint {
  if (micros >= -211_813_488_000_000_000n && micros < 9_223_371_331_200_000_000n) return micros;
  throw new CastRefused('lies beyond the years 4713 BC to 294276');
}

function toDate(raw: string, unit: Unit | undefined): string {
  const days = raw.startsWith('"') && unit === undefined ? parseDate(plainText(raw).trim()) : undefined;
  if (days !== undefined) return JSON.stringify(dateText(days));
  const micros = toMicros(raw, unit, 'a date');
  return JSON.stringify(timestampText(micros).replace(/T.*$/, ''));
}

function toJson(raw: string): string {
  const text = plainText(raw).trim();
  try {
    JSON.parse(text);
    return text;
  } catch {
    throw new CastRefused('is a text that is no JSON');
  }
}

function toList(raw: string): string {
  if (raw.startsWith('[')) return raw;
  const text = raw.startsWith('"') ? plainText(raw).trim() : '';
  return text.startsWith('[') ? toJson(raw) : `[${raw}]`;
}
