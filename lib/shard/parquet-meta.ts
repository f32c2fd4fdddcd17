import type { ThriftStruct, ThriftValue } from './thrift.ts';

/** The parts of a Parquet file's metadata that are looked at or changed, by their numbers: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift */

/** At an encrypted file's ends, in place of PAR1, https://github.com/apache/parquet-format/blob/master/Encryption.md */
export const encryptedMark = 'PARE';

export const inFile = { schema: 2, records: 3, rowGroups: 4, metadata: 5, columnOrders: 7 } as const;
export const inGroup = { chunks: 1, bytes: 2, records: 3, offset: 5, ordinal: 7 } as const;
export const inChunk = { offset: 2, column: 3, pageIndexes: [4, 5, 6, 7], crypto: 8 } as const;
export const inElement = { type: 1, typeLength: 2, repetition: 3, name: 4, children: 5, logicalType: 10 } as const;
export const inColumn = {
  type: 1,
  path: 3,
  codec: 4,
  values: 5,
  unpackedBytes: 6,
  bytes: 7,
  dataPage: 9,
  indexPage: 10,
  dictionaryPage: 11,
  /** Statistics, bloom filters, sizes: of the whole chunk. */
  said: [12, 13, 14, 15, 16],
  bloomFilter: [14, 15],
  sizes: 16,
} as const;
/** Of FieldRepetitionType. */
export const repetitions = { required: 0, optional: 1, repeated: 2 } as const;

const noParquet = (): RangeError => new RangeError('its metadata is not that of a Parquet file');

/** @throws RangeError where it is none, as the others below */
export function asStruct(value: ThriftValue | undefined): ThriftStruct {
  if (value?.kind !== 'struct') throw noParquet();
  return value;
}

export function list({ fields }: ThriftStruct, id: number): readonly ThriftValue[] {
  const value = fields.get(id);
  if (value?.kind !== 'list') throw noParquet();
  return value.items;
}

export function integer({ fields }: ThriftStruct, id: number): number {
  const value = fields.get(id);
  if (value?.kind !== 'integer') throw noParquet();
  return Number(value.value);
}

/** As integer, but of a field that may be left out. */
export function integerOr(of: ThriftStruct, id: number, otherwise: number): number {
  return of.fields.has(id) ? integer(of, id) : otherwise;
}

/** Empty where it is left out, as a value may be. */
export function text({ fields }: ThriftStruct, id: number): string {
  const value = fields.get(id);
  return value?.kind === 'bytes' ? value.value.toString('utf8') : '';
}

export function columnOf(chunk: ThriftStruct): ThriftStruct {
  return asStruct(chunk.fields.get(inChunk.column));
}

/** The metadata of the group's column chunks. */
export function columnsOf(group: ThriftStruct): readonly ThriftStruct[] {
  return list(group, inGroup.chunks).map((chunk) => columnOf(asStruct(chunk)));
}

/** The names from the top of the schema to the column. */
export function pathOf(column: ThriftStruct): readonly string[] {
  return list(column, inColumn.path).map((name) => (name.kind === 'bytes' ? name.value.toString('utf8') : ''));
}

/** A column chunk begins with its dictionary, where it has one. */
export function startOf(column: ThriftStruct): number {
  const dictionary = integerOr(column, inColumn.dictionaryPage, 0);
  const data = integer(column, inColumn.dataPage);
  return dictionary > 0 ? Math.min(dictionary, data) : data;
}

/** Where the pages of these columns of one row group lie in the file, and others between them. */
export function spanOf(columns: readonly ThriftStruct[]): { readonly from: number; readonly to: number } {
  const ends = columns.map((column) => startOf(column) + integer(column, inColumn.bytes));
  return { from: Math.min(...columns.map(startOf)), to: Math.max(...ends) };
}
