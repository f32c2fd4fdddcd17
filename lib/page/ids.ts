import { html, type Markup } from '../html.ts';

/** An id as it stands in its store; one that is empty text is said to be so, since nobody sees or hears nothing. */
export function idCode(id: string): Markup {
  return id === '' ? html`<i>empty text</i>` : html`<code>${id}</code>`;
}

/** 2026-11-21 08:26:12 UTC */
export function timeText(at: string): string {
  return at.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC');
}
