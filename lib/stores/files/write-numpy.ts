import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { z } from 'zod';
import { column } from '../../batch.ts';
import { Incompatible, RecordRefused, ShardDamaged } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import type { CollectionSchema } from '../../schema.ts';
import { readShard } from '../../shard/shard.ts';
import type { Folder } from './folder.ts';
import { npyHeader } from './npy.ts';

/**
 * NumPy as a target: np.load('vectors.npy') gives every vector. A matrix cannot be written in parts by several at once, so
 * shards are kept under _parts/ and put together when the index would be built. The parts stay: a shard that is written once
 * more makes the matrices anew, and none is lost.
 */

export const partsPrefix = '_parts/';
const doneName = '_numpy.json';
const doneSchema = z.strictObject({
  format: z.literal(1),
  parts: z.array(z.tuple([z.string(), z.string()])),
  files: z.array(z.string()),
});
type Done = z.infer<typeof doneSchema>;

/** One vector is called as NumPy's users expect; several by their names. */
function arrayName(schema: CollectionSchema, name: string): string {
  if (schema.vectors.length === 1 || name === '') return 'vectors.npy';
  return `${name.replace(/[^A-Za-z0-9_-]/g, '_')}.npy`;
}

async function readDone(folder: Folder): Promise<Done | undefined> {
  const body = await folder.get(doneName);
  if (body === undefined) return undefined;
  return parseAs(doneSchema, JSON.parse(Buffer.from(body).toString()), folder.locate(doneName), ShardDamaged);
}

async function partsOf(folder: Folder): Promise<[string, string][]> {
  return (await folder.under(partsPrefix)).map(({ key, tag }) => [key, tag]);
}

export async function isAssembled(folder: Folder): Promise<boolean> {
  const done = await readDone(folder);
  const parts = await partsOf(folder);
  // Somebody who has taken the parts away has no more need of them.
  return done !== undefined && (parts.length === 0 || JSON.stringify(parts) === JSON.stringify(done.parts));
}

/** What assemble wrote, in the order in which it may be deleted. */
export async function numpyFiles(folder: Folder): Promise<readonly string[]> {
  const done = await readDone(folder);
  const parts = (await partsOf(folder)).map(([key]) => key);
  return [...parts, ...(done === undefined ? [] : [...done.files, doneName])];
}

/**
 * Writes the matrices, the ids and metadata.jsonl from the parts, each beside its place and then renamed. Takes the memory of one part.
 * @throws RecordRefused naming a record without a vector, which a matrix has no row for; Incompatible when parts are gone
 */
export async function assemble(folder: Folder, schema: CollectionSchema): Promise<void> {
  if (await isAssembled(folder)) return;
  const parts = await partsOf(folder);
  const gone = (await readDone(folder))?.parts.find(([key]) => !parts.some(([there]) => there === key));
  if (gone !== undefined)
    throw new Incompatible(
      `${folder.locate(gone[0])} is gone, and other parts were written since: the matrices cannot be made from what is left; export into a new folder`,
      { ids: [gone[0]] },
    );
  const look = await lookAt(folder, parts);
  const ids = idsForm(schema, look);
  const arrays = schema.vectors.map(({ name }) => arrayName(schema, name));
  const names = [...arrays, ids.name, 'metadata.jsonl'];
  const files = await Promise.all(names.map((name) => open(`${folder.locate(name)}.tmp`, 'w')));
  try {
    const fileOf = (name: string): FileHandle => must(files[names.indexOf(name)]);
    for (const { name, dimension = 0 } of schema.vectors)
      await fileOf(arrayName(schema, name)).write(npyHeader('<f4', [look.rows, dimension]));
    if (ids.descr !== undefined) await fileOf(ids.name).write(npyHeader(ids.descr, [look.rows]));
    for await (const batch of batchesOf(folder, parts)) {
      for (const { name } of schema.vectors) {
        const found = column(batch, name);
        const lacking = found.present?.indexOf(0) ?? -1;
        if (lacking >= 0)
          throw new RecordRefused(
            `record '${batch.ids[lacking]}' has no vector '${name}', and a NumPy matrix has a row for each record; export as parquet, or say "missingVectors": "skip" in the mapping`,
            { ids: [batch.ids[lacking] ?? ''] },
          );
        const { buffer, byteOffset, byteLength } = found.values;
        await fileOf(arrayName(schema, name)).writeFile(new Uint8Array(buffer, byteOffset, byteLength));
      }
      await fileOf(ids.name).writeFile(ids.encode(batch.ids));
      await fileOf('metadata.jsonl').writeFile(
        batch.payloads.map((text) => `${text.replace(/[\r\n]/g, ' ')}\n`).join(''),
      );
    }
    for (const file of files) await file.sync();
  } catch (error) {
    for (const name of names) await rm(`${folder.locate(name)}.tmp`, { force: true });
    throw error;
  } finally {
    for (const file of files) await file.close();
  }
  await folder.delete(doneName);
  for (const name of names) await rename(`${folder.locate(name)}.tmp`, folder.locate(name));
  const done: Done = { format: 1, parts, files: names };
  await folder.put(doneName, JSON.stringify(done), 'application/json');
}

interface Look {
  readonly rows: number;
  readonly isInt64: boolean;
  /** Code points of the longest id. */
  readonly width: number;
  /** True for an id that NumPy's text would not give back: it ends in zeros, which pad it. */
  readonly hasZeros: boolean;
}

async function lookAt(folder: Folder, parts: readonly (readonly [string, string])[]): Promise<Look> {
  let look: Look = { rows: 0, isInt64: true, width: 1, hasZeros: false };
  for await (const { ids } of batchesOf(folder, parts)) {
    look = {
      rows: look.rows + ids.length,
      isInt64:
        look.isInt64 &&
        ids.every((id) => /^(0|-?[1-9]\d{0,18})$/.test(id) && BigInt.asIntN(64, BigInt(id)) === BigInt(id)),
      width: ids.reduce((widest, id) => Math.max(widest, [...id].length), look.width),
      hasZeros: look.hasZeros || ids.some((id) => id.endsWith('\0')),
    };
  }
  return look;
}

interface IdsForm {
  readonly name: string;
  readonly descr: string | undefined;
  encode(ids: readonly string[]): Uint8Array | string;
}

/** Longer ids would make a table of mostly padding: four bytes a code point, as wide as the longest. */
const maxWidth = 256;

function idsForm({ idType }: CollectionSchema, { isInt64, width, hasZeros }: Look): IdsForm {
  if (idType === 'integer' && isInt64) {
    const encode = (ids: readonly string[]): Uint8Array => new Uint8Array(BigInt64Array.from(ids, BigInt).buffer);
    return { name: 'ids.npy', descr: '<i8', encode };
  }
  if (width > maxWidth || hasZeros)
    return {
      name: 'ids.jsonl',
      descr: undefined,
      encode: (ids) => ids.map((id) => `${JSON.stringify(id)}\n`).join(''),
    };
  const encode = (ids: readonly string[]): Uint8Array => {
    const points = new Uint32Array(ids.length * width);
    for (const [at, id] of ids.entries())
      points.set(
        [...id].map((point) => point.codePointAt(0) ?? 0),
        at * width,
      );
    return new Uint8Array(points.buffer);
  };
  return { name: 'ids.npy', descr: `<U${width}`, encode };
}

async function* batchesOf(folder: Folder, parts: readonly (readonly [string, string])[]) {
  for (const [key] of parts) {
    const bytes = await folder.get(key);
    if (bytes === undefined)
      throw new ShardDamaged(`${folder.locate(key)} is gone; start the run again`, { ids: [key] });
    yield* readShard(bytes, folder.locate(key), { maxRecords: Number.MAX_SAFE_INTEGER });
  }
}

function must<T>(value: T | undefined): T {
  if (value === undefined) throw new RangeError('a file was not opened');
  return value;
}
