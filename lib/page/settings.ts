import { html, join, type Markup } from '../html.ts';
import type { Report } from '../report/report-schema.ts';
import { plural } from '../words.ts';

/** The settings of both collections side by side; a row that differs has a mark and a word, not a colour alone. */
export function settingsSection({ settings, unread }: Report): Markup {
  if (settings === null && unread.length === 0) return html``;
  const rows = settings ?? [];
  const differing = rows.filter(({ differs }) => differs).length;
  const groups = [...new Set(rows.map(({ group }) => group))];
  const table =
    rows.length === 0
      ? html``
      : html`<p>${differing === 0 ? 'No setting differs' : `${plural(differing, 'setting')} ${differing === 1 ? 'differs' : 'differ'}, marked ≠`}. A dash: the side has no such setting, or does not tell.</p>
<div class="scroll" tabindex="0" role="group" aria-label="Settings of both collections"><table class="settings"><thead><tr><th scope="col">setting</th><th scope="col">source</th><th scope="col">target</th></tr></thead>${join(
          groups.map(
            (group) =>
              html`<tbody><tr class="group"><th scope="rowgroup" colspan="3">${group}</th></tr>${join(
                rows.filter((row) => row.group === group).map(settingRow),
              )}</tbody>`,
          ),
        )}</table></div>`;
  const missing =
    unread.length === 0 ? html`` : html`<ul class="unread">${join(unread.map((each) => html`<li>${each}</li>`))}</ul>`;
  return html`<section><h2>Settings of both collections</h2>${missing}${table}</section>`;
}

function settingRow({ setting, source, target, differs }: NonNullable<Report['settings']>[number]): Markup {
  const mark = differs
    ? html` <span class="differs"><span aria-hidden="true">≠</span><span class="unseen">differs</span></span>`
    : html``;
  const row = html`<th scope="row">${setting}${mark}</th><td>${source ?? '–'}</td><td>${target ?? '–'}</td>`;
  return differs ? html`<tr class="different">${row}</tr>` : html`<tr>${row}</tr>`;
}
