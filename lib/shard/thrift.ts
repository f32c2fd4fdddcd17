/**
 * Thrift's compact protocol, as far as Parquet's metadata uses it: read into a tree, changed, written again, without
 * knowing what the fields mean. https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
 */
export type ThriftValue =
  | { readonly kind: 'boolean'; readonly value: boolean }
  /** type: 3 byte, 4 i16, 5 i32, 6 i64. */
  | { readonly kind: 'integer'; readonly type: number; readonly value: bigint }
  /** type: 7 double (8 bytes), 8 binary. */
  | { readonly kind: 'bytes'; readonly type: number; readonly value: Buffer }
  | { readonly kind: 'list'; readonly element: number; readonly items: readonly ThriftValue[] }
  | ThriftStruct;

export interface ThriftStruct {
  readonly kind: 'struct';
  readonly fields: ReadonlyMap<number, ThriftValue>;
}

const structType = 12;

/** The struct that the bytes hold. @throws RangeError when they end early or hold another type. */
export function readThrift(bytes: Buffer): ThriftStruct {
  return readThriftAt(bytes, 0).value;
}

/** The struct that begins at byte `start`, and where it ends. @throws RangeError as readThrift does. */
export function readThriftAt(bytes: Buffer, start: number): { readonly value: ThriftStruct; readonly end: number } {
  let at = start;
  const byte = (): number => {
    const value = bytes[at++];
    if (value === undefined) throw new RangeError('the metadata ends early');
    return value;
  };
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const next = byte();
      value |= BigInt(next & 0x7f) << shift;
      if (next < 0x80) return value;
    }
    throw new RangeError('the metadata holds an integer of more than 64 bits');
  };
  const zigzag = (): bigint => {
    const value = varint();
    return (value >> 1n) ^ -(value & 1n);
  };
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new RangeError('the metadata ends early');
    at += length;
    return bytes.subarray(at - length, at);
  };
  const list = (depth: number): ThriftValue => {
    const head = byte();
    const size = head >> 4 === 15 ? Number(varint()) : head >> 4;
    if (size > bytes.length) throw new RangeError('the metadata ends early');
    const element = head & 15;
    const items: ThriftValue[] = [];
    for (let i = 0; i < size; i++)
      items.push(element <= 2 ? { kind: 'boolean', value: byte() === 1 } : value(element, depth));
    return { kind: 'list', element, items };
  };
  const value = (type: number, depth: number): ThriftValue => {
    if (type === 1 || type === 2) return { kind: 'boolean', value: type === 1 };
    if (type === 3) return { kind: 'integer', type, value: BigInt(byte()) };
    if (type >= 4 && type <= 6) return { kind: 'integer', type, value: zigzag() };
    if (type === 7) return { kind: 'bytes', type, value: take(8) };
    if (type === 8) return { kind: 'bytes', type, value: take(Number(varint())) };
    if (type === 9) return list(depth);
    if (type === structType) return struct(depth + 1);
    throw new RangeError(`the metadata holds a field of type ${type}`);
  };
  const struct = (depth: number): ThriftStruct => {
    if (depth > 32) throw new RangeError('the metadata is nested too deep');
    const fields = new Map<number, ThriftValue>();
    for (let id = 0; ; ) {
      const head = byte();
      if (head === 0) return { kind: 'struct', fields };
      id = head >> 4 === 0 ? Number(zigzag()) : id + (head >> 4);
      fields.set(id, value(head & 15, depth));
    }
  };
  const whole = struct(0);
  return { value: whole, end: at };
}

/** The reverse of readThrift. */
export function writeThrift(root: ThriftStruct): Buffer {
  const parts: Buffer[] = [];
  const varint = (from: bigint): void => {
    const bytes: number[] = [];
    let left = from;
    for (; left > 0x7fn; left >>= 7n) bytes.push(Number(left & 0x7fn) | 0x80);
    bytes.push(Number(left));
    parts.push(Buffer.from(bytes));
  };
  const zigzag = (value: bigint): void => varint(value < 0n ? -2n * value - 1n : 2n * value);
  const write = (value: ThriftValue): void => {
    if (value.kind === 'boolean') parts.push(Buffer.of(value.value ? 1 : 2));
    else if (value.kind === 'struct') struct(value);
    else if (value.kind === 'list') list(value.element, value.items);
    else if (value.kind === 'bytes') {
      if (value.type === 8) varint(BigInt(value.value.length));
      parts.push(value.value);
    } else if (value.type === 3) parts.push(Buffer.of(Number(value.value)));
    else zigzag(value.value);
  };
  const list = (element: number, items: readonly ThriftValue[]): void => {
    parts.push(Buffer.of((Math.min(items.length, 15) << 4) | element));
    if (items.length >= 15) varint(BigInt(items.length));
    for (const item of items) write(item);
  };
  const struct = ({ fields }: ThriftStruct): void => {
    let last = 0;
    for (const [id, value] of fields) {
      const isShort = id > last && id - last < 16;
      parts.push(Buffer.of(((isShort ? id - last : 0) << 4) | typeOf(value)));
      if (!isShort) zigzag(BigInt(id));
      if (value.kind !== 'boolean') write(value);
      last = id;
    }
    parts.push(Buffer.of(0));
  };
  struct(root);
  return Buffer.concat(parts);
}

function typeOf(value: ThriftValue): number {
  if (value.kind === 'boolean') return value.value ? 1 : 2;
  if (value.kind === 'list') return 9;
  return value.kind === 'struct' ? structType : value.type;
}
