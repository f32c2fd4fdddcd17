import { setTimeout as sleep } from 'node:timers/promises';
import cliProgress from 'cli-progress';
import { NotFound } from '../../../lib/errors.ts';
import type { ObjectStore } from '../../../lib/objects.ts';
import type { Stage } from '../../../lib/stage.ts';
import { type RunStatus, runStatus, type StatusCache } from '../../../lib/status.ts';
import { count, duration } from '../../../lib/words.ts';
import { answerLines, moveLine, noticeLines } from './describe.ts';
import type { Output } from './output.ts';
import { type Place, shownCommand } from './shown-command.ts';

/** Follows a run by its objects: a bar a stage on a terminal, a line a finished stage elsewhere, events with --json. */
export interface ProgressOptions {
  readonly objects: ObjectStore;
  readonly run: string;
  readonly output: Output;
  readonly isTerminal: boolean;
  /** Milliseconds between two looks; each is a listing a stage. */
  readonly intervalMs: number;
  /** Where the commands have to look that answer a question of the run. */
  readonly place: Place;
}

/** A stage with how long it has taken and how fast it goes; null where there is nothing to work it out from. */
export interface Timed {
  readonly stage: Stage;
  readonly seconds: number | null;
  readonly perSecond: number | null;
  readonly secondsLeft: number | null;
}

interface View {
  show(stages: readonly Timed[]): void;
  /** Lines for people, which stay; with --json there is an event instead. */
  tell(lines: readonly string[]): void;
  close(): void;
}

/** Begins to follow. `stop` takes a last look, so that the end is shown, and gives the status; undefined before the plan. */
export function followRun(options: ProgressOptions): { stop(): Promise<RunStatus | undefined> } {
  const stopping = new AbortController();
  const cache: StatusCache = new Map();
  const clock = stageClock();
  const view = options.output.json ? eventView(options) : options.isTerminal ? barView() : lineView(options.output);
  const tellNews = newsTeller(options, view);
  const unread = new Set<string>();
  /** The run goes on, and says itself what it cannot read: who follows it ends nothing. */
  const tellUnread = (error: unknown): void => {
    const message = `how far the run is cannot be shown: ${error instanceof Error ? error.message : String(error)}`;
    if (unread.has(message)) return;
    unread.add(message);
    options.output.event({ type: 'warning', message });
    view.tell([`warning  ${message}`]);
  };
  const look = async (): Promise<RunStatus | undefined> => {
    try {
      const status = await runStatus({ objects: options.objects, run: options.run, cache });
      view.show(clock(status.stages));
      tellNews(status);
      return status;
    } catch (error) {
      // The plan is not written yet; what comes was done after this look.
      if (error instanceof NotFound) clock([]);
      else tellUnread(error);
      return undefined;
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

/**
 * Times each stage by the looks: from the look before it was first seen to be under way, so a rate is never too high.
 * What was done before the first look, by an earlier try, is not counted for the rate.
 */
export function stageClock(
  now: () => number = () => performance.now(),
): (stages: readonly Stage[]) => readonly Timed[] {
  const began = new Map<string, { readonly at: number; readonly done: number }>();
  const ended = new Map<string, number>();
  let before: { readonly at: number; readonly stages: readonly Stage[] } | undefined;
  const time = (stage: Stage, at: number): Timed => {
    const idle = { stage, seconds: null, perSecond: null, secondsLeft: null };
    if (stage.state === 'waiting' || stage.state === 'skipped') return idle;
    const earlier = before?.stages.find(({ name }) => name === stage.name);
    const doneBefore = before === undefined ? stage.done : (earlier?.done ?? 0);
    const first = began.get(stage.name) ?? { at: before?.at ?? at, done: doneBefore };
    began.set(stage.name, first);
    if (stage.state === 'done' && !ended.has(stage.name)) ended.set(stage.name, at);
    const seconds = ((ended.get(stage.name) ?? at) - first.at) / 1000;
    const moved = stage.done - first.done;
    if (seconds === 0 || moved === 0)
      return { ...idle, seconds: moved === 0 && stage.unit !== 'steps' ? null : seconds };
    const perSecond = moved / seconds;
    return { stage, seconds, perSecond, secondsLeft: (stage.total - stage.done) / perSecond };
  };
  return (stages) => {
    const at = now();
    const timed = stages.map((stage) => time(stage, at));
    before = { at, stages };
    return timed;
  };
}

/** Tells each question, and each move and notice that came since, once. */
function newsTeller({ output, run, place }: ProgressOptions, view: View): (status: RunStatus) => void {
  const begin = new Date().toISOString();
  const told = new Set<string>();
  const isNew = (what: string): boolean => {
    if (told.has(what)) return false;
    told.add(what);
    return true;
  };
  return (status) => {
    const { question, notices, moves } = status;
    if (question !== undefined && isNew(`question ${question.askedAt} ${question.until}`)) {
      const approve = shownCommand(place, `approve ${run}`);
      const reject = shownCommand(place, `reject ${run}`);
      output.event({ type: 'approval', run, ...question, approve, reject });
      view.tell(answerLines(place, status));
    }
    for (const move of moves.filter(({ at }) => at >= begin)) {
      if (!isNew(`move ${move.at} ${move.action}`)) continue;
      output.event({ ...move, type: 'moved', run });
      // Where readers are at the end is the outcome's to say; a step is over before somebody looks, where it has no time.
      if (move.action === 'step' || move.action === 'double') view.tell([`readers  ${moveLine(move)}`]);
    }
    for (const notice of notices.filter(({ at }) => at >= begin)) {
      if (!isNew(`notice ${notice.at} ${notice.kind}`)) continue;
      output.event({ type: 'notice', ...notice });
      // The question has its own lines, with the commands as they have to be typed here.
      if (notice.kind !== 'approval asked') view.tell(noticeLines(notice));
    }
  };
}

function eventView({ output, run }: ProgressOptions): View {
  const shown = new Map<string, string>();
  return {
    show: (stages) => {
      for (const { stage, perSecond, secondsLeft } of stages) {
        const { name, ...rest } = stage;
        const text = JSON.stringify(rest);
        if (shown.get(name) === text || stage.state === 'waiting') continue;
        shown.set(name, text);
        output.event({ type: 'progress', run, stage: name, ...rest, perSecond, secondsLeft });
      }
    },
    tell: () => undefined,
    close: () => undefined,
  };
}

/** Milliseconds after which a detail that changes all the time is said again. */
const sayAgainMs = 30_000;

function lineView(output: Output): View {
  const shown = new Set<string>();
  const said = new Map<string, { readonly what: string; readonly at: number }>();
  /**
   * Live writes, canary steps and embedding go on for long: what they are at is said when it is something else, and now and then; of an
   * index, which is built in a moment as a rule, now and then alone.
   */
  const say = (timed: Timed): void => {
    const { name, state, done, detail } = timed.stage;
    if (state !== 'running' || detail === undefined || detail === said.get(`${name} detail`)?.what) return;
    // But for its counts: an application that deletes all the time leaves another number of tombstones at each look.
    const what = name === 'embed' ? name : `${done} ${detail.replace(/; [\d,]+ /, '; ').split(',')[0]}`;
    const now = performance.now();
    const before = said.get(name);
    if (before === undefined && name === 'index') said.set(name, { what, at: now });
    if ((before?.what === what || name === 'index') && now - (before?.at ?? now) < sayAgainMs) return;
    said.set(name, { what, at: now }).set(`${name} detail`, { what: detail, at: now });
    output.line(`${name.padEnd(8)} ${figures(timed)}`);
  };
  return {
    show: (stages) => {
      for (const timed of stages) {
        const { name, state } = timed.stage;
        if (name === 'live' || name === 'cutover' || name === 'embed' || name === 'index') say(timed);
        // Where readers are at the end is the outcome's to say.
        if (name === 'cutover' || state !== 'done' || shown.has(name)) continue;
        shown.add(name);
        output.line(`${name.padEnd(8)} ${figures(timed)}`);
      }
    },
    tell: (lines) => {
      for (const line of lines) output.line(line);
    },
    close: () => undefined,
  };
}

const eraseLine = '\u001b[2K';

function barView(): View {
  const bars = new cliProgress.MultiBar(
    {
      format: '{name} {bar} {percentage} %  {figures}',
      hideCursor: true,
      clearOnComplete: false,
      emptyOnZero: true,
      autopadding: true,
      // Lines that are told push the bars down, and one that has not changed since would not be drawn there.
      forceRedraw: true,
    },
    cliProgress.Presets.shades_classic,
  );
  const byStage = new Map<string, cliProgress.SingleBar>();
  return {
    show: (stages) => {
      for (const timed of stages.filter(({ stage }) => stage.state !== 'skipped')) {
        const { name, done, total, state } = timed.stage;
        const payload = { name: name.padEnd(8), figures: figures(timed) };
        // What live writes and the cutover are at is a sentence, which takes the bar's place.
        const format = name === 'live' || name === 'cutover' ? { format: '{name} {figures}' } : {};
        const bar = byStage.get(name) ?? bars.create(1, 0, payload, format);
        byStage.set(name, bar);
        // A stage without work (an empty collection) is a full bar once it is done.
        const full = Math.max(1, total);
        bar.setTotal(full);
        bar.update(state === 'done' ? full : done, payload);
      }
    },
    tell: (lines) => {
      // It goes above the bars, onto a line that one of them had.
      for (const line of lines) bars.log(`${eraseLine}${line}\n`);
      bars.update();
    },
    close: () => bars.stop(),
  };
}

function figures({ stage, seconds, perSecond, secondsLeft }: Timed): string {
  if (stage.state === 'waiting') return '';
  if (stage.name === 'live' || stage.name === 'cutover') return stage.detail ?? '';
  const isDone = stage.state === 'done';
  const took = seconds === null ? '' : `  ${duration(seconds)}`;
  if (stage.unit === 'steps') return `${stage.detail ?? stepWord(stage.name, isDone)}${isDone ? took : ''}`;
  const rate = perSecond !== null && stage.unit === 'records' ? `  ${count(Math.round(perSecond))}/s` : '';
  const left = secondsLeft === null || secondsLeft === 0 ? '' : `  ${duration(secondsLeft)} left`;
  const spent = stage.name === 'embed' && stage.detail !== undefined ? `  ${stage.detail}` : '';
  return `${count(stage.done)} of ${count(stage.total)} ${stage.unit}${rate}${isDone ? took : left}${spent}`;
}

/** What a stage without figures is at. */
function stepWord(name: Stage['name'], isDone: boolean): string {
  if (name === 'index') return isDone ? 'built' : 'building';
  return isDone ? 'done' : 'under way';
}
