import type { Distance } from './schema.ts';

/**
 * How far apart two vectors of the same length are, smaller is nearer, summed in float64. cosine: 1 - cos, and 1 when
 * either vector is zero; dot: the negative inner product; euclid: the L2 norm of the difference; manhattan: its L1 norm.
 */
export const distanceBetween: Readonly<Record<Distance, (a: Float32Array, b: Float32Array) => number>> = {
  cosine: (a, b) => {
    const norms = Math.sqrt(innerProduct(a, a) * innerProduct(b, b));
    return norms === 0 ? 1 : 1 - innerProduct(a, b) / norms;
  },
  dot: (a, b) => -innerProduct(a, b),
  euclid: (a, b) => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2;
    return Math.sqrt(sum);
  },
  manhattan: (a, b) => {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += Math.abs((a[i] ?? 0) - (b[i] ?? 0));
    return sum;
  },
};

function innerProduct(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}
