/** Text that is HTML already. Only `html` and `raw` make it, so plain text is always escaped. */
export interface Markup {
  readonly markup: string;
}

/** A template whose values are escaped, for text and for quoted attributes, unless they are markup themselves. */
export function html(parts: TemplateStringsArray, ...values: readonly (string | Markup)[]): Markup {
  const pieces = parts.map((part, at) => {
    const value = values[at];
    if (value === undefined) return part;
    return part + (typeof value === 'string' ? escapeHtml(value) : value.markup);
  });
  return { markup: pieces.join('') };
}

/** Markup of our own, as it is: never text from a store, an event or an error. */
export function raw(markup: string): Markup {
  return { markup };
}

export function join(parts: readonly Markup[]): Markup {
  return { markup: parts.map(({ markup }) => markup).join('') };
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
