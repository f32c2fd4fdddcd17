import { html, join, type Markup } from '../html.ts';
import type { Report } from '../report/report-schema.ts';
import { bytes, count, duration, plural } from '../words.ts';
import { timeText } from './ids.ts';
import { timelineFigure } from './timeline.ts';

/** The run itself: its size, time and cost against the plan, its rates over time, and the plan's notes. */
export function runSection(report: Report): Markup {
  const { estimate, actual, plannedAt, importedAt, createdAt, throttled } = report;
  const was = (of: (size: NonNullable<Report['actual']>) => string): string => (actual === null ? '–' : of(actual));
  const planned = (of: (size: NonNullable<Report['estimate']>) => string): string =>
    estimate === null ? '–' : of(estimate);
  const rows = [
    ['Records', planned((each) => count(each.records)), was((each) => count(each.records))],
    ['Size', planned((each) => bytes(each.bytes)), was((each) => bytes(each.bytes))],
    ['Shards', planned((each) => count(each.shards)), was((each) => count(each.shards))],
    ['Time', planned((each) => duration(each.seconds)), was((each) => duration(each.seconds))],
    ['Cost at list prices', planned((each) => dollars(each.usd)), was((each) => dollars(each.usd))],
  ];
  const table =
    estimate === null
      ? html``
      : html`<table class="figures"><thead><tr><td></td><th scope="col" class="number">planned</th><th scope="col" class="number">actual</th></tr></thead><tbody>${join(
          rows.map(
            ([name, plan, real]) =>
              html`<tr><th scope="row">${name ?? ''}</th><td class="number">${plan ?? ''}</td><td class="number">${real ?? ''}</td></tr>`,
          ),
        )}</tbody></table>`;
  const times: [string, string | null][] = [
    ['planned', plannedAt],
    ['last shard imported', importedAt],
    ['report written', createdAt],
  ];
  const slowed = throttled === 0 ? html`` : html` The target asked ${plural(throttled, 'time')} for less load.`;
  return html`<section><h2>The run</h2>${table}<p class="dim">${join(
    times.flatMap(([name, at]) =>
      at === null ? [] : [html`<span class="time">${name} <time datetime="${at}">${timeText(at)}</time></span> `],
    ),
  )}${slowed}</p>${costNote(report)}${timelineFigure(report.timeline)}</section>`;
}

export function notesSection({ notes: list, guarantee }: Report): Markup {
  if (list.length === 0 && guarantee === null) return html``;
  const all = [...list, ...(guarantee === null ? [] : [guarantee])];
  return html`<section><h2>Notes of the plan</h2><ul>${join(all.map((note) => html`<li>${note}</li>`))}</ul></section>`;
}

function dollars(usd: number): string {
  return `$${usd.toFixed(2)}`;
}

function costNote({ ranOn, actual }: Report): Markup {
  if (actual === null) return html``;
  const how =
    'The actual cost is no bill: it is worked out from the seconds that functions were seen to work, at the prices of the estimate, without the stores themselves, data transfer and storage.';
  const here =
    ranOn === 'aws'
      ? ''
      : ' This run was on one machine, where nothing is billed: it is what AWS would have asked for the same work.';
  return html`<p class="dim">${how}${here}</p>`;
}
