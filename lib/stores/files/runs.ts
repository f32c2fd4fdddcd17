import { z } from 'zod';
import { ShardDamaged } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import type { ListedObject } from '../../objects-files.ts';
import type { WritePosition } from '../port.ts';
import type { Folder } from './folder.ts';
import type { Entry } from './index.ts';

/**
 * Upserts in a folder: a file is named after the position that it was written from, so a repeated write replaces it. A run
 * writes an id once; where several runs wrote into the folder, a record of a later run stands for those of the same id
 * in earlier ones. Readers work that out; nothing that was written is changed.
 */

const markerSchema = z.strictObject({ format: z.literal(1), firstWriteAt: z.iso.datetime() });
const markerName = (run: string): string => `_runs/${run}.json`;

/** `RUN.SHARD.OFFSET.parquet`: run ids and shard names hold no dots. */
export function fileNameOf({ run, shard, offset }: WritePosition, format: string): string {
  return `${run}.${shard}.${String(offset).padStart(9, '0')}.${format}`;
}

/** Notes when a run first wrote here; the time stands. */
export async function markRun(folder: Folder, run: string, now: Date): Promise<void> {
  if ((await folder.get(markerName(run))) !== undefined) return;
  await folder.put(markerName(run), JSON.stringify({ format: 1, firstWriteAt: now.toISOString() }), 'application/json');
}

/** The runs that wrote here. */
async function runsIn(folder: Folder): Promise<ReadonlySet<string>> {
  const markers = await folder.under('_runs/');
  return new Set(markers.map(({ key }) => key.slice('_runs/'.length, -'.json'.length)));
}

/** What runs wrote into the folder, in the order in which it may be deleted: their marks last, by which the rest is known. */
export async function writtenHere(folder: Folder): Promise<readonly ListedObject[]> {
  const runs = await runsIn(folder);
  const isOurs = ({ key }: ListedObject): boolean =>
    /^[^/.]+\.[^/.]+\.\d{9}\.[a-z]+$/.test(key) && runs.has(runNameOf(key));
  return [...(await folder.list()).filter(isOurs), ...(await folder.under('_runs/'))];
}

/** True for an id in a file when a later run wrote the id too. */
export type IsSuperseded = (file: string, id: string) => boolean;

/**
 * undefined when all files are of one run, as they are unless a run moved `into` an existing collection, or a collection has
 * been written under several names: what stands under a later one of these is older. Keeps the ids of all but the first run.
 * @param isOurs whether a part of the folder was written by runs; the files of another one are of one age
 */
export async function supersededIn(
  folder: Folder,
  entries: readonly Entry[],
  isOurs: (part: string) => boolean,
): Promise<IsSuperseded | undefined> {
  const partOf = (file: string): string => folder.parts.find((part) => file.startsWith(part)) ?? '';
  const runOf = (file: string): string => (isOurs(partOf(file)) ? runNameOf(file) : `${partOf(file)}.`);
  const names = [...new Set(entries.map(({ file }) => runOf(file.name)))];
  if (names.length <= 1) return undefined;
  const started = await Promise.all(
    names.map(async (run) => {
      const part = partOf(run);
      const at = await firstWriteOf(folder, part, run.slice(part.length));
      return { run, age: folder.parts.indexOf(part), at };
    }),
  );
  const runs = started
    .sort((a, b) => b.age - a.age || (a.at === b.at ? (a.run < b.run ? -1 : 1) : a.at < b.at ? -1 : 1))
    .map(({ run }) => run);
  const idsOf = new Map(runs.slice(1).map((run) => [run, new Set<string>()]));
  for (const { file } of entries) {
    const found = idsOf.get(runOf(file.name));
    if (found === undefined) continue;
    for await (const ids of file.ids()) for (const id of ids) found.add(id);
  }
  const later = new Map(runs.map((run, at) => [run, runs.slice(at + 1).flatMap((each) => idsOf.get(each) ?? [])]));
  return (file, id) => later.get(runOf(file))?.some((ids) => ids.has(id)) === true;
}

function runNameOf(file: string): string {
  return file.slice(0, file.indexOf('.'));
}

/** '' for files that came here by another way: they are older than any run. */
async function firstWriteOf(folder: Folder, part: string, run: string): Promise<string> {
  const name = part + markerName(run);
  const marker = await folder.get(name);
  if (marker === undefined) return '';
  const where = folder.locate(name);
  return parseAs(markerSchema, JSON.parse(Buffer.from(marker).toString()), where, ShardDamaged).firstWriteAt;
}
