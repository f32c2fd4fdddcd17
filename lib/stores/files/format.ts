import { type Batch, sliceBatch, type VectorColumn } from '../../batch.ts';
import type { ReadOptions } from '../port.ts';

/** One file of records, whatever its format. */
export interface RecordFile {
  readonly name: string;
  count(): Promise<number>;
  /** Where every `every`-th record begins, but for the first. */
  cuts(every: number): Promise<readonly Position[]>;
  /** Its records from a position on, in pieces of any size that the format finds fit. */
  read(from: Position): AsyncIterable<FilePiece>;
  /** The ids alone, in order, in pieces. */
  ids(): AsyncIterable<readonly string[]>;
}

/** A place within a file: the number of the record, or of the line for JSON lines, and its first byte where records are found by bytes. */
export interface Position {
  readonly record: number;
  readonly byte: number;
}

export const fileStart: Position = { record: 0, byte: 0 };

export interface FilePiece {
  readonly batch: Batch;
  /** Where record `index` of the batch stands in the file. */
  positionOf(index: number): Position;
}

/** The records [from, to) of a piece. */
export function slicePiece(piece: FilePiece, from: number, to: number): FilePiece {
  if (from === 0 && to >= piece.batch.count) return piece;
  return { batch: sliceBatch(piece.batch, from, to), positionOf: (index) => piece.positionOf(from + index) };
}

/** The piece in parts that pass neither limit; a single record may be larger than `maxBytes`. */
export function* splitPiece(piece: FilePiece, { maxRecords, maxBytes }: ReadOptions): Generator<FilePiece> {
  const { batch } = piece;
  let from = 0;
  let bytes = 0;
  for (let at = 0; at < batch.count; at++) {
    const size = recordBytes(batch, at);
    if (at > from && (at - from >= maxRecords || bytes + size > maxBytes)) {
      yield slicePiece(piece, from, at);
      from = at;
      bytes = 0;
    }
    bytes += size;
  }
  if (from < batch.count) yield slicePiece(piece, from, batch.count);
}

/** As batchBytes counts. */
function recordBytes(batch: Batch, at: number): number {
  let bytes = batch.payloads[at]?.length ?? 0;
  for (const column of batch.vectors.values()) bytes += vectorBytes(column, at);
  return bytes;
}

function vectorBytes(column: VectorColumn, at: number): number {
  if (column.kind === 'dense') return column.dimension * 4;
  const entries = (column.offsets[at + 1] ?? 0) - (column.offsets[at] ?? 0);
  return column.kind === 'sparse' ? entries * 8 : entries * column.dimension * 4;
}
