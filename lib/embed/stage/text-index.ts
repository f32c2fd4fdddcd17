/** Where the answer to each text is: 26 bytes a slot, of which 3/8 to 3/4 are in use. Ten million texts take 450 MB. */

/** Place of an answer: the n-th record of an object of answers. */
export interface Place {
  readonly object: number;
  readonly position: number;
  /** undefined: there is a vector. Else the attempt of the run in which the text was refused. */
  readonly failedIn: number | undefined;
}

export interface TextIndex {
  /** False where another answer stands: a vector before a failure, a later failure before an earlier one. */
  set(key: string, place: Place): boolean;
  get(key: string): Place | undefined;
  /** The answer is in another object from now on. */
  move(key: string, to: Pick<Place, 'object' | 'position'>): void;
  readonly size: number;
}

/** Of SHA-256 in hex: of 2^32 texts any two share these 128 bits with a chance of 10^-20. */
const digitsKept = 32;
const words = 6;
const noFailure = 0;

/**
 * A table with open addressing. Slot: four words of the key, the object, and the position; a position's word has 1 added,
 * so that 0 marks an empty slot.
 */
export function makeTextIndex(): TextIndex {
  let slots = 1 << 12;
  let table = new Uint32Array(slots * words);
  let failures = new Uint16Array(slots);
  let size = 0;
  const wanted = new Uint32Array(4);

  const parse = (key: string): void => {
    for (let i = 0; i < 4; i++) wanted[i] = Number.parseInt(key.slice(i * 8, (i + 1) * 8), 16);
  };
  /** The slot of the key in `wanted`, or the empty one where it belongs. */
  const find = (): number => {
    for (let at = (wanted[0] ?? 0) & (slots - 1); ; at = (at + 1) & (slots - 1)) {
      const from = at * words;
      if (table[from + 5] === 0) return at;
      if (
        table[from] === wanted[0] &&
        table[from + 1] === wanted[1] &&
        table[from + 2] === wanted[2] &&
        table[from + 3] === wanted[3]
      )
        return at;
    }
  };
  const grow = (): void => {
    const [old, oldFailures, oldSlots] = [table, failures, slots];
    slots *= 2;
    table = new Uint32Array(slots * words);
    failures = new Uint16Array(slots);
    for (let at = 0; at < oldSlots; at++) {
      const from = at * words;
      if (old[from + 5] === 0) continue;
      wanted.set(old.subarray(from, from + 4));
      const to = find();
      table.set(old.subarray(from, from + words), to * words);
      failures[to] = oldFailures[at] ?? 0;
    }
  };
  const isThere = (at: number): boolean => table[at * words + 5] !== 0;
  const write = (at: number, { object, position }: Pick<Place, 'object' | 'position'>): void => {
    table[at * words + 4] = object;
    table[at * words + 5] = position + 1;
  };

  return {
    set: (key, place) => {
      if (key.length < digitsKept) throw new RangeError(`'${key}' is no key of a text`);
      if (size * 4 >= slots * 3) grow();
      parse(key);
      const at = find();
      const isNew = !isThere(at);
      const failed = failures[at] ?? noFailure;
      const isBetter = failed !== noFailure && (place.failedIn === undefined || place.failedIn > failed);
      if (!isNew && !isBetter) return false;
      if (isNew) size += 1;
      table.set(wanted, at * words);
      write(at, place);
      failures[at] = place.failedIn ?? noFailure;
      return true;
    },
    get: (key) => {
      parse(key);
      const at = find();
      if (!isThere(at)) return undefined;
      const failedIn = failures[at] === noFailure ? undefined : failures[at];
      return { object: table[at * words + 4] ?? 0, position: (table[at * words + 5] ?? 1) - 1, failedIn };
    },
    move: (key, to) => {
      parse(key);
      const at = find();
      if (isThere(at)) write(at, to);
    },
    get size() {
      return size;
    },
  };
}
