import { html, join, type Markup } from '../html.ts';
import type { Tuning } from '../run-files.ts';
import type { SearchSettings } from '../schema.ts';
import { milliseconds, percent } from '../words.ts';
import { colours, type Drawing, figure, fontSize, quiet, type Shape, shareAxis, shorten } from './chart.ts';

/** The part of the page on tuning: what raising the target's search settings did, and what is to be made of it. */
export function tuningSection(sets: Tuning['sets'] | null): Markup {
  if (sets === null || sets.length === 0) return html``;
  return html`<section><h2>Tuning the search</h2>${join(sets.map(tunedSet))}</section>`;
}

type Tuned = Tuning['sets'][number];
type Tried = Tuned['curve'][number];

/** `efSearch 120, rescore` */
export function settingsText(settings: SearchSettings): string {
  const all = Object.entries(settings).map(([name, value]) => {
    if (typeof value === 'boolean') return value ? name : `no ${name}`;
    return `${name} ${value}`;
  });
  return all.length === 0 ? 'as it was' : all.join(', ');
}

function isSame(a: SearchSettings, b: SearchSettings): boolean {
  const text = (settings: SearchSettings): string => JSON.stringify(Object.entries(settings).toSorted());
  return text(a) === text(b);
}

function tunedSet(tuned: Tuned): Markup {
  const { set, targetVector, k, atLeast, curve, chosen, kept, how } = tuned;
  const name = targetVector === '' ? 'the unnamed vector' : targetVector;
  const found = chosen === null ? undefined : curve.find(({ settings }) => isSame(settings, chosen));
  const outcome =
    chosen === null
      ? html`<p>None of the ${String(curve.length)} settings tried holds the goal of ${percent(atLeast)} for recall@${String(k)}. ${how}</p>`
      : html`<p><b>${settingsText(chosen)}</b> holds the goal of ${percent(atLeast)}${
          found === undefined
            ? ''
            : `: recall@${k} is at least ${percent(found.low)}, at ${milliseconds(found.p50)} a search (p50)`
        }.</p><p class="next"><b>${kept ? 'Kept:' : 'The application has to set it:'}</b> ${how}</p>`;
  return html`<h3>${set} · ${name}</h3>${outcome}${curve.length === 0 ? html`` : curveFigure(tuned)}`;
}

function curveFigure(tuned: Tuned): Markup {
  const { curve, k, atLeast, chosen } = tuned;
  const isChosen = ({ settings }: Tried): boolean => chosen !== null && isSame(settings, chosen);
  const sentence = (tried: Tried): string =>
    `${settingsText(tried.settings)}${isChosen(tried) ? ', the chosen one' : ''}: mean ${percent(tried.mean)}, at least ${percent(tried.low)}, p50 ${milliseconds(tried.p50)}`;
  const rows = curve.map(
    (tried) =>
      html`<tr><th scope="row">${settingsText(tried.settings)}${isChosen(tried) ? ' (chosen)' : ''}</th><td class="number">${percent(tried.mean)}</td><td class="number">${percent(tried.low)} to ${percent(tried.high)}</td><td class="number">${milliseconds(tried.p50)}</td><td class="number">${milliseconds(tried.p95)}</td></tr>`,
  );
  return figure({
    label: `Recall@${k} of the target against its latency, for each setting tried; the goal is ${percent(atLeast)}. ${curve.map(sentence).join('. ')}.`,
    draw: (shape) => drawCurve(tuned, shape, isChosen),
    keys: ['lower', 'mean', 'goal', ...(chosen === null ? [] : (['chosen'] as const))],
    caption: html`Recall@${String(k)}, upwards, against the median latency of a search, in milliseconds. A point for each setting tried.`,
    table: html`<table><thead><tr><th scope="col">settings</th><th scope="col" class="number">recall@${String(k)}</th><th scope="col" class="number">95% interval</th><th scope="col" class="number">p50</th><th scope="col" class="number">p95</th></tr></thead><tbody>${join(rows)}</tbody></table>`,
  });
}

function drawCurve({ curve, atLeast }: Tuned, shape: Shape, isChosen: (tried: Tried) => boolean): Drawing {
  const isWide = shape === 'wide';
  const times = curve.map(({ p50 }) => p50);
  const [least, most] = [Math.min(...times), Math.max(...times)];
  const margin = Math.max((most - least) * 0.12, most * 0.05, 0.001);
  const [from, to] = [Math.max(0, least - margin), most + margin];
  const axis = {
    axisLine: { lineStyle: { color: colours.dim } },
    axisTick: { lineStyle: { color: colours.dim } },
    splitLine: { lineStyle: { color: colours.line } },
  };
  const line = (of: (tried: Tried) => number, look: Readonly<Record<string, unknown>>) => ({
    ...quiet('line'),
    data: curve.map((tried) => [tried.p50, of(tried)]),
    clip: false,
    ...look,
  });
  return {
    height: isWide ? 320 : 280,
    option: {
      grid: { left: isWide ? 52 : 42, right: isWide ? 30 : 12, top: 26, bottom: 28 },
      xAxis: {
        type: 'value',
        min: from,
        max: to,
        splitNumber: isWide ? 6 : 3,
        ...axis,
        axisLabel: {
          color: colours.dim,
          showMinLabel: false,
          showMaxLabel: false,
          hideOverlap: true,
          formatter: (value: number) => milliseconds(value),
        },
      },
      yAxis: {
        type: 'value',
        ...shareAxis(Math.min(atLeast, ...curve.map(({ low }) => low))),
        ...axis,
        axisLabel: { color: colours.dim, formatter: (share: number) => `${Math.round(share * 100)}%` },
      },
      series: [
        {
          ...quiet('line'),
          symbol: 'none',
          lineStyle: { color: colours.dim, width: 1.5, type: [4, 3] },
          data: [
            [from, atLeast],
            [to, atLeast],
          ],
        },
        line(({ mean }) => mean, {
          symbol: 'emptyDiamond',
          symbolSize: 9,
          itemStyle: { color: colours.dim, borderWidth: 1.5 },
          lineStyle: { color: colours.dim, width: 1.5, type: [2, 2] },
        }),
        line(({ low }) => low, {
          symbol: 'circle',
          symbolSize: 8,
          itemStyle: { color: colours.target },
          lineStyle: { color: colours.target, width: 2.5 },
        }),
        {
          ...quiet('scatter'),
          symbol: 'circle',
          symbolSize: 20,
          itemStyle: { color: 'transparent', borderColor: colours.ink, borderWidth: 2, opacity: 1 },
          clip: false,
          data: curve.filter(isChosen).map(({ p50, low }) => [p50, low]),
        },
        {
          ...quiet('scatter'),
          symbolSize: 0.1,
          itemStyle: { color: 'transparent', opacity: 1 },
          clip: false,
          labelLayout: { hideOverlap: true, moveOverlap: 'shiftY' },
          data: curve.map((tried) => ({
            value: [tried.p50, tried.low],
            label: {
              show: true,
              // Below the curve, which only rises; towards the side that has room.
              position: 'bottom',
              distance: 13,
              align: tried.p50 > (from + to) / 2 ? 'right' : 'left',
              color: colours.ink,
              fontSize: isWide ? fontSize : 11.5,
              fontWeight: isChosen(tried) ? 'bold' : 'normal',
              formatter: () => shorten(settingsText(tried.settings), isWide ? 48 : 24),
            },
          })),
        },
      ],
    },
  };
}
