import { createHash } from 'node:crypto';
import type { Flag } from './flag.ts';

/**
 * Where a key stands between 0 and 99.99: the first four bytes, big-endian, of SHA-256 over the UTF-8 text `flag:key`, modulo
 * 10,000, divided by 100. The same key stands at the same place everywhere, and elsewhere for another flag, so that it is not
 * always the same users who go first. Other languages do the same: docs/client.md has test vectors.
 */
export function bucketOf(flag: string, key: string): number {
  const hash = createHash('sha256').update(`${flag}:${key}`, 'utf8').digest();
  return (hash.readUInt32BE(0) % 10_000) / 100;
}

/**
 * True when the read of this key goes to the flag's candidate. A key moves once, as the weight rises. `random`, in [0, 1),
 * routes a read that has no key.
 */
export function goesToCandidate(
  name: string,
  { weight }: Pick<Flag, 'weight'>,
  key: string | undefined,
  random: () => number,
): boolean {
  if (weight <= 0) return false;
  if (weight >= 100) return true;
  return (key === undefined ? random() * 100 : bucketOf(name, key)) < weight;
}
