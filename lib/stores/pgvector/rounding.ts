/**
 * What stands exactly in PostgreSQL and as a double in JSON.parse's hands: a filter that compares doubles, said in exact
 * numbers. Rounding is to the nearest double, on a tie to the one whose mantissa is even (IEEE 754, ECMAScript's Number).
 */

/** The exact numbers that become one double. */
export interface Rounded {
  /** Decimal texts of the ends. */
  readonly from: string;
  readonly to: string;
  /** True when the ends themselves become it. */
  readonly isClosed: boolean;
}

/** @param value finite */
export function roundedTo(value: number): Rounded {
  const { mantissa, exponent } = partsOf(Math.abs(value));
  // Halfway to the next double; below a power of two the doubles lie twice as close, except at the least exponent.
  const isPower = mantissa === 1n << 52n && exponent > leastExponent;
  const above = decimalText(2n * mantissa + 1n, exponent - 1);
  const below = isPower ? decimalText(4n * mantissa - 1n, exponent - 2) : decimalText(2n * mantissa - 1n, exponent - 1);
  const isClosed = mantissa % 2n === 0n;
  return value < 0 ? { from: negative(above), to: negative(below), isClosed } : { from: below, to: above, isClosed };
}

/** Of a double's 1,074 places after the point the last: 2^-1074 is the least one. */
const leastExponent = -1074;

/** value = mantissa * 2^exponent */
function partsOf(value: number): { readonly mantissa: bigint; readonly exponent: number } {
  const bits = new DataView(new ArrayBuffer(8));
  bits.setFloat64(0, value);
  const biased = bits.getUint16(0) >>> 4;
  const fraction = bits.getBigUint64(0) & 0xf_ffff_ffff_ffffn;
  return biased === 0
    ? { mantissa: fraction, exponent: leastExponent }
    : { mantissa: fraction | (1n << 52n), exponent: biased - 1075 };
}

/** Whole * 2^exponent, every digit: n / 2^k is n * 5^k / 10^k. */
function decimalText(whole: bigint, exponent: number): string {
  return exponent >= 0 ? String(whole << BigInt(exponent)) : `${whole * 5n ** BigInt(-exponent)}e${exponent}`;
}

const negative = (text: string): string => (text.startsWith('-') ? text.slice(1) : `-${text}`);

/** The least integer of [min, max] whose double meets `isReached`, which once met stays so; undefined: none. */
export function leastInteger(
  { min, max }: { readonly min: bigint; readonly max: bigint },
  isReached: (double: number) => boolean,
): bigint | undefined {
  let [low, high] = [min, max + 1n];
  while (low < high) {
    const middle = (low + high) >> 1n;
    if (isReached(Number(middle))) high = middle;
    else low = middle + 1n;
  }
  return low > max ? undefined : low;
}
