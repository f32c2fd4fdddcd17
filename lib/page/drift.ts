import { html, join, type Markup } from '../html.ts';
import type { DriftExample, DriftMean, DriftMeasured, DriftReport, DriftSet, Shown } from '../recall/drift-files.ts';
import { count, percent, plural } from '../words.ts';
import { figure } from './chart.ts';
import { idCode } from './ids.ts';
import { openIf } from './recall.ts';
import { drawSpread, spreadTable, stepNames } from './spread.ts';

/** The part of the page on drift: what the target's vectors find beside what the source's do, where these are others. */
export function driftSection(drift: DriftReport | null): Markup {
  if (drift === null) return html``;
  return html`<section><h2>Drift</h2><p>The vectors of the target: ${drift.changed}. Other vectors are meant to find other records: nothing here is held against a goal, and how good an answer is a gold set says.</p>
${join(drift.sets.map((each, at) => driftSet(each, at === 0)))}</section>`;
}

function driftSet(found: DriftSet, isFirst: boolean): Markup {
  const title = `${found.set} · ${found.vector === '' ? 'the unnamed vector' : found.vector}`;
  if (!found.measured) return html`<h3>${title}</h3><p>Not measured: ${found.reason.replace(/\.$/, '')}.</p>`;
  const { queries, without, isOwnLeftOut, k, overlap } = found;
  const lost = without === 0 ? '' : ` The source has no vector for ${plural(without, 'query')}.`;
  const own = isOwnLeftOut ? " The query's own record, which both find first, is left out." : '';
  return html`<h3>${title}</h3>
<p>Of the first ${count(k)} records that the source finds the target finds <b>${percent(overlap.mean)}</b> too, between ${percent(overlap.low)} and ${percent(overlap.high)} with 95% confidence.</p>
<p class="dim">${plural(queries, 'query')} asked of both sides, each with a vector of its own.${lost}${own}</p>
${measures(found)}${overlapFigure(found)}${examplesPart(found.examples, isFirst)}`;
}

const between = (found: DriftMean, text: (value: number) => string): Markup =>
  html`${text(found.mean)} <span class="range">${text(found.low)} to ${text(found.high)}</span>`;

/** A correlation, from -1 to 1, with the sign that print has. */
const signed = (value: number): string =>
  value
    .toFixed(2)
    .replace(/^-0\.00$/, '0.00')
    .replace('-', '−');

function measures({ k, overlap, depths, rbo, correlation }: DriftMeasured): Markup {
  const row = (name: string, found: Markup): Markup =>
    html`<tr><th scope="row">${name}</th><td class="number">${found}</td></tr>`;
  const rows = [
    row(`overlap@${k}`, between(overlap, percent)),
    ...depths.map((each) => row(`overlap@${each.depth}`, between(each, percent))),
    row('rank-biased overlap', between(rbo, percent)),
    row('rank correlation (Kendall)', between(correlation, signed)),
  ];
  return html`<table class="measures"><thead><tr><th scope="col">measure</th><th scope="col" class="number">mean, 95% interval</th></tr></thead><tbody>${join(rows)}</tbody></table>`;
}

function overlapFigure({ k, spread, queries }: DriftMeasured): Markup {
  const parts = spread.flatMap((tally, at) => (tally === 0 ? [] : [`${count(tally)} at ${stepNames[at] ?? ''}`]));
  return figure({
    label: `How overlap@${k} is spread over the queries. Of ${count(queries)}: ${parts.join(', ')}.`,
    draw: (shape) => drawSpread([{ name: 'target', side: { spread } }], shape),
    caption: html`Queries by their overlap@${String(k)} in percent, those with the same records at the right.`,
    table: spreadTable(`overlap@${k}`, [{ name: 'queries', spread }]),
  });
}

function examplesPart(examples: readonly DriftExample[], isOpen: boolean): Markup {
  if (examples.length === 0) return html``;
  return html`<details class="examples"${openIf(isOpen)}><summary>Queries whose answers changed most</summary>${join(examples.map(example))}</details>`;
}

function example({ id, text, overlap, source, target }: DriftExample): Markup {
  const name = text === '' ? html`` : html` ${text}`;
  return html`<div class="example"><p class="what">${idCode(id)}${name} <span class="state">${percent(overlap)} in common</span></p>
<div class="pair"><div><h4>Source</h4>${answers(source, 'gone')}</div><div><h4>Target</h4>${answers(target, 'new')}</div></div></div>`;
}

/** @param word for what the other side does not name */
function answers(shown: readonly Shown[], word: 'gone' | 'new'): Markup {
  if (shown.length === 0) return html`<p class="dim">Nothing.</p>`;
  return html`<ol>${join(
    shown.map(
      ({ id, text, isExpected, isCommon }) =>
        html`<li>${isCommon ? html`` : html`<b class="${word}">${word}</b> `}${isExpected ? html`<b class="expected">expected</b> ` : html``}${text === '' ? html`` : html`${text} `}${idCode(id)}</li>`,
    ),
  )}</ol>`;
}
