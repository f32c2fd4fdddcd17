import { html, join, type Markup } from '../html.ts';
import { lookedWords, type MappingReport } from '../mapping/words.ts';
import type { Report } from '../report/report-schema.ts';
import { count } from '../words.ts';
import { idCode } from './ids.ts';

/** The part of the page on payloads that the mapping changes: what each rule does, what it left out, what was lost. */
export function mappingSection({ mapping, skipped }: Pick<Report, 'mapping' | 'skipped'>): Markup {
  if (mapping === null) return html``;
  const rules = mapping.rules.map(({ field, what }) => html`<tr><th scope="row">${field}</th><td>${what}</td></tr>`);
  return html`<section><h2>Mapping</h2><div class="scroll" tabindex="0" role="group" aria-label="Mapping"><table class="figures"><thead><tr><th scope="col">field or rule</th><th scope="col">what becomes of it</th></tr></thead><tbody>${join(rules)}</tbody></table></div>${dropped(skipped?.dropped ?? [])}${planned(mapping)}</section>`;
}

function dropped(rules: NonNullable<NonNullable<Report['skipped']>['dropped']>): Markup {
  if (rules.length === 0) return html``;
  const rows = rules.map(
    ({ rule, records, ids }) =>
      html`<tr><th scope="row">${rule}</th><td class="number">${count(records)}</td><td>${join(ids.slice(0, 5).map((id) => html`${idCode(id)} `))}</td></tr>`,
  );
  return html`<h3>Records left out by a rule</h3><div class="scroll" tabindex="0" role="group" aria-label="Records left out by a rule"><table class="figures"><thead><tr><th scope="col">rule</th><th scope="col" class="number">records</th><th scope="col">first ids</th></tr></thead><tbody>${join(rows)}</tbody></table></div>`;
}

function planned(mapping: MappingReport): Markup {
  if (mapping.looked === 0) return html``;
  const found = mapping.findings.map(({ what }) => html`<li>${what}</li>`);
  const list = found.length === 0 ? html`` : html`<ul>${join(found)}</ul>`;
  return html`<p class="dim">The plan tried the rules on ${lookedWords(mapping)}.</p>${list}`;
}
