import { html, join, type Markup } from '../html.ts';
import type { Report } from '../report/report-schema.ts';
import type { Recall, RecallEntry, RecallSide } from '../run-files.ts';
import { milliseconds } from '../words.ts';
import { figure, type SideName } from './chart.ts';
import { entryTitle, sidesOf } from './recall.ts';
import { drawTracks, type Track } from './tracks.ts';

/** The part of the page on how long searches took, the same queries on both sides. */
export function latencySection(recall: Recall | null, index: Report['index'] = null): Markup {
  const entries = (recall?.sets ?? []).filter(({ source, target }) => source.measured || target.measured);
  if (entries.length === 0) return html``;
  const spans = entries.flatMap((entry) =>
    sidesOf(entry).flatMap(([, side]) => (side.measured ? [side.latency.min, side.latency.max] : [])),
  );
  // A logarithm needs figures above 0; a search in less than a hundredth of a millisecond is not told apart.
  const min = 10 ** Math.floor(Math.log10(Math.max(0.01, Math.min(...spans))));
  const max = roundUp(Math.max(min * 10, ...spans));
  const scale = {
    type: 'log',
    min,
    max,
    format: (value: number) => `${value >= 1 ? value : value.toFixed(2)} ms`,
  } as const;
  const groups = entries.map((entry) => ({
    title: entryTitle(entry, `k ${entry.k}`),
    tracks: sidesOf(entry).map(([side, found]) => latencyTrack(side, found, min)),
  }));
  return html`<section><h2>Latency</h2>${figure({
    label: `Latency of source and target. ${entries.map(latencySentence).join(' ')}`,
    draw: (shape) => drawTracks(groups, scale, shape),
    keys: ['source', 'target', 'spread'],
    table: latencyTable(entries),
  })}
<p class="dim">Milliseconds of one search, as this run's functions saw it: the same queries on both sides, ${whenAsked(index)}, after some to warm up. The scale is logarithmic, the mark is the median.</p></section>`;
}

const whenAsked = (index: Report['index']): string =>
  index?.oldAsked === 'before' ? 'the old index before the new one was built and the new one after it' : 'in turn';

/** The next 1, 2 or 5 times a power of ten. */
function roundUp(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 5, 10].find((each) => each * power >= value) ?? 10) * power;
}

function latencyTrack(side: SideName, found: RecallSide, least: number): Track {
  if (!found.measured) return { side, text: `${side}: not measured`, marks: undefined };
  const { min, p50, p95, p99, max } = found.latency;
  const at = (value: number): number => Math.max(least, value);
  const marks = { whole: [at(min), at(max)], core: [at(p50), at(p95)], point: at(p50), bar: at(p99) } as const;
  const short = (value: number): string => milliseconds(value).replace(/ ms$/, '');
  return { side, text: `${side} p50 ${short(p50)} · p95 ${short(p95)} · p99 ${short(p99)} ms`, marks };
}

function latencySentence(entry: RecallEntry): string {
  const sides = sidesOf(entry).flatMap(([side, found]) => {
    if (!found.measured) return [];
    const { p50, p95, p99, min, max } = found.latency;
    const [half, most, nearly] = [p50, p95, p99].map(milliseconds);
    return [`${side} p50 ${half}, p95 ${most}, p99 ${nearly}, from ${milliseconds(min)} to ${milliseconds(max)}`];
  });
  return `${entryTitle(entry)}: ${sides.join('; ')}.`;
}

function latencyTable(entries: readonly RecallEntry[]): Markup {
  const names = ['min', 'p50', 'p95', 'p99', 'max', 'mean', 'deviation'] as const;
  const rows = entries.flatMap((entry) =>
    sidesOf(entry).flatMap(([side, found]) =>
      found.measured
        ? [
            html`<tr><th scope="row">${entryTitle(entry)}</th><td>${side}</td>${join(names.map((name) => html`<td class="number">${milliseconds(found.latency[name])}</td>`))}</tr>`,
          ]
        : [],
    ),
  );
  return html`<table><thead><tr><th scope="col">query set</th><th scope="col">side</th>${join(names.map((name) => html`<th scope="col" class="number">${name}</th>`))}</tr></thead><tbody>${join(rows)}</tbody></table>`;
}
