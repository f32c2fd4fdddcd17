import { html, join, type Markup } from '../html.ts';
import type { IndexReport } from '../index-change/index-report.ts';
import { indexText } from '../index-change/index-text.ts';
import { bytes, duration } from '../words.ts';
import { timeText } from './ids.ts';

/** The part of the page on an index that was changed: what there was, what there is, and what that came to. */
export function indexSection(index: IndexReport | null): Markup {
  if (index === null) return html``;
  return html`<section><h2>Index</h2><p>${words(index)}</p>${table(index)}${back(index)}${advice(index)}<p class="dim">From here on the source is the old index and the target the new one; ${asked(index)}</p></section>`;
}

function words({ vector, how }: IndexReport): Markup {
  const name = vector === '' ? html`The unnamed vector` : html`Vector <b>${vector}</b>`;
  const way =
    how === 'beside'
      ? 'The new one was built beside the old one, which stays until the run is retired; while both are there each search uses the one that the store thinks cheaper.'
      : 'The new one replaced the old one as it was built, and readers use it since then.';
  return html`${name} got another index in its own collection; no record was moved or changed. ${way}`;
}

function asked({ how, oldAsked }: IndexReport): string {
  const when = how === 'beside' ? 'the new one was built' : 'it was replaced';
  return oldAsked === 'in turn'
    ? 'both were searched in turn, by the same queries.'
    : `the old one was asked by the same queries before ${when}, so the times of the two were taken one after the other.`;
}

function table({ from, to, bytes: size, buildSeconds, used, results }: IndexReport): Markup {
  const quantized = (form: IndexReport['from']): string =>
    form.quantization === null || form.quantization === undefined ? 'none' : JSON.stringify(form.quantization);
  const sized = (value: number | null): string => (value === null ? 'not told' : bytes(value));
  const rows: (readonly [string, string, string])[] = [
    ['index', indexText(from.index), indexText(to.index)],
    ...(from.quantization === undefined ? [] : [['quantization', quantized(from), quantized(to)] as const]),
    ...(size.old === null && size.new === null ? [] : [['size', sized(size.old), sized(size.new)] as const]),
    ...(buildSeconds === null ? [] : [['built in', '', duration(buildSeconds)] as const]),
    ...(used === null ? [] : [['searches used', usedText(used, 'old'), usedText(used, 'new')] as const]),
  ];
  const found = results.length === 0 ? html`` : html`<ul>${join(results.map((each) => html`<li>${each}</li>`))}</ul>`;
  return html`<table class="settings"><thead><tr><td></td><th scope="col">old</th><th scope="col">new</th></tr></thead><tbody>${join(
    rows.map(([name, before, after]) => html`<tr><th scope="row">${name}</th><td>${before}</td><td>${after}</td></tr>`),
  )}</tbody></table>${found}`;
}

function back({ takenBack }: IndexReport): Markup {
  if (takenBack === null) return html``;
  const { at, reason, note } = takenBack;
  return html`<p><b>Taken back</b> <time datetime="${at}">${timeText(at)}</time>: ${reason}.${note === '' ? '' : ` ${note.charAt(0).toUpperCase()}${note.slice(1)}.`}</p>`;
}

function advice({ advice: list }: IndexReport): Markup {
  if (list.length === 0) return html``;
  return html`<h3>Suggested</h3><table class="entries"><thead><tr><th scope="col">setting</th><th scope="col">why</th></tr></thead><tbody>${join(
    list.map(
      ({ setting, value, why }) => html`<tr><th scope="row">${setting} ${String(value)}</th><td>${why}</td></tr>`,
    ),
  )}</tbody></table>`;
}

function usedText(used: IndexReport['used'], which: 'old' | 'new'): string {
  if (used === 'either') return 'by their settings';
  return used === which ? 'yes' : '';
}
