import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { InvalidEvent } from '../../../lib/errors.ts';
import { parseEvent, type RunEvent } from '../../../lib/event.ts';
import { quoted } from './shown-command.ts';

/** An event as the user gave it, and parsed: the state machine gets the former, as it would on AWS. */
export interface GivenEvent {
  readonly raw: Readonly<Record<string, unknown>>;
  readonly parsed: RunEvent;
}

/**
 * EVENT of the command line: a path, `-` for standard input, or JSON itself.
 * @throws InvalidEvent when it is not there, is not JSON, or is not an event.
 */
export async function readEvent(argument: string): Promise<GivenEvent> {
  const given = await readText(argument);
  const raw = parseJson(given.text, given.where);
  const parsed = parseEvent(raw);
  return { raw: { ...Object(raw) }, parsed };
}

/** The event of a start that takes up the failed texts alone. @throws InvalidEvent when it embeds none, or `only` is something else */
export function onlyOf({ raw, parsed }: GivenEvent, only: string | undefined): GivenEvent {
  if (only === undefined) return { raw, parsed };
  const asked = { ...raw, only };
  return { raw: asked, parsed: parseEvent(asked) };
}

/** The argument as it can be typed again in a shell. */
export function shownEvent(argument: string): string {
  return quoted(argument);
}

export async function readText(argument: string): Promise<{ readonly text: string; readonly where: string }> {
  if (argument === '-') return { text: await text(process.stdin), where: 'standard input' };
  if (/^\s*[{[]/.test(argument)) return { text: argument, where: 'the argument' };
  try {
    return { text: await readFile(argument, 'utf8'), where: argument };
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const what = code === 'ENOENT' ? `there is no event '${argument}'` : `'${argument}' cannot be read (${code})`;
    throw new InvalidEvent(`${what}; give a file (events/ has one a use), - or JSON`, { cause });
  }
}

/** @throws InvalidEvent */
export function parseJson(given: string, where: string): unknown {
  try {
    return JSON.parse(given);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new InvalidEvent(`${where} is not JSON: ${why}`, { cause });
  }
}

/** A run's id that sorts by time, for an event that names none: 20260731-154210-3f2a. */
export function newRunId(now: Date = new Date()): string {
  const digits = now.toISOString().replace(/[-:]/g, '');
  return `${digits.slice(0, 8)}-${digits.slice(9, 15)}-${randomBytes(2).toString('hex')}`;
}
