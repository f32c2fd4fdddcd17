import { conditionsOf, type Filter } from '../filter.ts';
import { html, join, type Markup } from '../html.ts';
import type { Recall, RecallEntry, RecallSide } from '../run-files.ts';
import { count, percent, plural } from '../words.ts';
import { figure, type SideName, shareAxis } from './chart.ts';
import { idCode } from './ids.ts';
import { spreadFigure } from './spread.ts';
import { drawTracks, type Track } from './tracks.ts';

/** The part of the page on recall: both sides of every query set, on one scale and then each for itself. */
export function recallSection(recall: Recall | null): Markup {
  if (recall === null) return html``;
  if (recall.reason !== undefined) {
    return html`<section><h2>Recall</h2><p>Not measured: ${recall.reason}.</p></section>`;
  }
  return html`<section><h2>Recall</h2>${recallFigure(recall.sets)}
<p class="dim">The truth is the exact nearest neighbours, worked out from the shards. A hit counts when it is no farther than the true k‑th neighbour, as in ann-benchmarks. The interval covers the mean over all queries with 95% confidence, and its lower end is held against the goal.</p>
${join(recall.sets.map((each) => setPart(each, recall.sets.length)))}</section>`;
}

type Measured = Extract<RecallSide, { measured: true }>;

/** Source and target of an entry, with the name of each. */
export function sidesOf({ source, target }: RecallEntry): readonly (readonly [SideName, RecallSide])[] {
  return [
    ['source', source],
    ['target', target],
  ];
}

/** `sampled · title`, and the filter in words where the set has one. */
export function entryTitle(entry: RecallEntry, measure = ''): string {
  const { set, vector, filter } = entry;
  const name = `${set} · ${vector === '' ? 'the unnamed vector' : vector}${measure === '' ? '' : `: ${measure}`}`;
  return filter === null ? name : `${name}, where ${filterWords(filter)}`;
}

/** `topic is news and year at least 2020 and lang is en or de` */
export function filterWords(filter: Filter): string {
  const words = conditionsOf(filter).map((condition) => {
    if (condition.kind === 'in') return `${condition.field} is ${condition.values.map(String).join(' or ')}`;
    const { from, to } = condition;
    const bounds = [
      ...(from === undefined ? [] : [`${from.isOpen ? 'above' : 'at least'} ${from.value}`]),
      ...(to === undefined ? [] : [`${to.isOpen ? 'below' : 'at most'} ${to.value}`]),
    ];
    return `${condition.field} ${bounds.join(' and ')}`;
  });
  return words.join(' and ');
}

const interval = ({ low, high }: { readonly low: number; readonly high: number }): string =>
  `${percent(low)} to ${percent(high)}`;

/** The least figure that the scale has to hold: the ends of the intervals and the goals. */
function leastOf(entries: readonly RecallEntry[]): number {
  const lows = entries.flatMap((entry) => [
    ...sidesOf(entry).flatMap(([, side]) => (side.measured ? [side.low] : [])),
    entry.atLeast ?? 1,
  ]);
  return Math.min(...lows);
}

function recallFigure(entries: readonly RecallEntry[]): Markup {
  if (entries.length === 0) return html``;
  const groups = entries.map((entry) => ({
    title: entryTitle(entry, `recall@${entry.k}`),
    ...(entry.atLeast !== null && { goal: entry.atLeast }),
    tracks: sidesOf(entry).map(([side, found]) => recallTrack(side, found)),
  }));
  const scale = {
    type: 'value',
    ...shareAxis(leastOf(entries)),
    format: (share: number) => `${Math.round(share * 100)}%`,
  } as const;
  const hasGoal = entries.some(({ atLeast }) => atLeast !== null);
  return figure({
    label: `Recall of source and target. ${entries.map(entrySentence).join(' ')}`,
    draw: (shape) => drawTracks(groups, scale, shape),
    keys: ['source', 'target', ...(hasGoal ? (['goal'] as const) : [])],
    table: recallTable(entries),
  });
}

function recallTrack(side: SideName, found: RecallSide): Track {
  if (!found.measured) return { side, text: `${side}: not measured`, marks: undefined };
  const { mean, low, high } = found;
  const marks = { core: [low, high], point: mean } as const;
  return { side, text: `${side} ${percent(mean)}, ${interval(found)}`, marks };
}

function entrySentence(entry: RecallEntry): string {
  const sides = sidesOf(entry).map(([side, found]) =>
    found.measured
      ? `${side} ${percent(found.mean)}, interval ${interval(found)}`
      : `${side} not measured: ${found.reason}`,
  );
  const goal = entry.atLeast === null ? 'no goal' : `goal ${percent(entry.atLeast)}`;
  return `${entryTitle(entry)}, recall@${entry.k}: ${sides.join('; ')}; ${goal}.`;
}

function recallTable(entries: readonly RecallEntry[]): Markup {
  const rows = entries.flatMap((entry) =>
    sidesOf(entry).map(
      ([side, found]) =>
        html`<tr><th scope="row">${entryTitle(entry)}</th><td>${side}</td>${
          found.measured
            ? html`<td class="number">${percent(found.mean)}</td><td class="number">${interval(found)}</td>`
            : html`<td colspan="2">not measured: ${found.reason}</td>`
        }<td class="number">${entry.atLeast === null ? 'none' : percent(entry.atLeast)}</td></tr>`,
    ),
  );
  return html`<table><thead><tr><th scope="col">query set</th><th scope="col">side</th><th scope="col" class="number">recall@k</th><th scope="col" class="number">95% interval</th><th scope="col" class="number">goal</th></tr></thead><tbody>${join(rows)}</tbody></table>`;
}

/** With many sets only those that need a look lie open. */
const maxOpen = 3;

function setPart(entry: RecallEntry, sets: number): Markup {
  const needsLook = entry.outcome === 'failed' || entry.outcome === 'unproven';
  const body = html`<p>${entry.note}</p>${askedHow(entry)}${measures(entry)}${spreadFigure(entry)}${worstPart(entry.target)}`;
  const title = html`${entryTitle(entry)} <span class="state ${entry.outcome}">${entry.outcome}</span>`;
  if (sets === 1) return html`<h3>${title}</h3>${body}`;
  return html`<details class="set"${openIf(sets <= maxOpen || needsLook)}><summary>${title}</summary>${body}</details>`;
}

export function openIf(isOpen: boolean): Markup {
  return isOpen ? html` open` : html``;
}

function askedHow({
  vector,
  targetVector,
  distance,
  candidates,
  settings,
  source,
  target,
  atLeast,
}: RecallEntry): Markup {
  const asked = [target, source].find((side): side is Measured => side.measured);
  const queries = asked === undefined ? '' : `${count(asked.queries)} ${asked.queries === 1 ? 'query' : 'queries'} `;
  const to = vector === targetVector ? '' : ` Its name in the target is ${targetVector || 'the empty one'}.`;
  const set = Object.entries(settings).map(([name, value]) => `${name} ${String(value)}`);
  const searched = set.length === 0 ? '' : ` The target was searched with ${set.join(', ')}.`;
  const goal = atLeast === null ? 'No goal is set.' : `The goal is ${percent(atLeast)}.`;
  return html`<p class="dim">${queries}by ${distance} distance among ${plural(candidates, 'record')}. ${goal}${to}${searched}</p>`;
}

const meanAndInterval = (found: { readonly mean: number; readonly low: number; readonly high: number }): Markup =>
  html`${percent(found.mean)} <span class="range">${percent(found.low).slice(0, -1)}–${percent(found.high)}</span>`;

/** Every measure of both sides: rows of what, columns of side. */
function measures(entry: RecallEntry): Markup {
  const { source, target, k } = entry;
  const measured = [source, target].filter((side): side is Measured => side.measured);
  if (measured.length === 0) return html``;
  const depths = [...new Set(measured.flatMap((side) => side.depths.map(({ depth }) => depth)))].sort((a, b) => a - b);
  type Of = (found: Measured) => string | Markup | undefined;
  const cell = (side: RecallSide, of: Of): Markup =>
    html`<td class="number">${side.measured ? (of(side) ?? '–') : '–'}</td>`;
  const row = (name: string, of: Of): Markup =>
    html`<tr><th scope="row">${name}</th>${cell(source, of)}${cell(target, of)}</tr>`;
  const rows = [
    row(`recall@${k}`, meanAndInterval),
    ...depths
      .filter((depth) => depth !== k)
      .map((depth) =>
        row(`recall@${depth}`, (found) => {
          const at = found.depths.find((each) => each.depth === depth);
          return at === undefined ? undefined : meanAndInterval(at);
        }),
      ),
    row('NDCG', ({ ndcg }) => percent(ndcg)),
    row('rank-biased overlap', ({ rbo }) => percent(rbo)),
    ...(measured.some(({ short }) => short > 0) ? [row('answers with fewer than k', ({ short }) => count(short))] : []),
  ];
  return html`<table class="measures"><thead><tr><th scope="col">measure</th><th scope="col" class="number">source</th><th scope="col" class="number">target</th></tr></thead><tbody>${join(rows)}</tbody></table>${join(
    sidesOf(entry).flatMap(([side, found]) =>
      found.measured ? [] : [html`<p class="dim">The ${side} was not measured: ${found.reason}.</p>`],
    ),
  )}`;
}

function worstPart(target: RecallSide): Markup {
  if (!target.measured || target.worst.length === 0) return html``;
  return html`<details><summary>Queries with the lowest recall in the target</summary><table class="entries"><thead><tr><th scope="col">query</th><th scope="col">recall</th></tr></thead><tbody>${join(
    target.worst.map(({ id, recall }) => html`<tr><th scope="row">${idCode(id)}</th><td>${percent(recall)}</td></tr>`),
  )}</tbody></table></details>`;
}
