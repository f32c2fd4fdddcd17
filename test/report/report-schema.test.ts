import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { reportJsonSchema } from '../../infra/local/report-json-schema.ts';
import { runKeys } from '../../lib/keys.ts';
import { reportSchemaId } from '../../lib/report/report-schema.ts';
import { makeBatch } from '../make.ts';
import {
  makeEarlyReport,
  makeFilteredEntry,
  makeGoodReport,
  makeLiveReport,
  makeManyDifferences,
  makeReport,
} from '../make-report.ts';
import { validate } from '../validated.ts';
import { load, makeWorld } from '../world.ts';

/** The published schema, read by another reader than the one that made it. */
const published = readFileSync('docs/report.schema.json', 'utf8');
const ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true });
ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
const check = ajv.compile(JSON.parse(published));

function problems(report: unknown): readonly string[] {
  return check(report) ? [] : (check.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
}

describe('docs/report.schema.json', () => {
  test('is made from the code; `npm run schema` writes it anew', () => {
    expect(published).toBe(reportJsonSchema());
  });

  test('has an id, which every report names, a title, and words for what is not plain', () => {
    const { $id, title, properties } = JSON.parse(published);
    expect([$id, title]).toEqual([reportSchemaId, 'vecferry report']);
    expect(properties.$schema.const).toBe(reportSchemaId);
    expect(properties.actual.description).toContain('not billed');
  });

  test("holds for a real run's report.json, as it lies there", async () => {
    const world = await makeWorld({ records: makeBatch({ ids: Array.from({ length: 120 }, (_, i) => String(i)) }) });
    await validate(world, await load(world));
    const text = new TextDecoder().decode(await world.objects.get(runKeys('r1').report));
    expect(problems(JSON.parse(text))).toEqual([]);
  });

  test.each([
    ['that failed', makeReport('x')],
    ['with nothing wrong', makeGoodReport()],
    ['of a live run', makeLiveReport()],
    ['with ten thousand differences', makeManyDifferences()],
    ['that ended early', makeEarlyReport()],
    ['with a filtered set', makeReport('', { recall: { sets: [makeFilteredEntry('x')] } })],
  ])('holds for a report %s', (_, report) => {
    expect(problems(JSON.parse(JSON.stringify(report)))).toEqual([]);
  });

  test('refuses a report of another form, by the field', () => {
    const { verdict, ...rest } = makeGoodReport();
    expect(verdict).toBe('validated');
    expect(problems(rest)).toEqual([" must have required property 'verdict'"]);
    expect(problems({ ...rest, verdict: 'fine', more: 1 })).toEqual([
      ' must NOT have additional properties',
      '/verdict must be equal to one of the allowed values',
    ]);
  });
});
