/**
 * PostgreSQL's binary dates and timestamps (days, and microseconds, since 2000-01-01; src/include/datatype/timestamp.h) as
 * ISO 8601 text and back, with every microsecond, over the server's whole range (4713 BC to 294276), which Date lacks.
 */

const microsPerDay = 86_400_000_000n;
/** Days from 1970-01-01 to PostgreSQL's epoch. */
const epochDays = 10_957;

/** `2026-03-29T00:30:00.123456Z`; years outside 0000 to 9999 in ISO's expanded form, `+012026-...`. */
export function timestampText(micros: bigint): string {
  const day = floorDivide(micros, microsPerDay);
  return `${dateText(Number(day))}T${timeOfDay(micros - day * microsPerDay)}Z`;
}

/** `2026-03-29`. @param days since 2000-01-01. */
export function dateText(days: number): string {
  const { year, month, day } = civilFromDays(days + epochDays);
  const digits = year >= 0 && year <= 9999 ? pad(year, 4) : `${year < 0 ? '-' : '+'}${pad(Math.abs(year), 6)}`;
  return `${digits}-${pad(month, 2)}-${pad(day, 2)}`;
}

/** Microseconds since 2000-01-01 UTC; undefined when `text` is no ISO 8601 timestamp. Without an offset it is UTC. */
export function parseTimestamp(text: string): bigint | undefined {
  const match =
    /^([+-]\d{6}|\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?\s*(Z|[+-]\d\d(?::?\d\d)?(?::?\d\d)?)?$/i.exec(
      text,
    );
  if (match === null) return undefined;
  const [, year, month, day, hours = '0', minutes = '0', seconds = '0', fraction = '', zone = 'Z'] = match;
  const days = daysFromText(year, month, day);
  if (days === undefined || Number(hours) > 24 || Number(minutes) > 59 || Number(seconds) > 60) return undefined;
  // PostgreSQL keeps microseconds; more digits would be rounded, so they are no timestamp of its.
  if (/[1-9]/.test(fraction.slice(6))) return undefined;
  const clock = BigInt((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000_000n;
  return BigInt(days) * microsPerDay + clock + BigInt(fraction.slice(0, 6).padEnd(6, '0')) - offsetMicros(zone);
}

/**
 * The same as parseTimestamp for a JSON string in the very form that timestampText writes, of the years 1900 to 2199, whose
 * microseconds a double holds exactly; undefined for every other.
 */
export function parseRecent(raw: string): number | undefined {
  const hasFraction = raw.length === 29;
  if (!hasFraction && raw.length !== 22) return undefined;
  if (raw[11] !== 'T' || raw[raw.length - 2] !== 'Z' || raw[14] !== ':' || raw[17] !== ':') return undefined;
  if (raw[0] !== '"' || raw[5] !== '-' || raw[8] !== '-' || (hasFraction && raw[20] !== '.')) return undefined;
  const year = digits(raw, 1, 5);
  const clock = (digits(raw, 12, 14) * 60 + digits(raw, 15, 17)) * 60 + digits(raw, 18, 20);
  const fraction = hasFraction ? digits(raw, 21, 27) : 0;
  const [month, day] = [digits(raw, 6, 8), digits(raw, 9, 11)];
  // The long way refuses what is no date or time of day; 28 days and 59 seconds are in every month and minute.
  if (!(year >= 1900 && year < 2200 && month >= 1 && month <= 12 && day >= 1 && day <= 28)) return undefined;
  if (!(digits(raw, 12, 14) < 24 && digits(raw, 15, 17) < 60 && digits(raw, 18, 20) < 60)) return undefined;
  const micros = ((daysFromCivil(year, month, day) - epochDays) * 86_400 + clock) * 1_000_000 + fraction;
  return Number.isNaN(micros) ? undefined : micros;
}

/** NaN where a character is no digit. */
function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - 48;
    value = digit >= 0 && digit <= 9 ? value * 10 + digit : Number.NaN;
  }
  return value;
}

/** Days since 2000-01-01; undefined when `text` is no ISO date. */
export function parseDate(text: string): number | undefined {
  const match = /^([+-]\d{6,7}|\d{4,7})-(\d\d)-(\d\d)$/.exec(text);
  return match === null ? undefined : daysFromText(match[1], match[2], match[3]);
}

function daysFromText(yearText = '', monthText = '', dayText = ''): number | undefined {
  const [year, month, day] = [Number(yearText), Number(monthText), Number(dayText)];
  const days = daysFromCivil(year, month, day);
  const back = civilFromDays(days);
  if (back.month !== month || back.day !== day) return undefined;
  return days - epochDays;
}

function offsetMicros(zone: string): bigint {
  if (/^z$/i.test(zone)) return 0n;
  const digits = zone.slice(1).replaceAll(':', '').padEnd(6, '0');
  const seconds = Number(digits.slice(0, 2)) * 3600 + Number(digits.slice(2, 4)) * 60 + Number(digits.slice(4, 6));
  return BigInt(zone.startsWith('-') ? -seconds : seconds) * 1_000_000n;
}

function timeOfDay(micros: bigint): string {
  const seconds = Number(micros / 1_000_000n);
  const fraction = Number(micros % 1_000_000n);
  const clock = `${pad(Math.floor(seconds / 3600), 2)}:${pad(Math.floor(seconds / 60) % 60, 2)}:${pad(seconds % 60, 2)}`;
  return fraction === 0 ? clock : `${clock}.${pad(fraction, 6)}`;
}

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0');
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by;
  return value % by < 0n ? quotient - 1n : quotient;
}

/** Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; days since 1970-01-01. */
function civilFromDays(days: number): { year: number; month: number; day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

/** The same source, days_from_civil. */
function daysFromCivil(year: number, month: number, day: number): number {
  const marchYear = month <= 2 ? year - 1 : year;
  const era = Math.floor(marchYear / 400);
  const yearOfEra = marchYear - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
