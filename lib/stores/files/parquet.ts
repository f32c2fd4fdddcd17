import { Incompatible } from '../../errors.ts';
import { type ByteRanges, openParquet, type ParquetFile } from '../../shard/parquet-file.ts';
import { readShard, type ShardHeader, verifyShard } from '../../shard/shard.ts';
import { plainArrowSchema } from './arrow.ts';
import { asUuid } from './columns.ts';
import type { RecordFile } from './format.ts';
import { at, guarded, multiples, sum, type TableSource } from './table.ts';

/** Parquet files: our own shards, and those of others, whose columns become vectors and payload by their type. */

/** A shard's header, verified; undefined when the file is no shard of ours. @throws ShardDamaged */
export async function shardHeader(bytes: ByteRanges, where: string): Promise<ShardHeader | undefined> {
  // Any key of ours: a shard whose vecferry.format was altered is damaged, and no file of others.
  const { metadata } = await openForeign(bytes, where);
  if (![...metadata.keys()].some((key) => key.startsWith('vecferry.'))) return undefined;
  return verifyShard(await bytes.range(0, bytes.size), where);
}

/**
 * Bytes of a row group that is read as one. parquet-wasm has 4 GiB: of vectors of 768 floats a group of 507 MiB was read with 4.5 GB
 * of memory in all, one of 659 MiB ended in a trap. pyarrow's default of 1,048,576 records a group makes more of them than that.
 */
const maxGroupBytes = 512 * 1024 * 1024;

/** A file that others wrote, row group by row group. @param maxBytes of a row group */
export function parquetTable(bytes: ByteRanges, where: string, maxBytes = maxGroupBytes): TableSource {
  return {
    where,
    form: 'Parquet',
    open: async () => {
      const file = await openForeign(bytes, where);
      refuseLarge(file, where, maxBytes);
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
        read: (group, columns) => file.read(group, file.rowGroups[group] ?? 1, columns),
      };
    },
  };
}

/** Before anything of it is read: a plan says so, and no run ends for want of memory. @throws Incompatible */
function refuseLarge({ groupBytes, rowGroups }: ParquetFile, where: string, maxBytes: number): void {
  const group = groupBytes.findIndex((each) => each > maxBytes);
  if (group < 0) return;
  const [bytes = 0, records = 0] = [groupBytes[group], rowGroups[group]];
  // Powers of two, an eighth of the limit: what a few workers at once hold.
  const fewer = 2 ** Math.max(0, Math.floor(Math.log2((maxBytes / 8) * (records / bytes))));
  throw new Incompatible(
    `row group ${group} of ${where} holds ${records} records in ${bytes} bytes, and a row group is read as one, up to ${maxBytes} bytes: write the file again in smaller ones (pyarrow and pandas: row_group_size=${fewer}; DuckDB: copy (from '…') to '…' (row_group_size ${fewer}); Polars: row_group_size=${fewer})`,
    { ids: [where] },
  );
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
