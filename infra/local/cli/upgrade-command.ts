import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { InvalidEvent } from '../../../lib/errors.ts';
import { parseEvent, type RunEvent } from '../../../lib/event.ts';
import { shardFormat } from '../../../lib/shard/footer.ts';
import { besideOf, isS3 } from '../../../lib/upgrade/folder.ts';
import { checkFolders, notesPrefix, type UpgradedFile, upgradeFolder } from '../../../lib/upgrade/upgrade.ts';
import { count, plural } from '../../../lib/words.ts';
import { withRunLock } from '../run-lock.ts';
import type { CommandContext } from './commands.ts';
import { parseJson, readEvent } from './event-input.ts';
import { exitCodes } from './exit-codes.ts';
import type { Output } from './output.ts';
import { quoted } from './shown-command.ts';

/** `vecferry upgrade DIR`: a folder of older shards as one of the current format, beside it; of this machine or in S3. */

export interface UpgradeOptions {
  readonly out?: string;
  readonly event?: string;
  readonly names?: string;
  readonly mapping?: string;
}

/** A line for people while it goes on, at most one in so many milliseconds. */
const tellEveryMs = 2000;

/** @throws as upgradeFolder; InvalidEvent when the rules cannot be read */
export async function upgradeCommand(
  context: CommandContext,
  folder: string,
  options: UpgradeOptions,
): Promise<number> {
  const { output, signal } = context;
  const out = options.out ?? besideOf(folder, `-format-${shardFormat}`);
  const rules = await rulesOf(folder, out, options);
  // Before the lock, which makes the new folder.
  await checkFolders({ folder, out, rules });
  return await withLock(out, async () => {
    output.line(`upgrade  ${folder} to format ${shardFormat} in ${out}`);
    let told = Date.now();
    const onFile = (file: UpgradedFile, done: number, total: number): void => {
      output.event({ ...file, type: 'upgraded' });
      if (Date.now() - told < tellEveryMs) return;
      told = Date.now();
      output.line(`         ${count(done)} of ${plural(total, 'file')}`);
    };
    const result = await upgradeFolder({ folder, out, rules, signal, onFile });
    const failed = tell(output, result);
    if (!result.isStopped) return failed === 0 ? exitCodes.ok : exitCodes.failed;
    output.line(`stopped; what is made stays. Go on with the same command: vecferry upgrade ${quoted(folder)} …`);
    return exitCodes.interrupted;
  });
}

/**
 * Two at once would do all the work twice. In S3 they end alike, for every object is made of the same bytes by the same rules, and a
 * lock that a killed process leaves there could not be told from one that is held.
 */
async function withLock(out: string, work: () => Promise<number>): Promise<number> {
  return isS3(out) ? await work() : await withRunLock(join(out, notesPrefix), 'upgrade', work);
}

/** @returns how many files stayed behind */
function tell(output: Output, { out, files, aside, isStopped }: Awaited<ReturnType<typeof upgradeFolder>>): number {
  const of = (how: UpgradedFile['how']): UpgradedFile[] => files.filter((file) => file.how === how);
  const failed = of('failed').map(({ file, error = '', reason = '' }) => ({ file, error, reason }));
  const leftOut = of('left out').map(({ file, reason }) => ({ file, reason }));
  const sum = (numbers: readonly (number | undefined)[]): number =>
    numbers.reduce<number>((total, each) => total + (each ?? 0), 0);
  const records = sum(files.map((file) => (file.format === undefined ? 0 : file.records)));
  const left = sum(files.map((file) => file.left));
  const wasThere = files.filter((file) => file.wasThere).length;
  const made = { upgraded: of('upgraded').length, rewritten: of('rewritten').length, copied: of('copied').length };
  output.event({
    type: 'upgrade',
    out,
    stopped: isStopped,
    ...made,
    wasThere,
    records,
    left,
    leftOut,
    aside: aside.length,
    failed,
  });
  const parts = [
    `${plural(made.upgraded, 'file')} upgraded`,
    ...(made.rewritten === 0 ? [] : [`${count(made.rewritten)} of the current format rewritten`]),
    ...(made.copied === 0 ? [] : [`${count(made.copied)} copied as they were`]),
    ...(wasThere === 0 ? [] : [`${count(wasThere)} of all these were there already`]),
  ];
  output.line(`done     ${parts.join(', ')}; ${plural(records, 'record')} in shards, in ${out}`);
  if (left > 0) output.line(`left     ${plural(left, 'record')} that the mapping leaves out`);
  if (aside.length > 0) {
    const more = aside.length > 5 ? ', …' : '';
    output.line(
      `aside    ${plural(aside.length, 'file')} that are no data stay where they are: ${aside.slice(0, 5).join(', ')}${more}`,
    );
  }
  for (const { file, reason } of leftOut) output.line(`left out ${file}: ${reason}`);
  for (const { file, reason } of failed) output.line(`failed   ${file}: ${reason}`);
  if (failed.length === 0) return 0;
  const [first] = failed;
  const error = failed.every((each) => each.error === first?.error) ? (first?.error ?? '') : 'ShardDamaged';
  const names = failed
    .map(({ file }) => file)
    .join(', ')
    .slice(0, 2000);
  const message = `${plural(failed.length, 'file')} stayed behind, all others are in ${out}: ${names}; mend or replace them and type the same command again, which makes only what is missing`;
  output.fail({ error, message, exitCode: exitCodes.failed });
  return failed.length;
}

/** An event of which only names and mapping count; undefined where nothing but the format changes. */
async function rulesOf(
  folder: string,
  out: string,
  { event, names, mapping }: UpgradeOptions,
): Promise<RunEvent | undefined> {
  if (event === undefined && names === undefined && mapping === undefined) return undefined;
  if (event !== undefined && (names !== undefined || mapping !== undefined))
    throw new InvalidEvent('--event has names and mapping; leave --names and --mapping out', { ids: ['--event'] });
  const given =
    event === undefined
      ? { names: names && (await readRules(names, 'names')), mapping: mapping && (await readRules(mapping, 'mapping')) }
      : (await readEvent(event)).raw;
  const { names: stable, mapping: mapped } = Object(given);
  if (stable === undefined && mapped === undefined)
    throw new InvalidEvent('--event names an event that has neither names nor mapping; leave the option out', {
      ids: ['--event'],
    });
  const side = (path: string) => {
    const connection = isS3(path) ? { url: path } : { path: resolve(path) };
    return { store: 'files', connection, collection: '.' };
  };
  return parseEvent({
    source: side(folder),
    target: side(out),
    ...(stable !== undefined && { names: stable }),
    ...(mapped !== undefined && { mapping: mapped }),
  });
}

/** A file, or JSON itself. */
async function readRules(argument: string, what: string): Promise<unknown> {
  if (argument.trimStart().startsWith('{')) return parseJson(argument, `--${what}`);
  const text = await readFile(argument, 'utf8').catch((cause: unknown) => {
    throw new InvalidEvent(`--${what} names '${argument}', which cannot be read; give a file or JSON`, { cause });
  });
  return parseJson(text, argument);
}
