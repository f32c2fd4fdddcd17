import type { FieldRule } from '../event-mapping.ts';
import { plainText } from './cast.ts';

/** The record is left out by the rule that says so. */
export const leftOut = Symbol('left out');

/** JSON text -> JSON text; leftOut where the record goes, undefined where no value is taken and the rule refuses it. */
export type ValueMap = (raw: string) => string | typeof leftOut | undefined;

/**
 * `values`, then `patterns`, then `otherwise`. Values are found by their text: "1" takes the number 1 too. null is no value
 * and stays; a list or an object is none that a text could be held against.
 */
export function valueMap({ values, patterns = [], otherwise = 'refuse' }: FieldRule): ValueMap | undefined {
  if (values === undefined && patterns.length === 0) return undefined;
  const byText = new Map(Object.entries(values ?? {}).map(([from, to]) => [from, JSON.stringify(to)]));
  // As most values stand in JSON: found without a text being made of each.
  const byRaw = new Map([...byText].map(([from, to]) => [JSON.stringify(from), to]));
  const likes = patterns.map(({ like, to }) => ({ expression: likeExpression(like), to: JSON.stringify(to) }));
  const rest = (raw: string): ReturnType<ValueMap> => {
    if (otherwise === 'refuse') return undefined;
    if (otherwise === 'drop') return leftOut;
    return otherwise === 'keep' ? raw : JSON.stringify(otherwise.value);
  };
  return (raw) => {
    const known = byRaw.get(raw);
    if (known !== undefined || raw === 'null') return known ?? raw;
    if (raw.startsWith('{') || raw.startsWith('[')) return rest(raw);
    const text = plainText(raw);
    return byText.get(text) ?? likes.find(({ expression }) => expression.test(text))?.to ?? rest(raw);
  };
}

/** PostgreSQL's ILIKE as a regular expression: a backslash takes the next character as itself (docs, "9.7.1. LIKE"). */
export function likeExpression(like: string): RegExp {
  let source = '';
  for (const [token] of like.matchAll(/\\?./gsu)) {
    if (token === '%') source += '.*';
    else if (token === '_') source += '.';
    else
      source += (token.length > 1 && token.startsWith('\\') ? token.slice(1) : token).replace(
        /[\\^$.*+?()[\]{}|/]/,
        '\\$&',
      );
  }
  return new RegExp(`^${source}$`, 'isu');
}

/** The first so many characters (not UTF-16 units) of a JSON string; any other value as it is. */
export function cutText(raw: string, characters: number): string {
  // Every character takes a unit of the text at least.
  if (!raw.startsWith('"') || raw.length - 2 <= characters) return raw;
  const text = plainText(raw);
  const kept = firstCharacters(text, characters);
  return kept.length === text.length ? raw : JSON.stringify(kept);
}

/** The characters of a text, as PostgreSQL counts them for a varchar. */
export const charactersOf = (text: string): number => (text.length === 0 ? 0 : [...text].length);

function firstCharacters(text: string, characters: number): string {
  if (text.length <= characters) return text;
  return [...text.slice(0, characters * 2)].slice(0, characters).join('');
}

/** Parts of a text; with `into` so many, the last one with the rest as it stands. What an expression's groups take is no part. */
export function splitText(text: string, by: string | RegExp, into = Number.POSITIVE_INFINITY): readonly string[] {
  if (typeof by === 'string') {
    const parts = text.split(by);
    return parts.length <= into ? parts : [...parts.slice(0, into - 1), parts.slice(into - 1).join(by)];
  }
  const parts: string[] = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(new RegExp(by.source, `g${by.flags}`))) {
    if (parts.length >= into - 1) break;
    // A place between two characters (`(?=[A-Z])`) parts them; before the first and after the last there is nothing to part.
    if (found === '' && (index === from || index === text.length)) continue;
    parts.push(text.slice(from, index));
    from = index + found.length;
  }
  return [...parts, text.slice(from)];
}
