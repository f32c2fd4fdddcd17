import { html, join, type Markup } from '../html.ts';
import type { Timeline } from '../report/report-schema.ts';
import { count, duration, plural } from '../words.ts';
import { colours, type Drawing, figure, quiet, type Shape, wordSeries } from './chart.ts';

/** Records a second over the run's time: a strip a stage, each on its own scale, so that no colour tells them apart. */

const stageWords: Readonly<Record<Timeline['stages'][number]['stage'], string>> = {
  export: 'Export',
  embed: 'Embed',
  import: 'Import',
  compare: 'Compare',
  search: 'Exact neighbours',
};

export function timelineFigure(timeline: Timeline | null): Markup {
  if (timeline === null || timeline.stages.length === 0) return html``;
  const { stepSeconds, stages } = timeline;
  return figure({
    label: `Records a second over the run's time. ${stages.map((each) => stageSentence(each, stepSeconds)).join(' ')}`,
    draw: (shape) => drawTimeline(timeline, shape),
    caption: html`Records a second by stage, over the time since the first shard was begun. A shard's records are spread evenly over the time it took.`,
    table: html`<table><thead><tr><th scope="col">after</th>${join(
      stages.map(({ stage }) => html`<th scope="col" class="number">${stageWords[stage]}</th>`),
    )}</tr></thead><tbody>${join(
      (stages[0]?.perSecond ?? []).map(
        (_, at) =>
          html`<tr><th scope="row">${duration(at * stepSeconds)}</th>${join(stages.map(({ perSecond }) => html`<td class="number">${rate(perSecond[at] ?? 0)}</td>`))}</tr>`,
      ),
    )}</tbody></table>`,
  });
}

type Stage = Timeline['stages'][number];

function rate(value: number): string {
  return count(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
}

/** From the first to the last step with work in it, in seconds. */
function busy({ perSecond }: Stage, stepSeconds: number): { readonly from: number; readonly to: number } {
  const from = Math.max(
    0,
    perSecond.findIndex((each) => each > 0),
  );
  return { from: from * stepSeconds, to: (perSecond.findLastIndex((each) => each > 0) + 1) * stepSeconds };
}

function stageSentence(stage: Stage, stepSeconds: number): string {
  const { from, to } = busy(stage, stepSeconds);
  return `${stageWords[stage.stage]}: ${plural(stage.records, 'record')} from ${duration(from)} to ${duration(to)}, at most ${rate(Math.max(...stage.perSecond))} a second.`;
}

const strip = { title: 24, plot: 54, gap: 10 } as const;

/** Of the stage's highest rate: ECharts never ends on an axis as small as the rates of an empty run can be. */
function shareOf(value: number, perSecond: readonly number[]): number {
  return value / (Math.max(...perSecond) || 1);
}

/** The next of the intervals that people read time in, in seconds. */
function roundInterval(seconds: number): number {
  const known = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400,
  ];
  return known.find((each) => each >= seconds) ?? Math.ceil(seconds / 28_800) * 28_800;
}

function drawTimeline({ stages, stepSeconds }: Timeline, shape: Shape): Drawing {
  const stripHeight = strip.title + strip.plot + strip.gap;
  const steps = stages[0]?.perSecond.length ?? 0;
  const total = steps * stepSeconds;
  const grids = stages.map((_, at) => ({
    left: 6,
    right: 10,
    top: at * stripHeight + strip.title,
    height: strip.plot,
  }));
  return {
    height: stages.length * stripHeight + 20,
    option: {
      grid: grids,
      xAxis: stages.map((_, at) => ({
        gridIndex: at,
        type: 'value',
        min: 0,
        max: total,
        interval: roundInterval(total / (shape === 'wide' ? 8 : 4)),
        axisLine: { lineStyle: { color: colours.dim } },
        axisTick: { show: false },
        splitLine: { lineStyle: { color: colours.line } },
        axisLabel: {
          show: at === stages.length - 1,
          color: colours.dim,
          alignMinLabel: 'left',
          alignMaxLabel: 'right',
          hideOverlap: true,
          showMaxLabel: false,
          formatter: (seconds: number) => (seconds === 0 ? '0 s' : duration(seconds).replace(/ 0 (s|min)$/, '')),
        },
      })),
      yAxis: stages.map((_, at) => ({
        gridIndex: at,
        type: 'value',
        show: false,
        min: 0,
        max: 1,
      })),
      series: [
        ...stages.map(({ perSecond }, at) => ({
          ...quiet('line'),
          xAxisIndex: at,
          yAxisIndex: at,
          symbol: 'none',
          step: 'end',
          clip: false,
          lineStyle: { color: colours.accent, width: 1.75 },
          areaStyle: { color: colours.accent, opacity: 0.18 },
          data: [...perSecond, perSecond.at(-1) ?? 0].map((value, step) => [
            step * stepSeconds,
            shareOf(value, perSecond),
          ]),
        })),
        ...stages.map((stage, at) => {
          const most = Math.max(...stage.perSecond);
          const text = `${stageWords[stage.stage]}: ${count(stage.records)}, most ${rate(most)}/s`;
          const words = { x: 0, y: 1, text, position: 'right' as const };
          const series = wordSeries([words], { xAxisIndex: at, yAxisIndex: at });
          return {
            ...series,
            data: series.data.map((each) => ({ ...each, label: { ...each.label, offset: [0, -13] } })),
          };
        }),
      ],
    },
  };
}
