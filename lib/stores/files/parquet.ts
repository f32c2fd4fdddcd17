import { Incompatible } from '../../errors.ts';
import { type ByteRanges, openParquet, type ParquetFile } from '../../shard/parquet-file.ts';
import { PageTooLarge } from '../../shard/parquet-windows.ts';
import { readShard, type ShardHeader, verifyShard } from '../../shard/shard.ts';
import { plainArrowSchema } from './arrow.ts';
import { asUuid } from './columns.ts';
import type { RecordFile } from './format.ts';
import { at, guarded, multiples, sum, type TableBatch, type TableRead, type TableSource } from './table.ts';

/** Parquet files: our own shards, and those of others, whose columns become vectors and payload by their type. */

/** A shard's header, verified; undefined when the file is no shard of ours. @throws ShardDamaged */
export async function shardHeader(bytes: ByteRanges, where: string): Promise<ShardHeader | undefined> {
  // Any key of ours: a shard whose vecferry.format was altered is damaged, and no file of others.
  const { metadata } = await openForeign(bytes, where);
  if (![...metadata.keys()].some((key) => key.startsWith('vecferry.'))) return undefined;
  return verifyShard(await bytes.range(0, bytes.size), where);
}

/** Bytes of a row group's values that is read as one; of larger ones, those of a part, and of a page, unpacked: it is unpacked as one. */
export interface GroupLimits {
  readonly whole: number;
  readonly part: number;
  readonly page: number;
}

/**
 * parquet-wasm has 4 GiB, and never gives any of it back: of vectors of 768 floats a group of 507 MiB that was read as one took 4.5 GB of
 * memory in all, one of 659 MiB ended in a trap, and one of 112 MiB took 1.2 GB, more than the plan's Lambda function has. In parts of 32 MiB it is 0.5 GB.
 */
const mib = 1024 * 1024;
const groupLimits: GroupLimits = { whole: 32 * mib, part: 32 * mib, page: 512 * mib };

/** A file that others wrote, row group by row group. */
export function parquetTable(bytes: ByteRanges, where: string, limits = groupLimits): TableSource {
  return {
    where,
    form: 'Parquet',
    open: async () => {
      const file = await openForeign(bytes, where);
      const variant = [...file.logical].find(([, type]) => type === 'variant');
      if (variant !== undefined)
        throw new Incompatible(
          `column '${variant[0]}' of ${where} is a Parquet VARIANT, which is not read: write it as JSON text (DuckDB: to_json(${variant[0]})) or leave it out of the file`,
          { ids: [where] },
        );
      return {
        fields: file.schema.fields.map((field) => (file.logical.get(field.name) === 'uuid' ? asUuid(field) : field)),
        metadata: file.metadata,
        groups: file.rowGroups,
        read: (group, options = {}) => readGroup(file, group, options, where, limits),
      };
    },
  };
}

/** @throws Incompatible when a page is larger than its limit */
async function* readGroup(
  file: ParquetFile,
  group: number,
  { columns, from = 0 }: TableRead,
  where: string,
  { whole, part, page }: GroupLimits,
): AsyncGenerator<TableBatch> {
  // In parts the pages of other columns are not even fetched.
  if (columns === undefined && (file.groupBytes[group] ?? 0) <= whole) {
    let start = 0;
    for (const batch of await file.read(group, file.rowGroups[group] ?? 1)) {
      yield { batch, start };
      start += batch.numRows;
    }
    return;
  }
  const options = { from, maxBytes: part, maxPageBytes: page, ...(columns === undefined ? {} : { columns }) };
  try {
    for await (const { start, batches } of file.readParts(group, options)) {
      let at = start;
      for (const batch of batches) {
        yield { batch, start: at };
        at += batch.numRows;
      }
    }
  } catch (cause) {
    if (!(cause instanceof PageTooLarge)) throw cause;
    throw new Incompatible(
      `${cause.message}: write ${where} again in smaller ones (pyarrow and pandas: data_page_size=1048576, row_group_size=65536; DuckDB: row_group_size 65536; Polars: data_page_size=1048576)`,
      { ids: [where], cause },
    );
  }
}

/** One of our own shards. Its checksum is verified whenever it is read. @throws ShardDamaged */
export function ownShard(name: string, bytes: ByteRanges, where: string): RecordFile {
  const load = (): Promise<Uint8Array> => bytes.range(0, bytes.size);
  const count = async (): Promise<number> => sum((await openForeign(bytes, where)).rowGroups);
  return {
    name,
    count,
    cuts: async (every) => multiples(await count(), every),
    async *read(from) {
      let start = from.record;
      for await (const batch of readShard(await load(), where, {
        maxRecords: Number.MAX_SAFE_INTEGER,
        offset: start,
      })) {
        yield { batch, positionOf: at(start) };
        start += batch.count;
      }
    },
    async *ids() {
      for await (const batch of readShard(await load(), where, { maxRecords: Number.MAX_SAFE_INTEGER }))
        yield batch.ids;
    },
  };
}

/** Arrow's own types in the metadata may be some that apache-arrow has none for; Parquet's stand beside them. */
async function openForeign(bytes: ByteRanges, where: string): Promise<ParquetFile> {
  return await guarded({ where, form: 'Parquet' }, async () => {
    try {
      return await openParquet(bytes, { arrowSchema: plainArrowSchema });
    } catch (cause) {
      if (!(cause instanceof Error && cause.message.startsWith('Unrecognized type'))) throw cause;
      return await openParquet(bytes, { arrowTypes: false });
    }
  });
}
