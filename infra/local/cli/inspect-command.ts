import { NotFound, UnsupportedFormat, VecferryError } from '../../../lib/errors.ts';
import { shardFormat } from '../../../lib/shard/footer.ts';
import { isData } from '../../../lib/stores/files/kinds.ts';
import { type FolderFile, openPlace, type UpgradePlace } from '../../../lib/upgrade/folder.ts';
import { type Look, lookAt } from '../../../lib/upgrade/look.ts';
import { bytes as bytesText, count, plural } from '../../../lib/words.ts';
import type { CommandContext } from './commands.ts';
import { shardLines, vectorsText } from './describe.ts';
import { exitCodes } from './exit-codes.ts';
import type { Output } from './output.ts';
import { quoted } from './shown-command.ts';

/** `vecferry inspect FILE|DIR [--verify]`, of this machine or in S3: what shards say of themselves, from their ends alone or held against their checksums. */

interface Seen {
  readonly file: FolderFile;
  readonly look: Look;
}

/** @param path or s3://BUCKET/PREFIX @throws NotFound when there is nothing of that name */
export async function inspectCommand(context: CommandContext, path: string, verify: boolean): Promise<number> {
  const place = await openPlace(path);
  try {
    const what = await place.what();
    if (what === 'none')
      throw new NotFound(`there is no file '${path}'; shards lie in .vecferry/runs/RUN/shards/`, { ids: [path] });
    if (what === 'folder') return await inspectFolder(context, place, path, verify);
    const file = await place.file();
    return tellFile(context.output, { file, look: await lookOf(place, file, verify) });
  } finally {
    place.close();
  }
}

async function lookOf(place: UpgradePlace, file: FolderFile, verify: boolean): Promise<Look> {
  try {
    return await place.withBytes(file, (bytes) => lookAt(bytes, file.name, file.path, verify));
  } catch (error) {
    // What the disk or S3 does not give is named, as what is damaged is.
    const name = error instanceof VecferryError ? error.name : 'Unreadable';
    return { kind: 'damaged', error: name, reason: error instanceof Error ? error.message : String(error) };
  }
}

/** @throws UnsupportedFormat */
function tellFile(output: Output, seen: Seen): number {
  const { file, look } = seen;
  output.event(eventOf(seen));
  if (look.kind === 'damaged') {
    output.fail({ error: look.error, message: look.reason, exitCode: exitCodes.failed });
    return exitCodes.failed;
  }
  if (look.kind === 'newer') throw new UnsupportedFormat(look.reason, { ids: [file.name] });
  if (look.kind === 'other') {
    output.line(`${count(file.size)} bytes, ${otherText(look)}`);
    return exitCodes.ok;
  }
  const said = `format ${look.format}, ${look.verified ? 'checksum right' : 'checksum not looked at (--verify)'}`;
  for (const line of shardLines(look.shard, file.size, said)) output.line(line);
  if (look.format < shardFormat)
    output.line(`${'older'.padEnd(17)} vecferry upgrade ${quoted(file.path.slice(0, file.path.lastIndexOf('/')))}`);
  return exitCodes.ok;
}

const otherText = ({ what, records }: Extract<Look, { kind: 'other' }>): string =>
  records === undefined ? what : `${what}: ${plural(records, 'row')}`;

function eventOf({ file, look }: Seen): Parameters<Output['event']>[0] {
  const { name, size } = file;
  if (look.kind !== 'shard') return { ...look, type: 'file', file: name, bytes: size };
  const { shard, format, verified } = look;
  return { type: 'shard', file: name, bytes: size, format, verified, older: format < shardFormat, ...shard };
}

interface Totals {
  files: number;
  bytes: number;
  shards: number;
  records: number;
  others: number;
  readonly older: string[];
  readonly failed: { readonly file: string; readonly error: string; readonly reason: string }[];
  /** By fingerprint. */
  readonly groups: Map<string, { shards: number; records: number; readonly vectors: string; readonly first: string }>;
}

async function inspectFolder(
  { output, signal }: CommandContext,
  place: UpgradePlace,
  path: string,
  verify: boolean,
): Promise<number> {
  const { files, odd } = await place.files();
  const totals: Totals = {
    files: 0,
    bytes: 0,
    shards: 0,
    records: 0,
    others: odd.length,
    older: [],
    failed: [],
    groups: new Map(),
  };
  for (const file of files) {
    if (signal.aborted) return exitCodes.interrupted;
    // A run's folder holds many files that are no data; they are counted, and one that is asked for by its name is looked at.
    if (!isData(file.name)) {
      totals.others++;
      continue;
    }
    const seen = { file, look: await lookOf(place, file, verify) };
    add(totals, seen);
    output.event(eventOf(seen));
    output.line(lineOf(seen));
  }
  tellTotals(output, path, totals, verify);
  return totals.failed.length === 0 ? exitCodes.ok : exitCodes.failed;
}

function add(totals: Totals, { file, look }: Seen): void {
  totals.files++;
  totals.bytes += file.size;
  if (look.kind === 'newer') totals.failed.push({ file: file.name, error: 'UnsupportedFormat', reason: look.reason });
  if (look.kind === 'damaged') totals.failed.push({ file: file.name, error: look.error, reason: look.reason });
  if (look.kind !== 'shard') return;
  const { shard, format } = look;
  totals.shards++;
  totals.records += shard.records;
  if (format < shardFormat) totals.older.push(file.name);
  const group = totals.groups.get(shard.fingerprint);
  if (group === undefined) {
    const vectors = vectorsText(shard.schema.vectors);
    totals.groups.set(shard.fingerprint, { shards: 1, records: shard.records, vectors, first: file.name });
  } else {
    group.shards++;
    group.records += shard.records;
  }
}

function lineOf({ file, look }: Seen): string {
  if (look.kind === 'other') return `${file.name}  ${otherText(look)}`;
  if (look.kind !== 'shard')
    return `${file.name}  ${look.kind === 'newer' ? 'a newer format' : 'damaged'}: ${look.reason}`;
  const { shard, format, verified } = look;
  const { from, to } = shard.range;
  const range = from === null && to === null ? 'the whole source' : `${from ?? 'the start'} to ${to ?? 'the end'}`;
  return [
    file.name,
    `format ${format}${format < shardFormat ? ' (older)' : ''}`,
    plural(shard.records, 'record'),
    vectorsText(shard.schema.vectors),
    ...(shard.collection === undefined ? [] : [shard.collection]),
    range,
    shard.fingerprint.slice(0, 12),
    ...(verified ? ['checksum right'] : []),
  ].join('  ');
}

function tellTotals(output: Output, path: string, totals: Totals, verify: boolean): void {
  const { files, bytes, shards, records, others, older, failed } = totals;
  const groups = [...totals.groups].map(([fingerprint, group]) => ({ fingerprint, ...group }));
  output.event({
    type: 'inspected',
    folder: path,
    verified: verify,
    files,
    bytes,
    shards,
    records,
    others,
    older: older.length,
    groups,
    failed,
  });
  const checked = verify ? 'every checksum was worked out' : 'checksums were not looked at (--verify)';
  output.line(
    `total    ${plural(shards, 'shard')} of ${plural(files, 'data file')}, ${plural(records, 'record')}, ${bytesText(bytes)}; ${checked}`,
  );
  if (others > 0) output.line(`others   ${plural(others, 'file')} that are no data`);
  if (groups.length > 1)
    for (const { fingerprint, shards: of, records: held, vectors, first } of groups)
      output.line(
        `schema   ${fingerprint.slice(0, 12)}  ${plural(of, 'shard')}, ${plural(held, 'record')}, from ${first}: ${vectors}`,
      );
  if (older.length > 0)
    output.line(`older    ${plural(older.length, 'shard')} that readers refuse: vecferry upgrade ${quoted(path)}`);
  if (failed.length === 0) return;
  for (const { file, reason } of failed) output.line(`failed   ${file}: ${reason}`);
  const names = failed.map(({ file }) => file).join(', ');
  const message = `${plural(failed.length, 'file')} of ${path} cannot be read: ${names.slice(0, 2000)}; each line above says why`;
  const [first] = failed;
  const error = failed.every((each) => each.error === first?.error) ? (first?.error ?? '') : 'ShardDamaged';
  output.fail({ error, message, exitCode: exitCodes.failed });
}
