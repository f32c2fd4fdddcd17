/**
 * numeric in PostgreSQL's binary form (numeric_send, src/backend/utils/adt/numeric.c): four 16-bit integers (groups, weight of
 * the first group, sign, digits after the point), then groups of four decimal digits.
 */

const signs: Readonly<Record<string, number>> = { NaN: 0xc000, Infinity: 0xd000, '-Infinity': 0xf000 };

/** `-12345.6700`, `1e-7` or `NaN` as bytes; undefined when `text` is no number. */
export function encodeNumeric(text: string): Buffer | undefined {
  const special = signs[text];
  if (special !== undefined) return header(0, 0, special, 0, []);
  const match = /^([+-]?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (match === null) return undefined;
  const [, sign, whole = '', fraction = '', exponentText = '0'] = match;
  const exponent = Number(exponentText);
  // The server holds 131,072 digits before the point and 16,383 after; what is longer it refuses itself, by this text's size.
  if (Math.abs(exponent) > 150_000) return undefined;
  const digits = whole + fraction;
  const point = whole.length + exponent;
  const before = point <= 0 ? '' : digits.slice(0, point).padEnd(point, '0');
  const after = point >= digits.length ? '' : '0'.repeat(Math.max(-point, 0)) + digits.slice(Math.max(point, 0));
  const wholeGroups = groupsOf(before.padStart(Math.ceil(before.length / 4) * 4, '0'));
  const groups = [...wholeGroups, ...groupsOf(after.padEnd(Math.ceil(after.length / 4) * 4, '0'))];
  let weight = wholeGroups.length - 1;
  while (groups.length > 0 && groups[0] === 0) {
    groups.shift();
    weight--;
  }
  while (groups.at(-1) === 0) groups.pop();
  return header(groups.length, groups.length === 0 ? 0 : weight, sign === '-' ? 0x4000 : 0, after.length, groups);
}

function header(count: number, weight: number, sign: number, scale: number, groups: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 + groups.length * 2);
  bytes.writeUInt16BE(count, 0);
  bytes.writeInt16BE(weight, 2);
  bytes.writeUInt16BE(sign, 4);
  bytes.writeUInt16BE(scale, 6);
  groups.forEach((group, at) => {
    bytes.writeUInt16BE(group, 8 + at * 2);
  });
  return bytes;
}

function groupsOf(digits: string): number[] {
  return Array.from({ length: digits.length / 4 }, (_, at) => Number(digits.slice(at * 4, at * 4 + 4)));
}
