import { setTimeout as sleep } from 'node:timers/promises';
import cliProgress from 'cli-progress';
import { NotFound } from '../../lib/errors.ts';
import type { ObjectStore } from '../../lib/objects.ts';
import { type RunStatus, runStatus, type Stage, type StatusCache } from '../../lib/status.ts';
import { count, duration, type Output } from './output.ts';

/** Follows a run by its objects: a bar a stage on a terminal, a line a finished stage elsewhere, events with --json. */
export interface ProgressOptions {
  readonly objects: ObjectStore;
  readonly run: string;
  readonly output: Output;
  readonly isTerminal: boolean;
  /** Milliseconds between two looks; each is a listing a stage. */
  readonly intervalMs: number;
}

/** A stage with how fast it goes. */
export interface Pace {
  readonly stage: Stage;
  readonly seconds: number;
  readonly perSecond: number;
  /** null while there is nothing to work it out from. */
  readonly secondsLeft: number | null;
}

interface View {
  show(paces: readonly Pace[]): void;
  close(): void;
}

/** Begins to follow. `stop` takes a last look, so that the end is shown, and gives the status; undefined before the plan. */
export function followRun(options: ProgressOptions): { stop(): Promise<RunStatus | undefined> } {
  const stopping = new AbortController();
  const cache: StatusCache = new Map();
  const clock = stageClock();
  const view = options.output.json ? eventView(options) : options.isTerminal ? barView() : lineView(options.output);
  const look = async (): Promise<RunStatus | undefined> => {
    try {
      const status = await runStatus({ objects: options.objects, run: options.run, cache });
      view.show(status.stages.map((stage) => clock(stage)));
      return status;
    } catch (error) {
      // The plan is not written yet.
      if (error instanceof NotFound) return undefined;
      throw error;
    }
  };
  const watching = (async () => {
    while (!stopping.signal.aborted) {
      await look();
      await sleep(options.intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await watching;
      const status = await look();
      view.close();
      return status;
    },
  };
}

/** Times each stage from when it was first seen running; work of an earlier try does not count for the rate. */
function stageClock(now: () => number = () => performance.now()): (stage: Stage) => Pace {
  const began = new Map<string, { readonly at: number; readonly done: number }>();
  const ended = new Map<string, number>();
  return (stage) => {
    if (stage.state === 'waiting' || stage.state === 'skipped')
      return { stage, seconds: 0, perSecond: 0, secondsLeft: null };
    const first = began.get(stage.name) ?? { at: now(), done: stage.state === 'done' ? 0 : stage.done };
    began.set(stage.name, first);
    const end = ended.get(stage.name) ?? now();
    if (stage.state === 'done') ended.set(stage.name, end);
    const seconds = (end - first.at) / 1000;
    const perSecond = seconds > 0.05 ? (stage.done - first.done) / seconds : 0;
    const secondsLeft = stage.state === 'done' ? 0 : perSecond > 0 ? (stage.total - stage.done) / perSecond : null;
    return { stage, seconds, perSecond, secondsLeft };
  };
}

function eventView({ output, run }: ProgressOptions): View {
  const shown = new Map<string, string>();
  return {
    show: (paces) => {
      for (const { stage, perSecond, secondsLeft } of paces) {
        const { name, ...rest } = stage;
        const text = JSON.stringify(rest);
        if (shown.get(name) === text || stage.state === 'waiting') continue;
        shown.set(name, text);
        output.event({ type: 'progress', run, stage: name, ...rest, perSecond: Math.round(perSecond), secondsLeft });
      }
    },
    close: () => undefined,
  };
}

function lineView(output: Output): View {
  const shown = new Set<string>();
  return {
    show: (paces) => {
      for (const pace of paces) {
        if (pace.stage.state !== 'done' || shown.has(pace.stage.name)) continue;
        shown.add(pace.stage.name);
        output.line(`${pace.stage.name.padEnd(8)} ${figures(pace)}`);
      }
    },
    close: () => undefined,
  };
}

function barView(): View {
  const bars = new cliProgress.MultiBar(
    {
      format: '{name} {bar} {percentage} %  {figures}',
      hideCursor: true,
      clearOnComplete: false,
      emptyOnZero: true,
      autopadding: true,
    },
    cliProgress.Presets.shades_classic,
  );
  const byStage = new Map<string, cliProgress.SingleBar>();
  return {
    show: (paces) => {
      for (const pace of paces.filter(({ stage }) => stage.state !== 'skipped')) {
        const { name, done, total, state } = pace.stage;
        const payload = { name: name.padEnd(8), figures: figures(pace) };
        const bar = byStage.get(name) ?? bars.create(1, 0, payload);
        byStage.set(name, bar);
        // A stage without work (an empty collection) is a full bar once it is done.
        const full = Math.max(1, total);
        bar.setTotal(full);
        bar.update(state === 'done' ? full : done, payload);
      }
    },
    close: () => bars.stop(),
  };
}

function figures({ stage, seconds, perSecond, secondsLeft }: Pace): string {
  if (stage.state === 'waiting') return '';
  const rate = perSecond > 0 && stage.unit === 'records' ? `  ${count(perSecond)}/s` : '';
  const time =
    stage.state === 'done' ? `  ${duration(seconds)}` : secondsLeft === null ? '' : `  ${duration(secondsLeft)} left`;
  if (stage.unit === 'steps') return stage.state === 'done' ? `built${time}` : 'building';
  return `${count(stage.done)} of ${count(stage.total)} ${stage.unit}${rate}${time}`;
}
