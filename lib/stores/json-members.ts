import { canonicalNumber } from '../compare/json-equal.ts';

/**
 * A JSON object's text taken apart into its members and put together again without parsing a value: integers above
 * 2^53, decimals and escapes keep every character, and a megabyte of text is found by its quotes, not copied.
 */

/**
 * Member name -> the value's own JSON text, in the object's order; of a repeated name the last counts.
 * @param onTwice told of a name that is repeated @throws SyntaxError when `text` is no JSON object.
 */
export function splitObject(text: string, onTwice?: (name: string) => void): Map<string, string> {
  const members = new Map<string, string>();
  let at = skipSpace(text, 0);
  if (text[at] !== '{') throw new SyntaxError(`no JSON object: ${text.slice(0, 40)}`);
  at = skipSpace(text, at + 1);
  if (text[at] === '}') return members;
  for (;;) {
    const keyEnd = endOfString(text, at);
    const key = stringOf(text.slice(at, keyEnd));
    at = skipSpace(text, keyEnd);
    if (text[at] !== ':') throw new SyntaxError(`no ':' at ${at} of a JSON object`);
    const start = skipSpace(text, at + 1);
    const end = endOfValue(text, start);
    if (onTwice !== undefined && members.has(key)) onTwice(key);
    members.set(key, text.slice(start, end));
    at = skipSpace(text, end);
    if (text[at] === '}') return members;
    if (text[at] !== ',') throw new SyntaxError(`no ',' or '}' at ${at} of a JSON object`);
    at = skipSpace(text, at + 1);
  }
}

/** The elements' own JSON texts. @throws SyntaxError when `text` is no JSON array. */
export function splitArray(text: string): string[] {
  const elements: string[] = [];
  let at = skipSpace(text, 0);
  if (text[at] !== '[') throw new SyntaxError(`no JSON array: ${text.slice(0, 40)}`);
  at = skipSpace(text, at + 1);
  if (text[at] === ']') return elements;
  for (;;) {
    const end = endOfValue(text, at);
    elements.push(text.slice(at, end));
    at = skipSpace(text, end);
    if (text[at] === ']') return elements;
    if (text[at] !== ',') throw new SyntaxError(`no ',' or ']' at ${at} of a JSON array`);
    at = skipSpace(text, at + 1);
  }
}

/** The reverse of splitObject. */
export function joinObject(members: Iterable<readonly [string, string]>): string {
  // Joined at once into a flat text: one that grows piece by piece is a tree of pieces, which costs more to collect than to make.
  const parts: string[] = [];
  for (const [name, value] of members) parts.push(parts.length === 0 ? '{' : ',', quoted(name), ':', value);
  if (parts.length === 0) return '{}';
  parts.push('}');
  return parts.join('');
}

/** Letters that stand in JSON as they are: most names of fields are made of them. */
const plainName = /^[\w .-]*$/;

const quoted = (name: string): string => (plainName.test(name) ? `"${name}"` : JSON.stringify(name));

/** The text of a JSON string literal. */
export function stringOf(raw: string): string {
  return raw.includes('\\') ? String(JSON.parse(raw)) : raw.slice(1, -1);
}

const number = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

export function isNumber(raw: string): boolean {
  return number.test(raw);
}

/** True when the double nearest to the JSON number `raw`, printed again, is the same number. */
export function fitsDouble(raw: string): boolean {
  // A double holds any decimal of 15 significant digits (IEEE 754 binary64, DBL_DIG), in the range of plain notation.
  if (raw.length <= 15 && !/[eE]/.test(raw)) return true;
  const value = Number(raw);
  return Number.isFinite(value) && canonicalNumber(raw) === canonicalNumber(String(value));
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

/** False also for NaN, the code past the end. */
const isSpace = (code: number): boolean => code === 32 || (code >= 9 && code <= 13 && code !== 11 && code !== 12);

/** The position after the string literal that begins at `start`. */
function endOfString(text: string, start: number): number {
  if (text[start] !== '"') throw new SyntaxError(`no string at ${start} of a JSON object`);
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    if (text.charCodeAt(end - 1) !== backslash) return end + 1;
    let slashes = 0;
    while (text[end - 1 - slashes] === '\\') slashes++;
    if (slashes % 2 === 0) return end + 1;
  }
  throw new SyntaxError(`a string without an end at ${start} of a JSON object`);
}

/** The position after the JSON value that begins at `start`. @throws SyntaxError when it has no end. */
export function endOfValue(text: string, start: number): number {
  const first = text[start];
  if (first === '"') return endOfString(text, start);
  if (first === '{' || first === '[') return endOfNested(text, start);
  let at = start;
  while (at < text.length && !endsScalar(text.charCodeAt(at))) at++;
  if (at === start) throw new SyntaxError(`no value at ${start} of a JSON object`);
  return at;
}

const [quote, comma, backslash] = [34, 44, 92];
const [openBracket, closeBracket, openBrace, closeBrace] = [91, 93, 123, 125];

const endsScalar = (code: number): boolean =>
  code === comma || code === closeBracket || code === closeBrace || isSpace(code);

function endOfNested(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at) - 1;
    else if (code === openBrace || code === openBracket) {
      depth++;
      if (code === openBracket) at = passNumbers(text, at);
    } else if (code === closeBrace || code === closeBracket) {
      depth--;
      if (depth === 0) return at + 1;
    }
  }
  throw new SyntaxError(`a value without an end at ${start} of a JSON object`);
}

/**
 * Of a list of numbers, which most of a vector's text is, the position before its end, found without a look at each character; of any
 * other list that of its own bracket.
 */
function passNumbers(text: string, start: number): number {
  if (!isNumberStart(text.charCodeAt(start + 1))) return start;
  const end = text.indexOf(']', start);
  if (end === -1) return start;
  // Looked for in the list alone, which is no copy: a search back from its end would go on to the record's first vector.
  const list = text.slice(start + 1, end);
  return list.includes('[') || list.includes('"') ? start : end - 1;
}

/** - or a digit. */
const isNumberStart = (code: number): boolean => code === 45 || (code >= 48 && code <= 57);
