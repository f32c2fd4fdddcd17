import { isLosslessNumber, parse, stringify } from 'lossless-json';
import { InvalidEvent } from '../errors.ts';

/**
 * Texts made of payload fields: `title` is the field alone, `{title}: {body}` a template of two. A field within an object is
 * named by its path, `{meta.title}`; `{{` and `}}` stand for braces.
 */
export interface Template {
  /** The fields it names, each once, in order. */
  readonly fields: readonly string[];
  /** The text of a payload's fields; '' where not one of those it names holds anything. */
  render(payload: Fields): string;
}

export type Fields = Readonly<Record<string, unknown>>;

/** @throws InvalidEvent where a brace has no counterpart; `where` names the setting in the message. */
export function parseTemplate(text: string, where: string): Template {
  if (!/[{}]/.test(text)) return { fields: [text], render: (payload) => textOf(valueAt(payload, text)) };
  const parts = partsOf(text, where);
  const fields = [...new Set(parts.flatMap(({ field }) => (field === undefined ? [] : [field])))];
  return {
    fields,
    render: (payload) => {
      const found = parts.map(({ field, literal }) =>
        field === undefined ? literal : textOf(valueAt(payload, field)),
      );
      const isEmpty = parts.every(({ field }, at) => field === undefined || found[at] === '');
      return isEmpty && fields.length > 0 ? '' : found.join('');
    },
  };
}

/**
 * The template of a text that is embedded: '' where nothing but white space stands in the fields it names, whatever stands
 * between them. @throws InvalidEvent where a brace has no counterpart, or no field is named: every record would have one text
 */
export function parseEmbeddedText(text: string): Template {
  const { fields, render } = parseTemplate(text, 'embed.text');
  if (fields.length === 0) {
    const what = `embed.text '${text}' names no field, so every record would have the same text`;
    throw new InvalidEvent(`${what}; write {FIELD}, with one brace on either side`, { ids: ['embed.text'] });
  }
  const isBlank = (payload: Fields): boolean => fields.every((field) => textOf(valueAt(payload, field)).trim() === '');
  return { fields, render: (payload) => (isBlank(payload) ? '' : render(payload)) };
}

interface Part {
  readonly literal: string;
  readonly field?: string;
}

function partsOf(text: string, where: string): Part[] {
  const parts: Part[] = [];
  let rest = text;
  while (rest !== '') {
    const [whole = '', escaped, field, literal] = /^(?:(\{\{|\}\})|\{([^{}]+)\}|([^{}]+))/.exec(rest) ?? [];
    if (whole === '') {
      const text = `${where}: the brace at '${rest.slice(0, 20)}' has no counterpart`;
      throw new InvalidEvent(`${text}; write {FIELD}, and {{ or }} for a brace itself`, { ids: [where] });
    }
    if (field !== undefined) parts.push({ literal: '', field: field.trim() });
    else parts.push({ literal: escaped === undefined ? (literal ?? '') : escaped.slice(1) });
    rest = rest.slice(whole.length);
  }
  return parts;
}

/** A field of that very name, else what its path leads to. */
export function valueAt(payload: Fields, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path];
  let value: unknown = payload;
  for (const step of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = Object.entries(value).find(([name]) => name === step)?.[1];
  }
  return value;
}

/** Strings and numbers as they are written, lists with commas between, objects as JSON; what is null or not there is empty. */
export function textOf(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  if (isLosslessNumber(value)) return value.value;
  if (Array.isArray(value)) return value.map(textOf).join(', ');
  // lossless-json's own writer: JSON.stringify would write its numbers as the objects that they are here.
  return typeof value === 'object' ? (stringify(value) ?? '') : String(value);
}

/** The fields of a payload, numbers with all their digits. */
export function payloadFields(payload: string): Fields {
  return Object.fromEntries(Object.entries(Object(parse(payload))));
}
