import { z } from 'zod';
import { ShardDamaged, VecferryError } from '../errors.ts';
import { parseAs, type RunEvent } from '../event.ts';
import { collectionSchema } from '../schema.ts';
import { shardFormat } from '../shard/footer.ts';
import { bringUp } from '../shard/formats/formats.ts';
import { decodeShard, encodeShard, shardHeader, verifyShard } from '../shard/shard.ts';
import { isData } from '../stores/files/kinds.ts';
import type { WatchedBytes } from './folder.ts';
import { lookAt } from './look.ts';
import { makeRules } from './rules.ts';

/** What becomes of one file of a folder that is brought up. */

export interface Made {
  /**
   * upgraded: of an older format. rewritten: of the current one, under new names. copied: as it was. left out: of another
   * collection, as the names say. failed: it stays behind, and `reason` says why.
   */
  readonly how: 'upgraded' | 'rewritten' | 'copied' | 'left out' | 'failed';
  /** Its path in the new folder. */
  readonly to?: string | undefined;
  /** What it was, where it is a shard. */
  readonly format?: number | undefined;
  /** In the new file. */
  readonly records?: number | undefined;
  /** Records that a rule of the mapping left out, or that lack a vector. */
  readonly left?: number | undefined;
  /** Of what is no shard. */
  readonly what?: string | undefined;
  readonly error?: string | undefined;
  readonly reason?: string | undefined;
}

export interface MakeFileInput {
  readonly bytes: WatchedBytes;
  /** Its path below the folder. */
  readonly name: string;
  /** For people. */
  readonly where: string;
  readonly rules: RunEvent | undefined;
}

/** True for what is neither data nor said about it by the files store. */
export function leftAside(name: string): boolean {
  const parts = name.split('/');
  if (isDescription(name) || isMark(name)) return false;
  return !isData(name) || parts.some((part) => /^[_.]/.test(part));
}

/** By these the files store knows which of two records of one id is the later one. */
const isMark = (name: string): boolean => /(^|\/)_runs\/[^/]+\.json$/.test(name);

/** What the files store says of a folder that it writes. */
const isDescription = (name: string): boolean => /(^|\/)collection\.json$/.test(name);
const descriptionSchema = z.looseObject({ schema: collectionSchema });

/** `body` where it goes into the new folder: other bytes, or its own, which may be more than memory holds. */
export interface MadeFile extends Made {
  readonly body?: Uint8Array | 'as it is';
}

/** What is made of the file. A shard is held in memory. Throws what reading bytes throws, and nothing for a file that cannot be brought up. */
export async function makeFile(input: MakeFileInput): Promise<MadeFile> {
  const { name, bytes } = input;
  try {
    if (isMark(name)) return { how: 'copied', what: 'the mark of a run', body: 'as it is' };
    return isDescription(name) ? await describeAgain(input) : await bringFileUp(input);
  } catch (error) {
    if (bytes.isUnread(error)) throw error;
    // A defect that one file brings to light must not keep the others: it is named with that file.
    const said = error instanceof Error ? error : new Error(String(error));
    return { how: 'failed', error: said instanceof VecferryError ? said.name : 'Unreadable', reason: said.message };
  }
}

async function bringFileUp({ bytes, name, where, rules }: MakeFileInput): Promise<MadeFile> {
  const look = await lookAt(bytes, name, where, false);
  if (look.kind === 'damaged') return { how: 'failed', error: look.error, reason: look.reason };
  if (look.kind === 'newer')
    return { how: 'failed', error: 'UnsupportedFormat', reason: look.reason, format: look.format };
  if (look.kind === 'other') return copyOther(where, look, rules);
  const { format } = look;
  // Verified before names are asked: a damaged file is named as that.
  const held = await bytes.range(0, bytes.size);
  const current = await bringUp(held, where);
  const { columns: _, ...header } = verifyShard(current, where);
  if (rules === undefined) {
    const { records } = header;
    if (current === held) return { how: 'copied', format, records, body: 'as it is' };
    return { how: 'upgraded', format, records, body: current };
  }
  const given = makeRules(rules);
  if (!given.isOurs(header.collection))
    return { how: 'left out', format, reason: `it is of collection '${header.collection}'` };
  const { meta, batch } = await decodeShard(current, where);
  const { columns: __, records: ___, fingerprint: ____, checksum: _____, ...own } = meta;
  const made = given.shard(own, batch, where);
  const body = await encodeShard(made.batch, made.meta);
  const { records } = shardHeader(body, where);
  const left = made.left.length === 0 ? {} : { left: made.left.length };
  return { how: format === shardFormat ? 'rewritten' : 'upgraded', format, records, ...left, body };
}

/** Names and mapping are for shards, which say what they hold: beside shards that have new names, a file with the old ones would be read as one that lacks them. */
function copyOther(
  where: string,
  look: { readonly what: string; readonly records?: number },
  rules: RunEvent | undefined,
): MadeFile {
  const { what, records } = look;
  if (rules === undefined) return { how: 'copied', what, records, body: 'as it is' };
  const reason = `${where} is ${what}: names and mapping are applied to shards alone; move it by a run of its own, with the same names`;
  return { how: 'failed', error: 'Incompatible', reason, what };
}

/** @throws ShardDamaged when it is not what the files store writes */
async function describeAgain({ bytes, where, rules }: MakeFileInput): Promise<MadeFile> {
  const what = "the collection's schema";
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(await bytes.range(0, bytes.size)).toString());
  } catch (cause) {
    throw new ShardDamaged(`${where} is not JSON: it was cut short or altered`, { ids: [where], cause });
  }
  const description = parseAs(descriptionSchema, parsed, where, ShardDamaged);
  if (rules === undefined) return { how: 'copied', what, body: 'as it is' };
  const schema = makeRules(rules).schema(description.schema, where);
  return { how: 'rewritten', what, body: Buffer.from(JSON.stringify({ ...description, schema })) };
}
