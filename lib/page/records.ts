import { html, join, type Markup } from '../html.ts';
import type { CompareReport, Report } from '../report/report-schema.ts';
import { count, plural } from '../words.ts';
import { idCode, timeText } from './ids.ts';
import { openIf } from './recall.ts';

/** Counts, what was compared, and which records differ. */

export function countsSection({ counts, index }: Report): Markup {
  if (counts === null || index !== null) return html``;
  const rows: [string, number][] = [
    ['In the source now', counts.source],
    ['In the shards', counts.manifest],
    ...optional('Left out, as the mapping says', counts.skipped),
    ...optional('Deleted from both sides since', counts.gone),
    ...optional('Added since', counts.added ?? 0),
    ['Expected in the target', counts.expected],
    ['In the target', counts.target],
  ];
  const note = counts.note === '' ? html`` : html`<p class="dim">${counts.note}</p>`;
  return html`<section><h2>Counts</h2>${figures(rows.map(([name, value]) => [name, count(value)]))}${note}</section>`;
}

function optional(name: string, value: number): [string, number][] {
  return value === 0 ? [] : [[name, value]];
}

export function figures(rows: readonly (readonly [string, string])[]): Markup {
  return html`<table class="figures"><tbody>${join(
    rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td class="number">${value}</td></tr>`),
  )}</tbody></table>`;
}

export function compareSection({ compare, index }: Report): Markup {
  if (compare === null || index !== null) return html``;
  const rows: [string, string][] = [
    ['Equal', count(compare.equal)],
    ...optional('Their numbers with other last digits', compare.nearNumbers).map(([name, value]): [string, string] => [
      name,
      count(value),
    ]),
    ['Different', count(compare.different)],
    ['Missing in the target', count(compare.missing)],
    ['Extra in the target', compare.extra === null ? 'not looked for' : count(compare.extra)],
    ['Unchecked', count(compare.unchecked)],
    ...optional('Left out, as the mapping says', compare.skipped).map(([name, value]): [string, string] => [
      name,
      count(value),
    ]),
  ];
  return html`<section><h2>Record by record</h2>${bar(compare)}${figures(rows)}${sampleNote(compare)}${nearNote(compare)}${whenNote(compare)}</section>`;
}

/** The first records of each kind, with what is wrong with each. */
export function recordLists({ compare, spotCheck, skipped }: Report): Markup {
  if (compare === null) return html``;
  const lists = [
    entries('Different records', compare.first.different, compare.different),
    entries('Missing records', compare.first.missing, compare.missing),
    entries('Extra records, by their ids in the target', compare.first.extra, compare.extra ?? 0),
    entries('Records that could not be compared', compare.first.unchecked, compare.unchecked - compare.notInSample),
    entries('Not as in the source any more', spotCheck?.first ?? [], spotCheck?.different ?? 0),
    entries('Changed on both sides after the export', compare.first.changed, compare.changed),
    entries(
      'Left out, as the mapping says',
      (skipped?.ids ?? []).map((id) => ({ id, reason: whyLeftOut(id, skipped?.dropped) })),
      skipped?.records ?? 0,
    ),
  ];
  const shown = join(lists);
  return shown.markup === '' ? shown : html`<section><h2>Which records</h2>${shown}</section>`;
}

function whyLeftOut(id: string, dropped: NonNullable<Report['skipped']>['dropped'] = []): string {
  const rule = dropped.find(({ ids }) => ids.includes(id))?.rule;
  if (rule !== undefined) return `rule '${rule}' drops it`;
  return dropped.length === 0 ? 'lacks a vector' : 'lacks a vector, or a rule drops it';
}

/** Two small tables beside each other where there is room. */
export function figuresPair(one: Markup, other: Markup): Markup {
  return one.markup === '' || other.markup === '' ? join([one, other]) : html`<div class="pair">${one}${other}</div>`;
}

function sampleNote({ asked, notInSample }: CompareReport): Markup {
  if (asked === 'all') return html``;
  return html`<p class="dim">The event asked for a sample of ${count(asked)}: ${plural(notInSample, 'record')} were not looked at, and count as unchecked.</p>`;
}

function nearNote({ nearNumbers }: CompareReport): Markup {
  if (nearNumbers === 0) return html``;
  return html`<p class="dim">Qdrant reads some numbers with a fraction a little beside what was written, from the fifteenth digit on: ${plural(nearNumbers, 'number')} ${nearNumbers === 1 ? 'is' : 'are'} within 1e-14 of it, and ${nearNumbers === 1 ? 'counts' : 'count'} as equal.</p>`;
}

/** What was written to either side before or after is not seen. */
function whenNote({ startedAt, endedAt }: CompareReport): Markup {
  if (startedAt === null || endedAt === null) return html``;
  return html`<p class="dim">Compared from ${timeText(startedAt)} to ${timeText(endedAt)}.</p>`;
}

/** Shares of the verdicts; a part that is there is never narrower than two pixels. */
function bar(compare: CompareReport): Markup {
  const parts = [
    ['validated', 'equal', compare.equal],
    ['failed', 'different, missing or extra', compare.different + compare.missing + (compare.extra ?? 0)],
    ['unproven', 'unchecked', compare.unchecked],
  ] as const;
  const shown = parts.filter(([, , value]) => value > 0);
  if (shown.length === 0) return html``;
  const label = shown.map(([, name, value]) => `${count(value)} ${name}`).join(', ');
  return html`<div class="bar" role="img" aria-label="${label}">${join(
    shown.map(([kind, , value]) => html`<span class="${kind}" style="flex-grow:${String(value)}"></span>`),
  )}</div>`;
}

export function entries(
  title: string,
  list: readonly { readonly id: string; readonly reason: string }[],
  total: number,
): Markup {
  if (list.length === 0) return html``;
  const rest =
    total > list.length ? html` <span class="dim">the first ${count(list.length)} of ${count(total)}</span>` : html``;
  return html`<details${openIf(list.length <= 10)}><summary>${title}${rest}</summary><table class="entries"><thead><tr><th scope="col">id</th><th scope="col">what</th></tr></thead><tbody>${join(
    list.map(({ id, reason }) => html`<tr><th scope="row">${idCode(id)}</th><td>${reason}</td></tr>`),
  )}</tbody></table></details>`;
}
