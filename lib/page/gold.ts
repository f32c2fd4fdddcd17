import { html, join, type Markup } from '../html.ts';
import type { Gold, GoldSide } from '../recall/gold-files.ts';
import type { Recall, RecallEntry } from '../run-files.ts';
import { count, percent } from '../words.ts';
import { figure, type SideName, shareAxis } from './chart.ts';
import { idCode } from './ids.ts';
import { entryTitle } from './recall.ts';
import { drawTracks, type Track } from './tracks.ts';

/** The part of the page on gold sets: how much of what somebody expects each side finds. */
export function goldSection(recall: Recall | null): Markup {
  const sets = (recall?.sets ?? []).flatMap((entry) => (entry.gold === null ? [] : [{ entry, gold: entry.gold }]));
  if (sets.length === 0) return html``;
  return html`<section><h2>Gold sets</h2>${goldFigure(sets)}
<p class="dim">Queries that say which records a good answer holds. What the exact neighbours among the target's vectors hold of them no search of these vectors passes: what is missing there is the model's, not the index's.</p>
${join(sets.map(goldPart))}</section>`;
}

interface GoldSet {
  readonly entry: RecallEntry;
  readonly gold: Gold;
}

const sidesOf = ({ source, target }: Gold): readonly (readonly [SideName, GoldSide])[] => [
  ['source', source],
  ['target', target],
];

function goldFigure(sets: readonly GoldSet[]): Markup {
  const groups = sets.map(({ entry, gold }) => ({
    title: entryTitle(entry, `gold recall@${gold.k}`),
    ...(gold.atLeast !== null && { goal: gold.atLeast }),
    tracks: sidesOf(gold).map(([side, found]) => goldTrack(side, found)),
  }));
  const lows = sets.flatMap(({ gold }) => [
    ...sidesOf(gold).flatMap(([, found]) => (found.measured ? [found.low] : [])),
    gold.atLeast ?? 1,
  ]);
  const scale = {
    type: 'value',
    ...shareAxis(Math.min(...lows)),
    format: (share: number) => `${Math.round(share * 100)}%`,
  } as const;
  const hasGoal = sets.some(({ gold }) => gold.atLeast !== null);
  return figure({
    label: `What is found of what gold queries expect. ${sets.map(goldSentence).join(' ')}`,
    draw: (shape) => drawTracks(groups, scale, shape),
    keys: ['source', 'target', ...(hasGoal ? (['goal'] as const) : [])],
    table: goldTable(sets),
  });
}

const interval = ({ low, high }: { readonly low: number; readonly high: number }): string =>
  `${percent(low)} to ${percent(high)}`;

function goldTrack(side: SideName, found: GoldSide): Track {
  if (!found.measured) return { side, text: `${side}: not asked`, marks: undefined };
  const marks = { core: [found.low, found.high], point: found.recall } as const;
  return { side, text: `${side} ${percent(found.recall)}, ${interval(found)}`, marks };
}

function goldSentence({ entry, gold }: GoldSet): string {
  const sides = sidesOf(gold).map(([side, found]) =>
    found.measured
      ? `${side} ${percent(found.recall)}, interval ${interval(found)}`
      : `${side} not asked: ${found.reason}`,
  );
  const goal = gold.atLeast === null ? 'no goal' : `goal ${percent(gold.atLeast)}`;
  return `${entryTitle(entry)}, gold recall@${gold.k}: ${sides.join('; ')}; ${goal}.`;
}

function goldTable(sets: readonly GoldSet[]): Markup {
  const rows = sets.flatMap(({ entry, gold }) => [
    ...sidesOf(gold).map(
      ([side, found]) =>
        html`<tr><th scope="row">${entryTitle(entry)}</th><td>${side}</td>${
          found.measured
            ? html`<td class="number">${percent(found.recall)}</td><td class="number">${interval(found)}</td><td class="number">${percent(found.ndcg)}</td>`
            : html`<td colspan="3">not asked: ${found.reason}</td>`
        }</tr>`,
    ),
    html`<tr><th scope="row">${entryTitle(entry)}</th><td>exact neighbours</td><td class="number">${percent(gold.exact.recall)}</td><td class="number">–</td><td class="number">${percent(gold.exact.ndcg)}</td></tr>`,
  ]);
  return html`<table><thead><tr><th scope="col">query set</th><th scope="col">side</th><th scope="col" class="number">gold recall@k</th><th scope="col" class="number">95% interval</th><th scope="col" class="number">NDCG</th></tr></thead><tbody>${join(rows)}</tbody></table>`;
}

function goldPart({ entry, gold }: GoldSet): Markup {
  const { exact, queries, outcome, note, worst } = gold;
  const row = (name: string, recall: string | Markup, ndcg: string): Markup =>
    html`<tr><th scope="row">${name}</th><td class="number">${recall}</td><td class="number">${ndcg}</td></tr>`;
  const rows = [
    ...sidesOf(gold).map(([side, found]) =>
      found.measured ? row(side, meanAndInterval(found), percent(found.ndcg)) : row(side, '–', '–'),
    ),
    row('exact neighbours', percent(exact.recall), percent(exact.ndcg)),
  ];
  const notAsked = sidesOf(gold).flatMap(([side, found]) =>
    found.measured ? [] : [html`<p class="dim">The ${side} was not asked: ${found.reason}.</p>`],
  );
  return html`<h3>${entryTitle(entry)} <span class="state ${outcome}">${outcome}</span></h3><p>${note}</p>
<table class="measures"><thead><tr><th scope="col">${queries === 1 ? 'of 1 query' : `of ${count(queries)} queries`}</th><th scope="col" class="number">expected ids found</th><th scope="col" class="number">NDCG</th></tr></thead><tbody>${join(rows)}</tbody></table>${join(notAsked)}${worstPart(worst)}`;
}

const meanAndInterval = ({ recall, low, high }: Extract<GoldSide, { measured: true }>): Markup =>
  html`${percent(recall)} <span class="range">${percent(low).slice(0, -1)}–${percent(high)}</span>`;

function worstPart(worst: Gold['worst']): Markup {
  if (worst.length === 0) return html``;
  return html`<details><summary>Gold queries for which the target finds least</summary><table class="entries"><thead><tr><th scope="col">query</th><th scope="col">of what is expected</th></tr></thead><tbody>${join(
    worst.map(({ id, recall }) => html`<tr><th scope="row">${idCode(id)}</th><td>${percent(recall)}</td></tr>`),
  )}</tbody></table></details>`;
}
