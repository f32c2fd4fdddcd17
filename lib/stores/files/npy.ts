import { RecordRefused } from '../../errors.ts';
import type { ByteRanges } from '../../shard/parquet-file.ts';
import { utf8Of } from '../arrow-cells.ts';

/**
 * NumPy's .npy: a magic number, a header that is a Python literal, then the array's bytes as they lie in memory.
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */

const magic = Buffer.from('\x93NUMPY', 'latin1');

export interface NpyArray {
  /** What the array is called: the file's stem, or its name within an .npz. */
  readonly name: string;
  /** For people: path, and the member of an .npz. */
  readonly where: string;
  readonly kind: NpyKind;
  /** Bytes of an element. */
  readonly width: number;
  readonly shape: readonly number[];
  /** The first dimension. */
  readonly rows: number;
  /** Bytes of rows `from` (inclusive) to `to` (exclusive), at an offset that every typed array takes. */
  rowBytes(from: number, to: number): Promise<Buffer>;
}

export type NpyKind = 'float' | 'integer' | 'unsigned' | 'boolean' | 'unicode' | 'bytes';
const kinds: Readonly<Record<string, NpyKind>> = {
  f: 'float',
  i: 'integer',
  u: 'unsigned',
  b: 'boolean',
  U: 'unicode',
  S: 'bytes',
};

/**
 * Reads the header alone.
 * @throws RecordRefused naming the file for what is no .npy, was cut short, or is laid out in another way than row by row, little-endian.
 */
export async function openNpy(name: string, bytes: ByteRanges, where: string): Promise<NpyArray> {
  const refuse = (what: string): RecordRefused => new RecordRefused(`${where} ${what}`, { ids: [where] });
  const start = Buffer.from(await bytes.range(0, Math.min(bytes.size, 12)));
  if (start.length < 12 || !start.subarray(0, 6).equals(magic))
    throw refuse('is no .npy file: it does not begin as one; save it with np.save');
  const isLong = (start[6] ?? 0) >= 2;
  const from = isLong ? 12 : 10;
  const begin = from + (isLong ? start.readUInt32LE(8) : start.readUInt16LE(8));
  if (begin > bytes.size) throw refuse('was cut short within its header; write it again');
  const { kind, width, shape } = layoutOf(Buffer.from(await bytes.range(from, begin)).toString('utf8'), refuse);
  const [rows = 0, columns = 1] = shape;
  const stride = columns * width;
  if (bytes.size - begin !== rows * stride) {
    const what = bytes.size - begin < rows * stride ? 'was cut short' : 'has more bytes than its header says';
    throw refuse(`${what}: ${bytes.size - begin} bytes for ${rows} rows of ${stride}; write it again`);
  }
  return {
    name,
    where,
    kind,
    width,
    shape,
    rows,
    rowBytes: async (first, end) => {
      const read = await bytes.range(begin + first * stride, begin + end * stride);
      const aligned = Buffer.from(new ArrayBuffer(read.length));
      aligned.set(read);
      return aligned;
    },
  };
}

const literal =
  /'descr':\s*(?:'([<>|=])([a-zA-Z])(\d*)'|(.+?)),\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([^)]*)\)/;

function layoutOf(header: string, refuse: (what: string) => RecordRefused): Pick<NpyArray, 'kind' | 'width' | 'shape'> {
  const found = literal.exec(header);
  if (found === null) throw refuse(`has a header that is not understood: ${header.slice(0, 120).trim()}`);
  const [, order, letter = '', digits = '', other, fortran, dimensions = ''] = found;
  if (letter === 'O')
    throw refuse(
      'holds Python objects, which only Python can read; save it as floats, integers or text: np.save(f, a.astype("float32"))',
    );
  const kind = kinds[letter];
  if (other !== undefined || kind === undefined)
    throw refuse(`holds ${other ?? `'${order}${letter}${digits}'`}, and floats, integers, booleans and text are read`);
  const width = kind === 'unicode' ? Number(digits) * 4 : Number(digits);
  if (order === '>' && width > 1)
    throw refuse('is big-endian; save it with np.save(f, a.astype(a.dtype.newbyteorder("<")))');
  const shape = dimensions.split(',').flatMap((each) => (each.trim() === '' ? [] : [Number(each)]));
  if (fortran === 'True' && shape.length > 1)
    throw refuse('is in Fortran order, column by column; save it with np.save(f, np.ascontiguousarray(a))');
  if (shape.length !== 1 && shape.length !== 2)
    throw refuse(
      `is of shape (${shape.join(', ')}), and lists and matrices are read: reshape it to (rows, dimensions)`,
    );
  return { kind, width, shape };
}

/** Rows of a matrix of floats as float32. @throws RecordRefused when the array is none */
export async function floatRows(array: NpyArray, from: number, to: number): Promise<Float32Array> {
  const { buffer, length } = await array.rowBytes(from, to);
  if (array.kind === 'float' && array.width === 4) return new Float32Array(buffer, 0, length / 4);
  if (array.kind === 'float' && array.width === 8) return Float32Array.from(new Float64Array(buffer, 0, length / 8));
  if (array.kind === 'float' && array.width === 2) return Float32Array.from(new Float16Array(buffer, 0, length / 2));
  throw new RecordRefused(
    `${array.where} holds ${array.kind}s of ${array.width} bytes, and a vector is of float16, float32 or float64; save it with a.astype("float32")`,
    { ids: [array.where] },
  );
}

/** The elements of a list as JSON texts: numbers, true and false, strings. @throws RecordRefused for NaN and infinity */
export async function jsonRows(array: NpyArray, from: number, to: number): Promise<readonly string[]> {
  const bytes = await array.rowBytes(from, to);
  return Array.from({ length: to - from }, (_, row) => {
    try {
      return elementJson(array, bytes.subarray(row * array.width, (row + 1) * array.width));
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new RecordRefused(`row ${from + row} of ${array.where}: ${reason}; mend the file or take it out`, {
        ids: [`${array.where}:${from + row}`],
        cause,
      });
    }
  });
}

function elementJson({ kind, width }: NpyArray, bytes: Buffer): string {
  if (kind === 'boolean') return bytes[0] === 0 ? 'false' : 'true';
  if (kind === 'unicode') return JSON.stringify(unicodeText(bytes));
  if (kind === 'bytes') return JSON.stringify(utf8Of(bytes).replace(/\0+$/, ''));
  if (kind === 'integer') return String(width === 8 ? bytes.readBigInt64LE() : bytes.readIntLE(0, width));
  if (kind === 'unsigned') return String(width === 8 ? bytes.readBigUInt64LE() : bytes.readUIntLE(0, width));
  const value =
    width === 8
      ? bytes.readDoubleLE()
      : width === 4
        ? bytes.readFloatLE()
        : (new Float16Array(Uint8Array.from(bytes).buffer)[0] ?? 0);
  if (!Number.isFinite(value)) throw new RangeError(`${value} is no JSON number`);
  return Object.is(value, -0) ? '-0.0' : JSON.stringify(value);
}

/** UTF-32, padded with zeros. @throws RangeError for what is no code point */
function unicodeText(bytes: Buffer): string {
  let text = '';
  let end = bytes.length;
  while (end > 0 && bytes.readUInt32LE(end - 4) === 0) end -= 4;
  for (let at = 0; at < end; at += 4) text += String.fromCodePoint(bytes.readUInt32LE(at));
  return text;
}

/** The header of an array that is written row by row. @param descr `<f4`, `<i8`, `<U36` */
export function npyHeader(descr: string, shape: readonly number[]): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  // The data begins at a multiple of 64 bytes, and the header ends in a line feed.
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const start = Buffer.alloc(10);
  magic.copy(start);
  start[6] = 1;
  start.writeUInt16LE(length, 8);
  return Buffer.concat([start, Buffer.from(`${text.padEnd(length - 1)}\n`, 'latin1')]);
}
