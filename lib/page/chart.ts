// All of ECharts in one file: its some 600 modules take ten times as long to load, half a second of every run on one machine.
import { init } from 'echarts/dist/echarts.esm.min';
import { html, join, type Markup, raw } from '../html.ts';

/**
 * Charts of the report's page, drawn by Apache ECharts as SVG when the report is written, so that the page needs no
 * script. Each is drawn twice, for a desk and for a phone: text keeps its size, and CSS shows one of them. Colours are
 * CSS variables of lib/page/style.ts, so one drawing serves light, dark and paper; whatever a colour says a shape, a
 * dash or a word says too.
 */
export const shapes = { wide: 760, narrow: 320 } as const;
export type Shape = keyof typeof shapes;

export interface Drawing {
  /** In the drawing's own pixels. */
  readonly height: number;
  /** What ECharts draws; animation and events are off. */
  readonly option: Readonly<Record<string, unknown>>;
}

export interface Figure {
  /** The figures in a sentence, for those who hear the page. */
  readonly label: string;
  readonly draw: (shape: Shape) => Drawing;
  /** What the colours and shapes mean. */
  readonly keys?: readonly Key[];
  readonly caption?: Markup;
  /** The same figures as a table. */
  readonly table: Markup;
}

export type Key = 'source' | 'target' | 'goal' | 'spread' | 'lower' | 'mean' | 'chosen';
const keyWords: Readonly<Record<Key, string>> = {
  source: 'source',
  target: 'target',
  goal: 'goal',
  spread: 'thin: least to most; thick: p50 to p95; bar: p99',
  lower: 'lower end of the 95% interval, which the goal is held against',
  mean: 'mean',
  chosen: 'chosen',
};

export const fontSize = 12.5;
export const colours = {
  ink: 'var(--ink)',
  dim: 'var(--dim)',
  line: 'var(--line)',
  sheet: 'var(--sheet)',
  source: 'var(--source)',
  target: 'var(--target)',
  accent: 'var(--accent)',
} as const;

/** Source is hollow and a diamond, target is solid and round, wherever the two are drawn. */
export const sideMarks = {
  source: { symbol: 'diamond', color: colours.sheet, borderColor: colours.source, lineType: [4, 2] },
  target: { symbol: 'circle', color: colours.target, borderColor: colours.target, lineType: 'solid' },
} as const;
export type SideName = keyof typeof sideMarks;

export function figure({ label, draw, keys = [], caption, table }: Figure): Markup {
  const drawings = (['wide', 'narrow'] as const).map(
    (shape) => html`<div class="${shape}">${render(shape, draw(shape))}</div>`,
  );
  const legend =
    keys.length === 0
      ? html``
      : html`<p class="legend">${join(keys.map((key) => html`<span><i class="key ${key}"></i>${keyWords[key]}</span> `))}</p>`;
  return html`<figure>${legend}<div class="plot" role="img" aria-label="${label}">${join(drawings)}</div>${
    caption === undefined ? html`` : html`<figcaption>${caption}</figcaption>`
  }<details class="figures-of"><summary>The figures as a table</summary><div class="scroll" tabindex="0" role="group" aria-label="The figures as a table">${table}</div></details></figure>`;
}

function render(shape: Shape, { height, option }: Drawing): Markup {
  const width = shapes[shape];
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  const textStyle = { fontFamily: 'inherit', fontSize, color: colours.ink };
  chart.setOption({ animation: false, textStyle, ...option });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return raw(tidy(svg));
}

/**
 * Leaves out what only a script would read, the fixed size, marks that cannot be seen, and the clips: nothing is drawn outside
 * of its axes, and the page is to hold no url(), not even of its own parts. Text is escaped by ECharts, quotes too, so none of it can
 * look like an attribute or an element.
 */
function tidy(svg: string): string {
  return svg
    .replace(/<style ?>[\s\S]*?<\/style>/g, '')
    .replace(/ (?:class|ecmeta_\w+|pointer-events|xmlns:xlink|baseProfile|version)="[^"]*"/g, '')
    .replace(/<defs ?>[\s\S]*?<\/defs>/g, '')
    .replace(/ clip-path="[^"]*"/g, '')
    .replace(/<path d=""[^>]*><\/path>|<path d="[^"]*"(?: transform="[^"]*")? fill="none"><\/path>\n?/g, '')
    .replace(/^<svg width="\d+" height="\d+"/, '<svg aria-hidden="true" focusable="false"')
    .replace(/>\n+</g, '><')
    .trim();
}

export interface Words {
  readonly x: number;
  readonly y: number;
  readonly text: string;
  readonly position: 'left' | 'right' | 'top' | 'bottom';
  /** Pixels to the right of there. */
  readonly shift?: number;
  readonly bold?: boolean;
  readonly dim?: boolean;
}

/** Words at places of a chart: a series whose marks cannot be seen. */
export function wordSeries(all: readonly Words[], axes: Readonly<Record<string, number>> = {}) {
  return {
    ...quiet('scatter'),
    ...axes,
    symbolSize: 0.1,
    itemStyle: { color: 'transparent', opacity: 1 },
    clip: false,
    data: all.map(({ x, y, text, position, shift = 0, bold = false, dim = false }) => ({
      value: [x, y],
      label: {
        show: true,
        position,
        distance: 0,
        offset: [shift, 0],
        formatter: () => text,
        fontWeight: bold ? 'bold' : 'normal',
        color: dim ? colours.dim : colours.ink,
        fontSize,
      },
    })),
  };
}

/** A series that answers to no pointer. */
export function quiet<T extends string>(type: T) {
  return { type, silent: true, emphasis: { disabled: true } } as const;
}

/** An axis of shares that ends at 1 and begins at a round figure below `least`, in at most six steps. */
export function shareAxis(least: number): { readonly min: number; readonly max: 1; readonly interval: number } {
  const interval = [0.01, 0.02, 0.05, 0.1, 0.2].find((step) => (1 - least) / step <= 5.5) ?? 0.2;
  // Two digits: ECharts refuses an axis that begins at 0.9600000000000001.
  const min = Math.max(0, Math.round(Math.floor((least - interval / 4) / interval) * interval * 100) / 100);
  return { min, max: 1, interval };
}

/** `text`, shortened to what fits `characters`. */
export function shorten(text: string, characters: number): string {
  return text.length <= characters ? text : `${text.slice(0, characters - 1)}…`;
}
