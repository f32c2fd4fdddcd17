import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { concatBatches, selectRecords } from '../../lib/batch.ts';
import { jsonDifference } from '../../lib/compare/json-equal.ts';
import { recordDifference, untreated } from '../../lib/compare/record-equal.ts';
import { RecordRefused } from '../../lib/errors.ts';
import { mapBatch } from '../../lib/mapping/mapping.ts';
import { mappingPlanSchema } from '../../lib/mapping/mapping-files.ts';
import type { FieldSpec } from '../../lib/schema.ts';
import { memory } from '../../lib/stores/memory.ts';
import { pgvector } from '../../lib/stores/pgvector.ts';
import { makeBatch } from '../make.ts';
import { makeDatabase } from '../servers/database.ts';
import { fitOf } from './world.ts';

/** Any rules on any records: what import writes is what compare expects, record by record and by a store that declares types. */

let database: Awaited<ReturnType<typeof makeDatabase>>;
beforeAll(async () => {
  database = await makeDatabase('mapping_rules');
});
afterAll(async () => {
  await database.drop();
});

/** Declared fields, and what a record has in each. */
const fields: readonly (Omit<FieldSpec, 'values'> & { readonly values: fc.Arbitrary<unknown> })[] = [
  { name: 'a', type: 'text', nullable: true, values: fc.constantFrom('x', 'X y', '12', 'true', 'y', null) },
  { name: 'b', type: 'integer', nullable: true, values: fc.oneof(fc.integer(), fc.constantFrom(0, 1, null)) },
  { name: 'c', type: 'boolean', nullable: true, values: fc.constantFrom(true, false, null) },
  {
    name: 'd',
    type: 'timestamp',
    nullable: true,
    values: fc.constantFrom('2026-03-29T00:30:00Z', '1969-01-01T00:00:00.000001Z'),
  },
  {
    name: 'm',
    type: 'json',
    nullable: true,
    values: fc.constantFrom({ p: 'x', q: { r: 1 } }, { p: null }, [], null, 'text'),
  },
];
const payloads = fc.array(fc.record(Object.fromEntries(fields.map(({ name, values }) => [name, values]))), {
  minLength: 1,
  maxLength: 8,
});

const valueMap = fc.record(
  {
    values: fc.constant({ x: 'one', 12: 'twelve', true: 'yes', y: null }),
    patterns: fc.constant([{ like: 'x%', to: 'like x' }]),
    otherwise: fc.constantFrom('keep', 'drop', 'refuse', { value: 'other' }),
  },
  { requiredKeys: ['values'] },
);
const rule = (to: string) =>
  fc.oneof(
    fc.constant(null),
    fc.constant({}),
    fc.constant({ to }),
    fc.constantFrom('string', 'json', 'list', 'boolean').map((cast) => ({ to, cast })),
    fc.constantFrom({ to: `inner.${to}` }, { cut: 1 }),
    valueMap.map((map) => ({ ...map, to })),
    valueMap.map((map) => ({ ...map, cast: 'string' })),
    fc.constant({ split: { by: ' ', to: [`${to}1`, `${to}2`] } }),
  );
const mappings = fc.record(
  {
    // The short forms leave what is neither number nor text as it is, whatever the column is declared as.
    payload: fc.record(
      { a: rule('n1'), b: fc.oneof(rule('n2'), fc.constantFrom('number', 'string')), c: rule('n3'), 'm.p': rule('n4') },
      { requiredKeys: [] },
    ),
    add: fc.constant({ t: { template: '{a}-{b}-{id}' }, j: { join: ['a', 'm.p'] }, v: { value: 1 } }),
    others: fc.constantFrom('keep', 'drop'),
    records: fc.constant([{ name: 'ones', drop: { b: { in: [0, 1] } } }]),
  },
  { requiredKeys: [] },
);

const specs = fields.map(({ values: _, ...spec }) => spec);

test('a batch is mapped as its records are one by one, by the plan as it is read back from its file', () => {
  fc.assert(
    fc.property(mappings, payloads, fc.boolean(), (mapping, records, isDeclared) => {
      const fit = fitOf(mapping, isDeclared ? { fields: specs } : {});
      const read = mappingPlanSchema.parse(JSON.parse(JSON.stringify(fit.mapping)));
      const batch = makeBatch({
        ids: records.map((_, at) => String(at)),
        payloads: records.map((record) => JSON.stringify(record)),
      });
      const single = batch.ids.map((_, at) => {
        try {
          return mapBatch(selectRecords(batch, [at]), read, memory.capabilities.ids);
        } catch (error) {
          if (error instanceof RecordRefused) return undefined;
          throw error;
        }
      });
      const taken = single.flatMap((each, at) => (each === undefined ? [] : [at]));
      if (taken.length < batch.count)
        expect(() => mapBatch(batch, fit.mapping, memory.capabilities.ids)).toThrow(RecordRefused);
      const whole = mapBatch(selectRecords(batch, taken), fit.mapping, memory.capabilities.ids);
      const none = mapBatch(selectRecords(batch, []), fit.mapping, memory.capabilities.ids);
      const parts = single.filter((each) => each !== undefined);
      expect(whole.skipped.toSorted()).toEqual(parts.flatMap(({ skipped }) => skipped).sort());
      expect(whole.batch).toEqual(concatBatches([none.batch, ...parts.map((each) => each.batch)]));
      for (const payload of whole.batch.payloads) {
        const members = Object.keys(JSON.parse(payload));
        if (isDeclared) expect(members).toEqual(fit.target.fields?.map(({ name }) => name));
      }
    }),
    { numRuns: 300 },
  );
});

test('what PostgreSQL holds after a write is what the mapping made, whatever types the rules declare', async () => {
  let made = 0;
  await fc.assert(
    fc.asyncProperty(mappings, payloads, async (mapping, records) => {
      const { target, mapping: plan } = fitOf(mapping, { fields: specs, store: 'pgvector', kind: pgvector });
      const batch = makeBatch({
        ids: records.map((_, at) => String(at)),
        payloads: records.map((record) => JSON.stringify(record)),
      });
      const kept = batch.ids.flatMap((_, at) => {
        try {
          return [mapBatch(selectRecords(batch, [at]), plan, pgvector.capabilities.ids).batch];
        } catch (error) {
          if (error instanceof RecordRefused) return [];
          throw error;
        }
      });
      const written = concatBatches([makeBatch({ ids: [] }), ...kept]);
      if (written.count === 0) return;
      const store = await pgvector.open({ connection: { url: database.url }, collection: `t${++made}`, options: {} });
      try {
        await store.prepare(target);
        await store.write(written, { mode: 'upsert' });
        const found = await store.fetch(written.ids);
        for (const [at, id] of written.ids.entries()) {
          expect(recordDifference(written, at, found, found.ids.indexOf(id), untreated)).toBeUndefined();
          expect(
            jsonDifference(written.payloads[at] ?? '', found.payloads[found.ids.indexOf(id)] ?? ''),
          ).toBeUndefined();
        }
      } finally {
        await store.close();
      }
    }),
    { numRuns: 40 },
  );
});
