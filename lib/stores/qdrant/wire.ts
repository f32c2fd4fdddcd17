/**
 * The little of protobuf's wire format that Qdrant's points need (https://protobuf.dev/programming-guides/encoding).
 * A vector is a packed float field: its bytes are those of a Float32Array on a little-endian machine, which every
 * machine that Node runs on is, Lambda's included. So a vector costs one copy either way.
 */

export const wireTypes = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** The tag of a field: its number and wire type in one varint. */
export function tagOf(field: number, type: keyof typeof wireTypes): number {
  return field * 8 + wireTypes[type];
}

/** Bytes that a varint takes. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  return value < 0x800000000 ? 5 : Math.ceil((Math.floor(Math.log2(value)) + 1) / 7);
}

/** Bytes of a field of `size` bytes with its tag and length. */
export function fieldSize(field: number, size: number): number {
  return varintSize(field * 8) + varintSize(size) + size;
}

/** A message under construction, in a buffer that grows. */
export class ProtoWriter {
  private bytes: Buffer;
  length = 0;

  constructor(capacity = 4096) {
    this.bytes = Buffer.allocUnsafe(capacity);
  }

  /** What was written: a view, good until the writer is used again. */
  written(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  /** Room for `size` more bytes. */
  reserve(size: number): void {
    if (this.length + size <= this.bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + size));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }

  /** An unsigned integer up to 2^53. */
  varint(value: number): void {
    this.reserve(10);
    let left = value;
    for (; left >= 0x80000000; left = Math.floor(left / 128)) this.bytes[this.length++] = (left % 128) | 0x80;
    for (; left >= 0x80; left >>>= 7) this.bytes[this.length++] = (left & 0x7f) | 0x80;
    this.bytes[this.length++] = left;
  }

  /** Any 64-bit integer, a negative one as its two's complement. */
  varint64(value: bigint): void {
    this.reserve(10);
    let left = BigInt.asUintN(64, value);
    for (; left >= 0x80n; left >>= 7n) this.bytes[this.length++] = Number(left & 0x7fn) | 0x80;
    this.bytes[this.length++] = Number(left);
  }

  double(value: number): void {
    this.reserve(8);
    this.length = this.bytes.writeDoubleLE(value, this.length);
  }

  /** The bytes of `from` between two positions, without a tag. */
  copy(from: Buffer, start: number, end: number): void {
    this.reserve(end - start);
    from.copy(this.bytes, this.length, start, end);
    this.length += end - start;
  }

  /** A string field. */
  text(field: number, value: string): void {
    this.varint(tagOf(field, 'bytes'));
    if (value.length < 43) {
      // At most 3 bytes a UTF-16 unit: the length fits one byte, so it can be filled in afterwards.
      this.reserve(130);
      const at = this.length;
      this.length = at + 1 + this.shortText(value, at + 1);
      this.bytes[at] = this.length - at - 1;
      return;
    }
    const size = Buffer.byteLength(value);
    this.varint(size);
    this.reserve(size);
    this.length += this.bytes.write(value, this.length, 'utf8');
  }

  /** Begins a field of unknown length; hand what it returns to `close`. */
  open(field: number): number {
    this.varint(tagOf(field, 'bytes'));
    this.reserve(1);
    return ++this.length;
  }

  /** Ends the field begun at `start`, and moves its bytes up where its length takes more than one byte. */
  close(start: number): void {
    const size = this.length - start;
    const extra = varintSize(size) - 1;
    if (extra > 0) {
      this.reserve(extra);
      this.bytes.copyWithin(start + extra, start, this.length);
    }
    this.length = start - 1;
    this.varint(size);
    this.length += size;
  }

  /** Writing a few ASCII characters here is cheaper than the call into the runtime. */
  private shortText(value: string, at: number): number {
    const { bytes } = this;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code >= 0x80) return bytes.write(value, at, 'utf8');
      bytes[at + i] = code;
    }
    return value.length;
  }
}

/** A cursor over a received message. */
export class ProtoReader {
  readonly bytes: Buffer;
  at: number;

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  /** A varint below 2^53: tags, lengths, counts. @throws RangeError when the message ends within it. */
  varint(): number {
    const { bytes } = this;
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = bytes[this.at++];
      if (byte === undefined) throw new RangeError('the message ends within a number');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }

  /** A 64-bit integer as decimal text; negative where it is signed and its top bit is set. */
  integer(signed: boolean): string {
    const start = this.at;
    const small = this.varint();
    if (small <= Number.MAX_SAFE_INTEGER) return String(small);
    this.at = start;
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.bytes[this.at++] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return String(signed ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value));
    }
  }

  double(): number {
    const value = this.bytes.readDoubleLE(this.at);
    this.at += 8;
    return value;
  }

  float(): number {
    const value = this.bytes.readFloatLE(this.at);
    this.at += 4;
    return value;
  }

  /** Reads a length, and returns where the field ends. @throws RangeError when that lies behind the message. */
  end(): number {
    const size = this.varint();
    const end = this.at + size;
    if (end > this.bytes.length) throw new RangeError('the message ends within a field');
    return end;
  }

  text(): string {
    const end = this.end();
    const value = this.bytes.toString('utf8', this.at, end);
    this.at = end;
    return value;
  }

  /** Passes over a field that is not of interest. @throws RangeError on a wire type that protobuf no longer has. */
  skip(tag: number): void {
    const type = tag & 7;
    if (type === wireTypes.varint) this.integer(false);
    else if (type === wireTypes.bytes) this.at = this.end();
    else if (type === wireTypes.fixed64) this.at += 8;
    else if (type === wireTypes.fixed32) this.at += 4;
    else throw new RangeError(`a field has the wire type ${type}`);
  }
}
