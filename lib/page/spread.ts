import { html, join, type Markup } from '../html.ts';
import type { RecallEntry, RecallSide } from '../run-files.ts';
import { count } from '../words.ts';
import { colours, type Drawing, figure, fontSize, quiet, type Shape } from './chart.ts';

/** How recall is spread over the queries of a set: a mean of 95 % may be every query at 95 %, or one in twenty finding nothing. */

type Measured = Extract<RecallSide, { measured: true }>;

/** Names of the steps of a spread, as recallSideSchema's. */
export const stepNames = [...Array.from({ length: 10 }, (_, at) => `${at * 10}–${at * 10 + 10}%`), '100%'];
const shortSteps = [...Array.from({ length: 10 }, (_, at) => `${at * 10}`), '100'];

export function spreadFigure({ source, target, k }: RecallEntry): Markup {
  const sides = [
    { name: 'source', side: source },
    { name: 'target', side: target },
  ] as const;
  const measured = sides.flatMap(({ name, side }) => (side.measured ? [{ name, side }] : []));
  if (measured.length === 0) return html``;
  return figure({
    label: `How recall@${k} is spread over the queries. ${measured.map(({ name, side }) => spreadSentence(name, side)).join(' ')}`,
    draw: (shape) => drawSpread(measured, shape),
    keys: measured.map(({ name }) => name),
    caption: html`Queries by their recall@${String(k)} in percent, those without a miss at the right.`,
    table: spreadTable(
      `recall@${k}`,
      measured.map(({ name, side }) => ({ name: `queries, ${name}`, spread: side.spread })),
    ),
  });
}

export function spreadTable(
  measure: string,
  columns: readonly { readonly name: string; readonly spread: readonly number[] }[],
): Markup {
  return html`<table><thead><tr><th scope="col">${measure}</th>${join(
    columns.map(({ name }) => html`<th scope="col" class="number">${name}</th>`),
  )}</tr></thead><tbody>${join(
    stepNames.map(
      (step, at) =>
        html`<tr><th scope="row">${step}</th>${join(columns.map(({ spread }) => html`<td class="number">${count(spread[at] ?? 0)}</td>`))}</tr>`,
    ),
  )}</tbody></table>`;
}

function spreadSentence(name: string, { spread, queries }: Measured): string {
  const parts = spread.flatMap((tally, at) => (tally === 0 ? [] : [`${count(tally)} at ${stepNames[at] ?? ''}`]));
  return `Of ${count(queries)} queries of the ${name}: ${parts.join(', ')}.`;
}

export function drawSpread(
  sides: readonly { readonly name: 'source' | 'target'; readonly side: Pick<Measured, 'spread'> }[],
  shape: Shape,
): Drawing {
  const isWide = shape === 'wide';
  const label = {
    show: true,
    position: 'top',
    distance: 3,
    // On a phone the numbers of two bars would run into each other.
    ...(!isWide && { rotate: 90, align: 'left', verticalAlign: 'middle' }),
    color: colours.ink,
    fontSize: isWide ? fontSize : 10.5,
    formatter: ({ value }: { readonly value: number }) => (value === 0 ? '' : count(value)),
  };
  return {
    height: isWide ? 220 : 200,
    option: {
      grid: { left: 4, right: 4, top: isWide ? 22 : 36, bottom: 26 },
      xAxis: {
        type: 'category',
        data: isWide ? stepNames : shortSteps,
        axisLine: { lineStyle: { color: colours.dim } },
        axisTick: { show: false },
        axisLabel: { color: colours.dim, interval: 0, fontSize: isWide ? fontSize : 11 },
      },
      yAxis: { type: 'value', show: false, min: 0 },
      series: sides.map(({ name, side }) => ({
        ...quiet('bar'),
        barGap: '12%',
        barCategoryGap: isWide ? '24%' : '12%',
        // A step with a single query among hundreds still shows.
        barMinHeight: 2,
        itemStyle:
          name === 'source'
            ? { color: 'transparent', borderColor: colours.source, borderWidth: 1.75, borderType: 'solid' }
            : { color: colours.target },
        label,
        data: side.spread.map((tally) => (tally === 0 ? null : tally)),
      })),
    },
  };
}
