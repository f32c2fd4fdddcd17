import { html, type Markup } from '../html.ts';
import type { Report } from '../report/report-schema.ts';
import { timeText } from './ids.ts';

/** Above all else of a run whose readers were moved and taken back: why, what is safe, and what to do. */
export function takenBackSection({ takenBack }: Report): Markup {
  if (takenBack === null) return html``;
  const { at, reason, writes, next } = takenBack;
  return html`<section><h2>Readers were taken back</h2><ol class="findings"><li class="failed"><p class="what">${reason}.</p><p>Noted <time datetime="${at}">${timeText(at)}</time>. ${writes} The verdict above is the validation's, and stays what it was.</p><p class="next"><b>Next:</b> ${next}</p></li></ol></section>`;
}
