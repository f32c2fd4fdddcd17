import { parse, stringify } from 'lossless-json';
import { type Batch, hasVector, type VectorColumn } from '../batch.ts';
import type { Plan } from '../run-files.ts';
import type { CollectionSchema } from '../schema.ts';
import type { Capabilities } from '../stores/port.ts';
import { type Doubles, type JsonDifference, jsonDifference, type NearNumbers } from './json-equal.ts';
import { type VectorTreatment, vectorDifference } from './vector-equal.ts';

/** What a store does to records on write: to each of its vectors, by name, and to numbers with a fraction in payloads. */
export interface Treatments {
  readonly vectors: ReadonlyMap<string, VectorTreatment>;
  readonly doubles: Doubles;
}

/** What the target of `plan` does to vectors: from its capabilities and the schema that the plan gave it. */
export function targetTreatments({ target }: Plan, capabilities: Capabilities): Treatments {
  return treatmentsOf(target, capabilities);
}

/** What the source of `plan` did to them when they were written there. */
export function sourceTreatments({ source }: Plan, capabilities: Capabilities): Treatments {
  return treatmentsOf(source, capabilities);
}

/** What a store of these capabilities does to records with these vectors. */
export function treatmentsOf(
  { vectors }: Pick<CollectionSchema, 'vectors'>,
  { normalisesCosine, payload }: Capabilities,
): Treatments {
  const treated = vectors.map(({ name, kind, distance, precision }) => {
    // Bytes are never scaled: a unit vector of bytes would be zeros. Sparse vectors are compared by inner product alone.
    const isNormalised = normalisesCosine && distance === 'cosine' && kind !== 'sparse' && precision !== 'uint8';
    return [name, { isNormalised, precision }] as const;
  });
  return { vectors: new Map(treated), doubles: doublesOf(payload) };
}

/** `absent`: a payload field that is null on one side and not there on the other is no difference. */
export type Nulls = 'kept' | 'absent';

/** A shard's record read back from its own source is the same, float by float. */
export const untreated: Treatments = { vectors: new Map(), doubles: 'kept' };

/** The same of a source that may have rebuilt a segment since the export, and reads its doubles anew with each. */
export function untreatedBy({ payload }: Capabilities): Treatments {
  return { ...untreated, doubles: doublesOf(payload) };
}

const doublesOf = ({ nearDoubles }: Capabilities['payload']): Doubles => (nearDoubles === true ? 'near' : 'kept');

/**
 * Why the record at `foundAt` of `found` is not the one at `at` of `expected`: `vector embedding, float 3: expected 0.5,
 * found 0.25`; undefined when both are the same.
 * @param near takes how many numbers of a record that is the same have other last digits, where `treatments` let them
 */
export function recordDifference(
  expected: Batch,
  at: number,
  found: Batch,
  foundAt: number,
  treatments: Treatments,
  nulls: Nulls = 'kept',
  near: NearNumbers = { nearNumbers: 0 },
): string | undefined {
  for (const [name, column] of expected.vectors) {
    const difference = columnDifference(column, at, found.vectors.get(name), foundAt, treatments.vectors.get(name));
    if (difference !== undefined) return `${nameVector(name)}${difference}`;
  }
  for (const [name, column] of found.vectors) {
    if (expected.vectors.has(name) || !hasVector(column, foundAt)) continue;
    return `${nameVector(name)}: expected no vector, found one`;
  }
  const rules = { nulls, doubles: treatments.doubles };
  return payloadDifference(expected.payloads[at] ?? '{}', found.payloads[foundAt] ?? '{}', rules, near);
}

const asItIs: VectorTreatment = { isNormalised: false, precision: 'float32' };

function columnDifference(
  expected: VectorColumn,
  at: number,
  found: VectorColumn | undefined,
  foundAt: number,
  treatment: VectorTreatment = asItIs,
): string | undefined {
  const difference = vectorDifference(expected, at, found, foundAt, treatment);
  return difference === undefined ? undefined : `${/^(float|index)/.test(difference) ? ', ' : ': '}${difference}`;
}

function nameVector(name: string): string {
  return name === '' ? 'the unnamed vector' : `vector ${name}`;
}

function payloadDifference(
  expected: string,
  found: string,
  { nulls, doubles }: { readonly nulls: Nulls; readonly doubles: Doubles },
  near: NearNumbers,
): string | undefined {
  const differ = (one: string, other: string): JsonDifference | undefined => {
    const seen = doubles === 'near' ? { nearNumbers: 0 } : undefined;
    const difference = jsonDifference(one, other, seen);
    if (difference === undefined) near.nearNumbers += seen?.nearNumbers ?? 0;
    return difference;
  };
  try {
    const asTheyAre = differ(expected, found);
    if (asTheyAre === undefined) return undefined;
    const difference = nulls === 'kept' ? asTheyAre : differ(withoutNulls(expected), withoutNulls(found));
    if (difference === undefined) return undefined;
    const field = difference.path === '' ? 'payload' : `payload field ${difference.path}`;
    return `${field}: expected ${difference.expected}, found ${difference.found}`;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    return `payload is not JSON: ${cause.message}`;
  }
}

/** The payload without the fields that are null; what is null within a field stays. */
function withoutNulls(payload: string): string {
  const fields = Object.entries(Object(parse(payload))).filter(([, value]) => value !== null);
  return stringify(Object.fromEntries(fields)) ?? '{}';
}
