import { z } from 'zod';
import { type Batch, selectRecords } from '../../batch.ts';
import { InvalidEvent } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import { byBytes } from '../../objects-files.ts';
import type { CollectionSchema } from '../../schema.ts';
import type { Piece, PlannedRange, Range, ReadOptions } from '../port.ts';
import { type FilePiece, fileStart, type Position, slicePiece, splitPiece } from './format.ts';
import type { Entry, FileIndex } from './index.ts';
import type { Partitions } from './partitions.ts';
import type { IsSuperseded } from './runs.ts';

/** The collection's files as they were listed, in the order of their names. */
export interface Snapshot {
  readonly schema: CollectionSchema;
  readonly entries: readonly Entry[];
  /** undefined when no record stands for another one. */
  readonly isSuperseded: IsSuperseded | undefined;
  /** Shards of other collections, which the event's names leave out. */
  readonly leftOut: readonly string[];
  /** Fields that stand in the names of folders. */
  readonly partitions: Partitions;
}

/** Where a range begins or ends: a file and a place in it, as JSON: ["a.jsonl",1000,523467]. */
interface Key {
  readonly file: string;
  readonly at: Position;
}

const keySchema = z.tuple([z.string(), z.int().nonnegative(), z.int().nonnegative()]);

function keyText({ file, at }: Key): string {
  return JSON.stringify([file, at.record, at.byte]);
}

/** @throws InvalidEvent */
function parseKey(text: string): Key {
  try {
    const [file, record, byte] = parseAs(keySchema, JSON.parse(text), `the key ${text}`, InvalidEvent);
    return { file, at: { record, byte } };
  } catch (cause) {
    throw new InvalidEvent(`'${text}' is no key of the files store; one looks like ["a.parquet",1000,0]`, {
      ids: [text],
      cause,
    });
  }
}

/** Ranges of about `records` records: small files together, large ones in parts. */
export async function cutRanges({ entries }: Snapshot, records: number): Promise<readonly PlannedRange[]> {
  const starts: { from: string | null; records: number }[] = [];
  let room = 0;
  for (const { file } of entries) {
    const count = await file.count();
    const cuts = count > records ? await file.cuts(records) : [];
    const places = [fileStart, ...cuts];
    for (const [part, at] of places.entries()) {
      const held = part === places.length - 1 ? count - part * records : records;
      const open = starts.at(-1);
      if (open !== undefined && held <= room) open.records += held;
      else starts.push({ from: open === undefined ? null : keyText({ file: file.name, at }), records: held });
      room = records - (starts.at(-1)?.records ?? 0);
    }
  }
  if (starts.length === 0) return [{ from: null, to: null, records: 0 }];
  return starts.map(({ from, records: held }, at) => ({ from, to: starts[at + 1]?.from ?? null, records: held }));
}

/** Pieces follow each other in the order of files and records; a piece is handed out once it is known where the next begins. */
export async function* readRange(snapshot: Snapshot, range: Range, limits: ReadOptions): AsyncGenerator<Piece> {
  let held: PlacedPiece | undefined;
  for await (const placed of piecesOf(snapshot, range, limits)) {
    if (held !== undefined) {
      const from = keyText({ file: placed.file, at: placed.piece.positionOf(0) });
      yield { batch: held.piece.batch, schema: held.schema, rest: { from, to: range.to } };
    }
    held = placed;
  }
  if (held !== undefined) yield { batch: held.piece.batch, schema: held.schema, rest: null };
}

interface PlacedPiece {
  readonly file: string;
  readonly schema: CollectionSchema;
  readonly piece: FilePiece;
}

async function* piecesOf(snapshot: Snapshot, range: Range, limits: ReadOptions): AsyncGenerator<PlacedPiece> {
  const from = range.from === null ? undefined : parseKey(range.from);
  const to = range.to === null ? undefined : parseKey(range.to);
  for (const entry of snapshot.entries) {
    const { name } = entry.file;
    if (from !== undefined && byBytes(name, from.file) < 0) continue;
    if (to !== undefined && byBytes(name, to.file) > 0) return;
    const start = name === from?.file ? from.at : fileStart;
    yield* filePieces(snapshot, entry, { start, end: name === to?.file ? to.at : undefined }, limits);
  }
}

async function* filePieces(
  { isSuperseded }: Snapshot,
  { file, schema }: Entry,
  { start, end }: { readonly start: Position; readonly end: Position | undefined },
  limits: ReadOptions,
): AsyncGenerator<PlacedPiece> {
  if (end?.record === 0) return;
  for await (const piece of file.read(start)) {
    const within = end === undefined ? piece : before(piece, end);
    const current =
      isSuperseded === undefined ? within : withoutSuperseded(within, (id) => isSuperseded(file.name, id));
    for (const part of splitPiece(current, limits)) yield { file: file.name, schema, piece: part };
    if (within.batch.count < piece.batch.count) return;
  }
}

function before(piece: FilePiece, end: Position): FilePiece {
  let count = piece.batch.count;
  while (count > 0 && piece.positionOf(count - 1).record >= end.record) count--;
  return slicePiece(piece, 0, count);
}

function withoutSuperseded(piece: FilePiece, isSuperseded: (id: string) => boolean): FilePiece {
  const kept = piece.batch.ids.flatMap((id, at) => (isSuperseded(id) ? [] : [at]));
  if (kept.length === piece.batch.count) return piece;
  return {
    batch: selectRecords(piece.batch, kept),
    positionOf: (index) => piece.positionOf(kept[index] ?? piece.batch.count),
  };
}

/** Every record that counts, a piece of a file at a time. */
export async function* recordsOf({ entries, isSuperseded }: Snapshot, index: FileIndex): AsyncGenerator<Batch> {
  for (const entry of entries) {
    for await (const piece of index.pieces(entry))
      yield (isSuperseded === undefined ? piece : withoutSuperseded(piece, (id) => isSuperseded(entry.file.name, id)))
        .batch;
  }
}
