/** Ids that fit the set in memory: 2^25 slots of 8 bytes are 256 MiB. */
export const maxIdsHeld = 10_000_000;

/** Ids of a collection, to tell which are known: adding takes time that goes with the text alone. */
export interface IdSet {
  add(id: string): void;
  has(id: string): boolean;
  /** True the first time that an id of the set is asked for. */
  take(id: string): boolean;
}

/**
 * A set of ids as 64-bit hashes, 8 bytes a slot at no more than half load: ten million strings would take a gigabyte. An
 * id that is not in it passes for one that is with a chance of n / 2^64.
 * @param size the most ids that will be added; at twice as many the table would be full
 */
export function makeIdSet(size: number): IdSet {
  const slots = 2 ** Math.ceil(Math.log2(Math.max(2, 2 * size)));
  const table = new Uint32Array(2 * slots);
  const taken = new Uint8Array(slots / 8 + 1);
  const find = (id: string): { at: number; high: number; low: number } => {
    const low = hash(id, 0x811c9dc5);
    // 0, 0 marks an empty slot.
    const high = hash(id, 0x9e3779b9) || 1;
    let at = (low ^ Math.imul(high, 0x85ebca6b)) & (slots - 1);
    while (table[2 * at] !== 0 && (table[2 * at] !== high || table[2 * at + 1] !== low)) at = (at + 1) & (slots - 1);
    return { at, high, low };
  };
  return {
    add: (id) => {
      const { at, high, low } = find(id);
      table[2 * at] = high;
      table[2 * at + 1] = low;
    },
    has: (id) => table[2 * find(id).at] !== 0,
    take: (id) => {
      const { at } = find(id);
      const [byte, bit] = [taken[at >> 3] ?? 0, 1 << (at & 7)];
      if (table[2 * at] === 0 || (byte & bit) !== 0) return false;
      taken[at >> 3] = byte | bit;
      return true;
    },
  };
}

/** FNV-1a over UTF-16 units with MurmurHash3's final mix, 32 bits. */
function hash(id: string, seed: number): number {
  let value = seed;
  for (let i = 0; i < id.length; i++) value = Math.imul(value ^ id.charCodeAt(i), 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
