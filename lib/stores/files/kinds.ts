import { Incompatible } from '../../errors.ts';
import type { ListedObject } from '../../objects-files.ts';

/** Which form a file has, by its name; and which files are one collection's columns rather than records of their own. */

export type FileKind = 'parquet' | 'jsonl' | 'arrow' | 'numpy';

const byName: readonly (readonly [RegExp, FileKind])[] = [
  [/\.(parquet|parq|pq)$/i, 'parquet'],
  [/\.(jsonl|ndjson)(\.gz)?$/i, 'jsonl'],
  [/\.(arrow|arrows|ipc|feather)$/i, 'arrow'],
  // In small letters alone: arrays are called as their files are, and found by it.
  [/\.(npy|npz)$/, 'numpy'],
];

/** The names that are read, for people. */
export const readNames =
  '.parquet (.parq, .pq), .jsonl, .ndjson (also .gz), .arrow, .arrows, .ipc, .feather, .npy and .npz';

/** undefined for what is no data. */
export function kindOf(name: string): FileKind | undefined {
  return byName.find(([pattern]) => pattern.test(name))?.[1];
}

/** Files that belong to the matrices of their folder, and are no collection of their own. */
const siblings = /^(ids\.(npy|txt|jsonl)|(metadata|payload)\.jsonl)$/;

export const isData = (name: string): boolean => kindOf(name) !== undefined || baseOf(name) === 'ids.txt';

/** True for a file that is read together with the .npy or .npz `only`, where that alone is the collection. */
export function goesWith(only: string, name: string): boolean {
  return kindOf(only) === 'numpy' && folderOf(only) === folderOf(name) && siblings.test(baseOf(name));
}

/** A file with those that hold other columns of its records; alone but for NumPy's. */
export interface FileGroup extends ListedObject {
  readonly kind: FileKind;
  /** All its files, by name. */
  readonly files: readonly ListedObject[];
}

/** The files of a folder as collections' files: all .npy of a folder are one. In the order of their names. */
export function groupFiles(listed: readonly ListedObject[]): readonly FileGroup[] {
  const byFolder = Map.groupBy(listed, ({ key }) => folderOf(key));
  const heads = new Map(
    [...byFolder].map(([folder, files]) => {
      const arrays = files.filter(({ key }) => kindOf(key) === 'numpy');
      const head = arrays.find(({ key }) => !siblings.test(baseOf(key)));
      return [folder, head === undefined ? undefined : { head, files, isOne: arrays.length === 1 }];
    }),
  );
  return listed.flatMap((file): FileGroup[] => {
    const kind = kindOf(file.key);
    const numpy = heads.get(folderOf(file.key));
    if (numpy === undefined || (kind !== 'numpy' && !siblings.test(baseOf(file.key))))
      return kind === undefined ? [] : [{ ...file, kind, files: [file] }];
    const { head, files } = numpy;
    const isPack = head.key.endsWith('.npz');
    const own = files.filter(({ key }) => {
      if (siblings.test(baseOf(key))) return true;
      return isPack ? key === file.key : key.endsWith('.npy');
    });
    if (file.key.endsWith('.npz') && (!isPack || !numpy.isOne)) return [{ ...file, kind: 'numpy', files: [file] }];
    if (file !== head) return [];
    return [
      {
        key: head.key,
        size: sizeOf(own),
        tag: JSON.stringify(own.map(({ key, tag }) => [key, tag])),
        kind: 'numpy',
        files: own,
      },
    ];
  });
}

const baseOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1);
const folderOf = (key: string): string => key.slice(0, key.lastIndexOf('/') + 1);
const sizeOf = (files: readonly ListedObject[]): number => files.reduce((sum, { size }) => sum + size, 0);

/** Whose tool a file is for that is no list of records; undefined for others. @param start its first bytes, where they are known */
function toolFor(name: string, start?: Uint8Array): string | undefined {
  if (/\.snapshot(\.gz)?$/.test(name))
    return "a Qdrant snapshot, which Qdrant alone reads: restore it (PUT /collections/NAME/snapshots/recover, or `vecferry migrate restore`), then move the collection with store 'qdrant'";
  // pg_dump's custom format begins with PGDMP: postgres, src/bin/pg_dump/pg_backup_archiver.c
  if (/\.(dump|pgdump|backup)$/.test(name) || Buffer.from(start ?? []).toString('latin1', 0, 5) === 'PGDMP')
    return "a pg_dump archive, which pg_restore reads: `pg_restore --dbname=URL FILE`, then move the table with store 'pgvector'";
  if (/\.sql(\.gz)?$/.test(name))
    return "an SQL script, which psql reads: `psql --file=FILE URL`, then move the table with store 'pgvector'";
  if (/\.(csv|tsv)(\.gz)?$/i.test(name))
    return "a table of text, which says nothing of its columns' types: make Parquet of it (`duckdb -c \"COPY (FROM 'in.csv') TO 'out.parquet'\"`, with the vector as a list of floats)";
  if (/\.lance$|(^|\/)_versions\/|\.manifest$/.test(name))
    return "part of a Lance table: move it with store 'lancedb', or export it as Parquet";
  return undefined;
}

/** @throws Incompatible naming the tool for a file that is left to it */
export function refuseOthersTools(name: string, where: string, start?: Uint8Array): void {
  const tool = toolFor(name, start);
  if (tool !== undefined) throw new Incompatible(`${where} is ${tool}`, { ids: [where] });
}
