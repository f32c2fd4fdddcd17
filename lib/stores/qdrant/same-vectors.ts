import { Incompatible } from '../../errors.ts';
import type { VectorSpec } from '../../schema.ts';

/** @throws Incompatible naming each difference between the vectors of an existing collection and those wanted. */
export function checkSameVectors(
  collection: string,
  found: readonly VectorSpec[],
  wanted: readonly VectorSpec[],
): void {
  const there = new Map(found.map((spec) => [spec.name, spec]));
  const differences = wanted.flatMap((spec) => differencesOf(spec, there.get(spec.name)));
  const names = new Set(wanted.map(({ name }) => name));
  for (const { name } of found) if (!names.has(name)) differences.push(`vector '${name}' is there and not wanted`);
  if (differences.length === 0) return;
  throw new Incompatible(
    `collection '${collection}' is there with other vectors: ${differences.join('; ')}; name another collection or drop it`,
    { ids: [collection] },
  );
}

function differencesOf(wanted: VectorSpec, found: VectorSpec | undefined): string[] {
  if (found === undefined) return [`vector '${wanted.name}' is wanted and not there`];
  const compared = ['kind', 'dimension', 'distance', 'precision'] as const;
  return compared
    .filter(
      (key) => wanted[key] !== undefined && !(wanted.kind === 'sparse' && key !== 'kind') && wanted[key] !== found[key],
    )
    .map((key) => `vector '${wanted.name}' has ${key} ${found[key]} instead of ${wanted[key]}`);
}
