import { html, join, type Markup, raw } from '../html.ts';
import type { CompareReport, Finding, Report, Verdict } from '../report-schema.ts';
import { bytes, count, duration, plural } from '../words.ts';
import { recallSection } from './recall.ts';
import { pageStyle } from './style.ts';

const verdictWords: Readonly<Record<Verdict, string>> = {
  validated: 'Validated',
  failed: 'Failed',
  unproven: 'Could not validate',
};
/** Shapes beside colours, so that no one has to tell green from red. */
const marks: Readonly<Record<Verdict, string>> = { validated: '✓', failed: '✕', unproven: '?' };

/** The report as one HTML page: no script, no network, readable on a phone, on paper, in light and in dark. */
export function reportPage(report: Report): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${verdictWords[report.verdict]}: run ${report.run}</title>
<style>${raw(pageStyle)}</style>
</head>
<body>
<main>
${header(report)}
${checks(report)}
${findings(report.findings)}
${figuresPair(countsSection(report), compareSection(report))}
${recordLists(report)}
${recallSection(report.recall)}
${runSection(report)}
${notes(report)}
</main>
</body>
</html>
`.markup;
}

function header(report: Report): Markup {
  const { source, target, verdict } = report;
  const route =
    source === null || target === null
      ? html``
      : html`<p class="route"><span>${source.store} <b>${source.collection}</b></span> <span class="arrow" aria-label="to">→</span> <span>${target.store} <b>${target.collection}</b></span></p>`;
  return html`<header class="${verdict}">
<p class="eyebrow">vecferry run ${report.run}</p>
<h1><span class="mark" aria-hidden="true">${marks[verdict]}</span> ${verdictWords[verdict]}</h1>
${route}
<p class="summary">${report.summary}</p>
</header>`;
}

interface Check {
  readonly name: string;
  readonly state: Verdict | 'none';
  readonly text: string;
}

function checks(report: Report): Markup {
  if (report.compare === null && report.failure !== null) return html``;
  const list = [countsCheck(report), compareCheck(report), sourceCheck(report), recallCheck(report)];
  return html`<section aria-label="Checks"><ul class="checks">${join(
    list.map(
      ({ name, state, text }) =>
        html`<li class="${state}"><span class="mark" aria-hidden="true">${state === 'none' ? '–' : marks[state]}</span><div><b>${name}</b> <span class="state">${state === 'none' ? 'not asked' : verdictWords[state].toLowerCase()}</span><p>${text}</p></div></li>`,
    ),
  )}</ul></section>`;
}

/** A check is as bad as its worst finding. */
function stateOf(findings: readonly Finding[], check: Finding['check'][]): Verdict {
  const own = findings.filter((each) => check.includes(each.check));
  if (own.some(({ severity }) => severity === 'failed')) return 'failed';
  return own.length > 0 ? 'unproven' : 'validated';
}

function countsCheck({ counts, findings }: Report): Check {
  const name = 'Counts';
  if (counts === null) return { name, state: 'unproven', text: 'Not counted.' };
  const state = counts.agree ? stateOf(findings, ['counts']) : 'failed';
  return {
    name,
    state,
    text: `Source ${count(counts.source)}, exported ${count(counts.manifest)}, target ${count(counts.target)}.`,
  };
}

function compareCheck({ compare, findings }: Report): Check {
  const name = 'Every record compared';
  if (compare === null) return { name, state: 'unproven', text: 'Not compared.' };
  const text = `${count(compare.equal)} of ${count(compare.records - compare.skipped)} equal.`;
  return { name: compare.asked === 'all' ? name : 'A sample compared', state: stateOf(findings, ['compare']), text };
}

function sourceCheck({ spotCheck, findings }: Report): Check {
  const name = 'Export held against the source';
  if (spotCheck === null) return { name, state: 'unproven', text: 'Not checked.' };
  if (spotCheck.asked === 0) return { name, state: 'none', text: 'No record was read back from the source.' };
  const text = `${plural(spotCheck.checked, 'record')} read back by id, ${count(spotCheck.different)} different.`;
  return { name, state: stateOf(findings, ['source']), text };
}

function recallCheck({ recall, findings }: Report): Check {
  const name = 'Recall';
  if (recall === null) return { name, state: 'unproven', text: 'Not measured.' };
  if (recall.reason !== undefined) return { name, state: 'none', text: `Not measured: ${recall.reason}.` };
  return { name, state: stateOf(findings, ['recall']), text: recall.sets.map(({ note }) => note).join(' ') };
}

function findings(list: readonly Finding[]): Markup {
  if (list.length === 0) return html``;
  return html`<section><h2>What was found, and what to do next</h2><ol class="findings">${join(
    list.map(
      ({ severity, what, ids, next }) =>
        html`<li class="${severity}"><p class="what">${capital(what)}.</p>${idList(ids)}<p class="next"><b>Next:</b> ${next}</p></li>`,
    ),
  )}</ol></section>`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/\.$/, '');
}

function idList(ids: readonly string[]): Markup {
  if (ids.length === 0) return html``;
  const shown = ids.slice(0, 10);
  const rest = ids.length > shown.length ? html` <span class="dim">and more</span>` : html``;
  return html`<p class="ids">${join(shown.map((id) => html`<code>${id}</code> `))}${rest}</p>`;
}

function countsSection({ counts }: Report): Markup {
  if (counts === null) return html``;
  const rows: [string, number][] = [
    ['In the source now', counts.source],
    ['In the shards', counts.manifest],
    ...optional('Left out, as the mapping says', counts.skipped),
    ...optional('Deleted from both sides since', counts.gone),
    ['Expected in the target', counts.expected],
    ['In the target', counts.target],
  ];
  const note = counts.note === '' ? html`` : html`<p class="dim">${counts.note}</p>`;
  return html`<section><h2>Counts</h2>${figures(rows.map(([name, value]) => [name, count(value)]))}${note}</section>`;
}

function optional(name: string, value: number): [string, number][] {
  return value === 0 ? [] : [[name, value]];
}

function figures(rows: readonly (readonly [string, string])[]): Markup {
  return html`<table class="figures"><tbody>${join(
    rows.map(([name, value]) => html`<tr><th scope="row">${name}</th><td class="number">${value}</td></tr>`),
  )}</tbody></table>`;
}

function compareSection({ compare }: Report): Markup {
  if (compare === null) return html``;
  const rows: [string, string][] = [
    ['Equal', count(compare.equal)],
    ['Different', count(compare.different)],
    ['Missing in the target', count(compare.missing)],
    ['Extra in the target', compare.extra === null ? 'not looked for' : count(compare.extra)],
    ['Unchecked', count(compare.unchecked)],
    ...optional('Left out, as the mapping says', compare.skipped).map(([name, value]): [string, string] => [
      name,
      count(value),
    ]),
  ];
  return html`<section><h2>Record by record</h2>${bar(compare)}${figures(rows)}${sampleNote(compare)}</section>`;
}

/** The first records of each kind, with what is wrong with each. */
function recordLists({ compare, spotCheck, skipped }: Report): Markup {
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
      (skipped?.ids ?? []).map((id) => ({ id, reason: 'lacks a vector' })),
      skipped?.records ?? 0,
    ),
  ];
  const shown = join(lists);
  return shown.markup === '' ? shown : html`<section><h2>Which records</h2>${shown}</section>`;
}

/** Two small tables beside each other where there is room. */
function figuresPair(one: Markup, other: Markup): Markup {
  return one.markup === '' || other.markup === '' ? join([one, other]) : html`<div class="pair">${one}${other}</div>`;
}

function sampleNote({ asked, notInSample }: CompareReport): Markup {
  if (asked === 'all') return html``;
  return html`<p class="dim">The event asked for a sample of ${count(asked)}: ${plural(notInSample, 'record')} were not looked at, and count as unchecked.</p>`;
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

function entries(
  title: string,
  list: readonly { readonly id: string; readonly reason: string }[],
  total: number,
): Markup {
  if (list.length === 0) return html``;
  const rest =
    total > list.length ? html` <span class="dim">the first ${count(list.length)} of ${count(total)}</span>` : html``;
  return html`<details${raw(list.length <= 10 ? ' open' : '')}><summary>${title}${rest}</summary><table class="entries"><thead><tr><th scope="col">id</th><th scope="col">what</th></tr></thead><tbody>${join(
    list.map(({ id, reason }) => html`<tr><th scope="row"><code>${id}</code></th><td>${reason}</td></tr>`),
  )}</tbody></table></details>`;
}

function runSection({ estimate, actual, plannedAt, importedAt, createdAt, throttled }: Report): Markup {
  const was = (of: (size: NonNullable<Report['actual']>) => string): string => (actual === null ? '–' : of(actual));
  const planned = (of: (size: NonNullable<Report['estimate']>) => string): string =>
    estimate === null ? '–' : of(estimate);
  const rows = [
    ['Records', planned((each) => count(each.records)), was((each) => count(each.records))],
    ['Size', planned((each) => bytes(each.bytes)), was((each) => bytes(each.bytes))],
    ['Shards', planned((each) => count(each.shards)), was((each) => count(each.shards))],
    ['Time', planned((each) => duration(each.seconds)), was((each) => duration(each.seconds))],
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
      at === null
        ? []
        : [
            html`<span class="time">${name} <time datetime="${at}">${at.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}</time></span> `,
          ],
    ),
  )}${slowed}</p></section>`;
}

function notes({ notes: list, guarantee }: Report): Markup {
  if (list.length === 0 && guarantee === null) return html``;
  const all = [...list, ...(guarantee === null ? [] : [guarantee])];
  return html`<section><h2>Notes of the plan</h2><ul>${join(all.map((note) => html`<li>${note}</li>`))}</ul></section>`;
}
