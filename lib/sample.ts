/**
 * Seeded draws: the same seed gives the same sample on every machine and in every function of a run, so that functions
 * which never meet agree on it without passing lists.
 */

/** mulberry32 (public domain, Tommy Ettinger): numbers in [0, 1) with 32 random bits. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * `size` different positions of [0, total), each set as likely as any other, in random order; all of them when size is
 * total or more. Floyd's algorithm (Bentley and Floyd, 1987), then a shuffle (Fisher and Yates): time and memory go with
 * `size`, not with `total`.
 */
export function drawPositions(total: number, size: number, seed: number): number[] {
  const random = seededRandom(seed);
  const drawn = new Set<number>();
  for (let last = total - Math.min(size, total); last < total; last++) {
    const at = Math.floor(random() * (last + 1));
    drawn.add(drawn.has(at) ? last : at);
  }
  const positions = [...drawn];
  for (let i = positions.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const [one = 0, other = 0] = [positions[i], positions[j]];
    positions[i] = other;
    positions[j] = one;
  }
  return positions;
}
