import { expect } from '@jest/globals';
import fc from 'fast-check';
import { type Batch, column, hasVector } from '../../lib/batch.ts';
import type { VectorSpec } from '../../lib/schema.ts';
import { canonicalJson, makeBatch } from '../make.ts';

/** Batches of any ids, vectors and payloads that Qdrant holds, for its wire formats' tests. */

export const roomy = { collection: 'c', insertOnly: false, maxBytes: 1 << 24, maxRecords: 100_000 };

export const allKinds: readonly VectorSpec[] = [
  { name: '', kind: 'dense', dimension: 3, distance: 'dot', precision: 'float32' },
  { name: 'título', kind: 'dense', dimension: 2, distance: 'dot', precision: 'float32' },
  { name: 'terms', kind: 'sparse', distance: 'dot', precision: 'float32' },
  { name: 'late', kind: 'multi', dimension: 2, distance: 'dot', precision: 'float32' },
];
export const one: readonly VectorSpec[] = [
  { name: '', kind: 'dense', dimension: 3, distance: 'dot', precision: 'float32' },
];

export const positionsOf = (batch: Batch): number[] => batch.ids.map((_, at) => at);

const keyText = fc.oneof(fc.constantFrom('a.b', '', 'n', '"q\\"'), fc.string({ unit: 'grapheme', maxLength: 50 }));

/** A JSON value as text, with the integers and doubles that break tools. */
export const jsonText = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'json' },
    fc.constantFrom(
      'null',
      'true',
      'false',
      '""',
      '[]',
      '{}',
      '-0',
      '0.1',
      '1e300',
      '-2.5e-7',
      '100000000000000000000.0',
    ),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    fc
      .double({ noNaN: true, noDefaultInfinity: true })
      .map((x) => (Number.isInteger(x) ? `${x.toExponential()}` : `${x}`)),
    fc
      .string({ unit: 'binary', maxLength: 60 })
      .filter((s) => s.isWellFormed())
      .map((s) => JSON.stringify(s)),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => `[ ${items.join(' ,')}]`),
    fc.array(fc.tuple(keyText, tie('value')), { maxLength: 3 }).map(objectText),
  ),
})).value;
const payloadText = fc.array(fc.tuple(keyText, jsonText), { maxLength: 4 }).map(objectText);

function objectText(fields: readonly (readonly [string, string])[]): string {
  const unique = [...new Map(fields)];
  return `{${unique.map(([key, value]) => `${JSON.stringify(key)}: ${value}`).join(',\n')}}`;
}

export const id = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
  fc.constantFrom('0', '127', '128', '9007199254740993', '18446744073709551615'),
  fc.uuid(),
);

export const batches = (vectors: readonly VectorSpec[]) =>
  fc
    .uniqueArray(fc.tuple(id, payloadText, fc.boolean()), { selector: ([each]) => each, maxLength: 6 })
    .chain((records) =>
      fc.nat().map((seed) =>
        makeBatch({
          ids: records.map(([each]) => each),
          payloads: records.map(([, payload]) => payload),
          missing: records.flatMap(([, , isMissing], at) => (isMissing ? [at] : [])),
          vectors: [...vectors],
          seed,
        }),
      ),
    );

export function expectSameBatch(found: Batch, written: Batch): void {
  expect(found.ids).toEqual(written.ids);
  for (const [at, payload] of found.payloads.entries())
    expect(canonicalJson(payload)).toBe(canonicalJson(written.payloads[at] ?? ''));
  for (const [name, there] of written.vectors) {
    const back = column(found, name);
    for (let at = 0; at < written.count; at++) expect(hasVector(back, at)).toBe(hasVector(there, at));
    expect(Buffer.from(back.values.buffer, back.values.byteOffset, back.values.byteLength)).toEqual(
      Buffer.from(there.values.buffer, there.values.byteOffset, there.values.byteLength),
    );
    if (there.kind !== 'dense' && back.kind !== 'dense') expect(back.offsets).toEqual(there.offsets);
    if (there.kind === 'sparse' && back.kind === 'sparse') expect(back.indices).toEqual(there.indices);
  }
}

export function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  return undefined;
}
