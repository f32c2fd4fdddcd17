import { html, join, type Markup } from '../html.ts';
import type { Finding, Report } from '../report/report-schema.ts';
import type { Cause } from '../run-files.ts';
import { idCode } from './ids.ts';

/** What was found, why where that could be told, and what to do about it. */
export function findingsSection({ findings, tuning, verdict, mode, takenBack, index }: Report): Markup {
  const toSet = (tuning ?? []).filter(({ chosen, kept }) => chosen !== null && !kept);
  const setting = toSet.map(
    ({ set, how }) =>
      html`<li class="validated"><p class="what">Search settings that hold the goal of ${set} were found, and the application has to set them.</p><p class="next"><b>Next:</b> ${how}</p></li>`,
  );
  if (findings.length === 0 && setting.length === 0) {
    // What to do then stands with why readers were taken back.
    if (verdict !== 'validated' || takenBack !== null) return html``;
    const next = nextOf(mode, index);
    return html`<section><h2>What to do next</h2><p>${next}</p></section>`;
  }
  return html`<section><h2>What was found, and what to do next</h2><ol class="findings">${join(findings.map(findingItem))}${join(setting)}</ol></section>`;
}

function nextOf(mode: Report['mode'], index: Report['index']): string {
  if (mode === 'validate') return 'Nothing: the two collections may be used in place of each other.';
  if (index?.how === 'instead') return 'Nothing: what the event asked for is proved, and readers use the new index.';
  return 'Nothing: what the event asked for is proved, and the run may be cut over.';
}

function findingItem({ severity, what, ids, next, causes }: Finding): Markup {
  return html`<li class="${severity}"><p class="what">${capital(what)}.</p>${idList(ids)}${causeList(causes)}<p class="next"><b>Next:</b> ${next}</p></li>`;
}

function causeList(causes: readonly Cause[]): Markup {
  if (causes.length === 0) return html``;
  return html`<div class="causes"><p><b>${causes.length === 1 ? 'Why' : 'Why, each shown by itself'}</b></p><ul>${join(
    causes.map(
      ({ cause, what, evidence, next }) =>
        html`<li><p><b>${cause}.</b> ${what}</p><p class="evidence">${evidence}</p><p class="next"><b>Next:</b> ${next}</p></li>`,
    ),
  )}</ul></div>`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/\.$/, '');
}

function idList(ids: readonly string[]): Markup {
  if (ids.length === 0) return html``;
  const shown = ids.slice(0, 10);
  const rest = ids.length > shown.length ? html` <span class="dim">and more</span>` : html``;
  return html`<p class="ids">${join(shown.map((id) => html`${idCode(id)} `))}${rest}</p>`;
}
