import { formatOf, ofFormat, shardFormat } from '../footer.ts';
import { upgradeFrom1 } from './format-1.ts';

/**
 * How older shards become those of today: a step from each format to the next one. A new format adds its step here, a file
 * beside this one, a golden shard to test/data/shards/ and a section to docs/formats.md; what is there stays as it is.
 */

/** A shard of one format in, the same of the next one out. It verifies what it reads. */
export type Step = (bytes: Uint8Array, where: string) => Promise<Uint8Array>;

export interface Chain {
  readonly current: number;
  /** From format -> the step to the one after it. */
  readonly steps: Readonly<Record<number, Step>>;
}

export const chain: Chain = { current: shardFormat, steps: { 1: upgradeFrom1 } };

/**
 * The shard as one of the current format; itself where it is one. Takes the memory of one shard, twice.
 * @throws ShardDamaged when it is cut short, altered or no shard, UnsupportedFormat when it is of a newer format.
 */
export async function bringUp(
  bytes: Uint8Array,
  where: string,
  { current, steps }: Chain = chain,
): Promise<Uint8Array> {
  let format = formatOf(bytes, where);
  let made = bytes;
  while (format !== current) {
    const step = steps[format ?? 0];
    if (format === undefined || format > current || step === undefined) throw ofFormat(String(format), where);
    made = await step(made, where);
    const next = formatOf(made, where);
    if (next !== format + 1) throw new RangeError(`the step from format ${format} made one of format ${next}`);
    format = next;
  }
  return made;
}
