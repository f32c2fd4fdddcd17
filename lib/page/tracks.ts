import { colours, type Drawing, quiet, type Shape, type SideName, shorten, sideMarks, wordSeries } from './chart.ts';

/**
 * Rows of intervals on one scale: for each query set a heading, and below it a track for either side. On a desk the words
 * stand left of their track, on a phone above it.
 */

export interface Track {
  readonly side: SideName;
  /** What stands beside the track: the figures themselves. */
  readonly text: string;
  /** undefined: the side was not measured, and only the words are drawn. */
  readonly marks: TrackMarks | undefined;
}

export interface TrackMarks {
  /** A thin line. */
  readonly whole?: readonly [number, number];
  /** A thick line on it. */
  readonly core: readonly [number, number];
  readonly point: number;
  /** A short bar across. */
  readonly bar?: number;
}

export interface TrackGroup {
  readonly title: string;
  readonly tracks: readonly Track[];
  /** A dashed line across each of the group's tracks. */
  readonly goal?: number;
}

export interface Scale {
  readonly type: 'value' | 'log';
  readonly min: number;
  readonly max: number;
  readonly format: (value: number) => string;
  readonly interval?: number;
}

/** Pixels. */
const sizes = {
  wide: { title: 26, track: 26, left: 300, right: 24, top: 4, letters: 70 },
  narrow: { title: 30, track: 42, left: 10, right: 14, top: 2, letters: 36 },
} as const;
const axisHeight = 26;

export function drawTracks(groups: readonly TrackGroup[], scale: Scale, shape: Shape): Drawing {
  const size = sizes[shape];
  const heightOf = ({ tracks }: TrackGroup): number => size.title + tracks.length * size.track;
  const placed = groups.map((group, at) => ({
    group,
    top: groups.slice(0, at).reduce((sum, each) => sum + heightOf(each), 0),
  }));
  const height = groups.reduce((sum, group) => sum + heightOf(group), 0);
  const rows = placed.flatMap(({ group, top }) =>
    group.tracks.map((track, at) => ({
      ...track,
      goal: group.goal,
      y: top + size.title + at * size.track + (shape === 'wide' ? size.track / 2 : size.track - 12),
    })),
  );
  const beside = { position: 'right' as const, shift: shape === 'wide' ? 6 - size.left : 0 };
  const titles = placed.map(({ group: { title }, top }) => ({
    x: scale.min,
    y: top + size.title / 2 + 3,
    text: shorten(title, size.letters),
    ...beside,
    bold: true,
  }));
  const texts = rows.map(({ text, y }) => ({
    x: scale.min,
    y: shape === 'wide' ? y : y - 17,
    text,
    ...beside,
  }));
  const goals = rows.flatMap(({ goal, y }) => (goal === undefined ? [] : upright(goal, y, 10)));
  const drawn = rows.flatMap(({ side, marks, y }) => (marks === undefined ? [] : [{ side, marks, y }]));
  const own = (side: SideName) => drawn.filter((each) => each.side === side);
  const axis = {
    axisLine: { onZero: false, lineStyle: { color: colours.line } },
    axisTick: { lineStyle: { color: colours.line } },
    axisLabel: { color: colours.dim, formatter: scale.format, hideOverlap: true },
    splitLine: { lineStyle: { color: colours.line } },
  };
  return {
    height: height + size.top + axisHeight,
    option: {
      grid: { left: size.left, right: size.right, top: size.top, bottom: axisHeight },
      xAxis: {
        position: 'bottom',
        type: scale.type,
        min: scale.min,
        max: scale.max,
        interval: scale.interval,
        ...axis,
      },
      yAxis: { type: 'value', min: 0, max: height, inverse: true, show: false },
      series: [
        lines(goals, { color: colours.dim, width: 1.5, type: [4, 3] }),
        ...(['source', 'target'] as const).flatMap((side) => {
          const { lineType: type, symbol, color, borderColor } = sideMarks[side];
          const rowsOf = own(side);
          return [
            lines(
              rowsOf.flatMap(({ marks: { whole }, y }) => (whole === undefined ? [] : stroke(whole[0], whole[1], y))),
              { color: borderColor, width: 1.5, type },
            ),
            lines(
              rowsOf.flatMap(({ marks: { core }, y }) => stroke(core[0], core[1], y)),
              { color: borderColor, width: 5, type: 'solid', cap: 'round', opacity: 0.45 },
            ),
            lines(
              rowsOf.flatMap(({ marks: { bar }, y }) => (bar === undefined ? [] : upright(bar, y, 6))),
              { color: borderColor, width: 2, type: 'solid' },
            ),
            {
              ...quiet('scatter'),
              symbol,
              symbolSize: symbol === 'diamond' ? 12 : 10,
              itemStyle: { color, borderColor, borderWidth: 2, opacity: 1 },
              clip: false,
              data: rowsOf.map(({ marks: { point }, y }) => [point, y]),
            },
          ];
        }),
        wordSeries([...titles, ...texts]),
      ],
    },
  };
}

type Point = readonly [number, number] | readonly [null, null];

/** A stroke of its own within a series of them: the empty point lifts the pen. */
function stroke(from: number, to: number, y: number): Point[] {
  return [
    [from, y],
    [to, y],
    [null, null],
  ];
}

function upright(x: number, y: number, half: number): Point[] {
  return [
    [x, y - half],
    [x, y + half],
    [null, null],
  ];
}

function lines(data: readonly (readonly (number | null)[])[], lineStyle: Readonly<Record<string, unknown>>) {
  return { ...quiet('line'), symbol: 'none', connectNulls: false, clip: false, lineStyle, data };
}
