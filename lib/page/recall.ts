import { html, join, type Markup } from '../html.ts';
import type { Recall, RecallEntry, RecallSide } from '../run-files.ts';
import { count, milliseconds, percent, plural } from '../words.ts';

/** The part of the report's page on recall and latency. */
export function recallSection(recall: Recall | null): Markup {
  if (recall === null) return html``;
  if (recall.reason !== undefined) {
    return html`<section><h2>Recall</h2><p>Not measured: ${recall.reason}.</p></section>`;
  }
  return html`<section><h2>Recall and latency</h2>${join(recall.sets.map((each) => vectorPart(each, recall.sets.length > 1)))}
<p class="dim">The truth is the exact nearest neighbours, worked out from the shards. A hit counts when it is no farther than the true k‑th neighbour, as in ann-benchmarks; the query's own record is one of them. The interval covers the mean over all queries with 95% confidence, and its lower end is held against the goal.</p></section>`;
}

function vectorPart(vector: RecallEntry, isOneOfSeveral: boolean): Markup {
  const name = vector.vector === '' ? 'the unnamed vector' : vector.vector;
  const to =
    vector.vector === vector.targetVector ? '' : `, in the target ${vector.targetVector || 'the unnamed vector'}`;
  const title = isOneOfSeveral ? html`<h3>${name}${to}</h3>` : html``;
  const sides = [
    ['source', vector.source],
    ['target', vector.target],
  ] as const;
  return html`${title}<p>${vector.note}</p>
<div class="pair"><table class="recall"><thead><tr><td></td><th scope="col" class="number">recall@${String(vector.k)}</th><th scope="col" class="number">95% interval</th><th scope="col" class="scale">${scaleText(vector)}</th></tr></thead>
<tbody>${join(sides.map(([side, found]) => recallRow(side, found, vector)))}</tbody></table>
<table class="latency"><thead><tr><td></td><th scope="col" class="number">p50</th><th scope="col" class="number">p95</th><th scope="col" class="number">p99</th></tr></thead>
<tbody>${join(sides.map(([side, found]) => latencyRow(side, found)))}</tbody></table></div>
<p class="dim">${plural(queriesOf(vector), 'query').replace(/querys$/, 'queries')} by ${vector.distance} distance among ${plural(vector.candidates, 'record')}; goal ${percent(vector.atLeast ?? 1)}.</p>
${worstPart(vector.target)}`;
}

function queriesOf({ source, target }: RecallEntry): number {
  if (target.measured) return target.queries;
  return source.measured ? source.queries : 0;
}

function recallRow(side: string, found: RecallSide, vector: RecallEntry): Markup {
  if (!found.measured)
    return html`<tr><th scope="row">${side}</th><td colspan="3" class="dim">not measured: ${found.reason}</td></tr>`;
  return html`<tr><th scope="row">${side}</th><td class="number"><b>${percent(found.mean)}</b></td><td class="number">${percent(found.low)} – ${percent(found.high)}</td><td class="scale">${whisker(found, vector)}</td></tr>`;
}

function latencyRow(side: string, found: RecallSide): Markup {
  if (!found.measured) return html``;
  const { p50, p95, p99 } = found.latency;
  return html`<tr><th scope="row">${side}</th><td class="number">${milliseconds(p50)}</td><td class="number">${milliseconds(p95)}</td><td class="number">${milliseconds(p99)}</td></tr>`;
}

/** The scale ends at 100 % and begins at a round figure below all that is drawn. */
function scaleStart({ source, target, atLeast }: RecallEntry): number {
  const lows = [source, target].flatMap((side) => (side.measured ? [side.low] : []));
  return Math.min(0.9, Math.max(0, Math.floor(Math.min(atLeast ?? 1, ...lows) * 10 - 0.25) / 10));
}

function scaleText(vector: RecallEntry): string {
  return `${count(Math.round(scaleStart(vector) * 100))} to 100%`;
}

function whisker(
  { mean, low, high }: { readonly mean: number; readonly low: number; readonly high: number },
  vector: RecallEntry,
): Markup {
  const start = scaleStart(vector);
  const x = (share: number): string => (4 + Math.max(0, (share - start) / (1 - start)) * 112).toFixed(1);
  const label = `interval ${percent(low)} to ${percent(high)}, goal ${percent(vector.atLeast ?? 1)}`;
  return html`<svg viewBox="0 0 120 20" width="120" height="20" role="img" aria-label="${label}"><line class="axis" x1="4" x2="116" y1="10" y2="10"/><line class="goal" x1="${x(vector.atLeast ?? 1)}" x2="${x(vector.atLeast ?? 1)}" y1="1" y2="19"/><line class="range" x1="${x(low)}" x2="${x(high)}" y1="10" y2="10"/><circle class="mean" cx="${x(mean)}" cy="10" r="3.5"/></svg>`;
}

function worstPart(target: RecallSide): Markup {
  if (!target.measured || target.worst.length === 0) return html``;
  return html`<details><summary>Queries with the lowest recall in the target</summary><table class="entries"><thead><tr><th scope="col">record searched for</th><th scope="col">recall</th></tr></thead><tbody>${join(
    target.worst.map(
      ({ id, recall }) => html`<tr><th scope="row"><code>${id}</code></th><td>${percent(recall)}</td></tr>`,
    ),
  )}</tbody></table></details>`;
}
