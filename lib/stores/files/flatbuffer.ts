/** The little of FlatBuffers that reading Arrow's messages takes. https://flatbuffers.dev/internals/ */

export interface FlatTable {
  /** Where scalar field `field` lies; undefined when it is left out, which stands for its default. */
  placeOf(field: number): number | undefined;
  byte(field: number): number;
  /** Of 32 bits. */
  int(field: number): number;
  long(field: number): number;
  table(field: number): FlatTable | undefined;
  tables(field: number): readonly FlatTable[];
  /** A list of structs or numbers of 8 bytes each member: all members in order. */
  longs(field: number, perItem: number): readonly number[];
  text(field: number): string | undefined;
}

export function rootTable(bytes: Buffer): FlatTable {
  return tableAt(bytes, bytes.readUInt32LE(0));
}

function tableAt(bytes: Buffer, at: number): FlatTable {
  const layout = at - bytes.readInt32LE(at);
  const size = bytes.readUInt16LE(layout);
  const placeOf = (field: number): number | undefined => {
    const slot = 4 + field * 2;
    const offset = slot < size ? bytes.readUInt16LE(layout + slot) : 0;
    return offset === 0 ? undefined : at + offset;
  };
  const follow = (field: number): number | undefined => {
    const place = placeOf(field);
    return place === undefined ? undefined : place + bytes.readUInt32LE(place);
  };
  return {
    placeOf,
    byte: (field) => {
      const place = placeOf(field);
      return place === undefined ? 0 : bytes.readUInt8(place);
    },
    int: (field) => {
      const place = placeOf(field);
      return place === undefined ? 0 : bytes.readInt32LE(place);
    },
    long: (field) => {
      const place = placeOf(field);
      return place === undefined ? 0 : Number(bytes.readBigInt64LE(place));
    },
    table: (field) => {
      const place = follow(field);
      return place === undefined ? undefined : tableAt(bytes, place);
    },
    tables: (field) => {
      const place = follow(field);
      if (place === undefined) return [];
      return Array.from({ length: lengthAt(bytes, place, 4) }, (_, item) => {
        const slot = place + 4 + item * 4;
        return tableAt(bytes, slot + bytes.readUInt32LE(slot));
      });
    },
    longs: (field, perItem) => {
      const place = follow(field);
      if (place === undefined) return [];
      const length = lengthAt(bytes, place, 8 * perItem) * perItem;
      return Array.from({ length }, (_, item) => Number(bytes.readBigInt64LE(place + 4 + item * 8)));
    },
    text: (field) => {
      const place = follow(field);
      return place === undefined ? undefined : bytes.toString('utf8', place + 4, place + 4 + bytes.readUInt32LE(place));
    },
  };
}

/** @throws RangeError when as many items do not fit behind it: an altered length would otherwise be billions */
function lengthAt(bytes: Buffer, place: number, itemBytes: number): number {
  const length = bytes.readUInt32LE(place);
  if (place + 4 + length * itemBytes > bytes.length)
    throw new RangeError('a list is longer than what holds it: it is altered');
  return length;
}
