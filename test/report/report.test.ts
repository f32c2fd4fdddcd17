import { describe, expect, test } from '@jest/globals';
import { concatBatches, selectRecords } from '../../lib/batch.ts';
import { countSides } from '../../lib/compare/counts.ts';
import { errorNames, RecordRefused } from '../../lib/errors.ts';
import { html } from '../../lib/html.ts';
import { comparedKey, exportedKey, runKeys } from '../../lib/keys.ts';
import { readManifest, sealManifest } from '../../lib/manifest.ts';
import { getJson } from '../../lib/objects.ts';
import { reportPage } from '../../lib/page/page.ts';
import { nextAfterError } from '../../lib/report/findings.ts';
import { writeReport } from '../../lib/report/report.ts';
import { writeFailure } from '../../lib/report/report-failure.ts';
import { reportSchema } from '../../lib/report/report-schema.ts';
import type { Store } from '../../lib/stores/port.ts';
import { makeBatch } from '../make.ts';
import { makeReport } from '../make-report.ts';
import { validate } from '../validated.ts';
import { exportAll, load, makeWorld, plan } from '../world.ts';

const ids = (count: number): string[] => Array.from({ length: count }, (_, i) => String(1000 + i));
const write = { position: { run: 'r1', shard: '00000-000', offset: 0 }, mode: 'upsert' } as const;

describe('the report', () => {
  test('of a run that lost nothing says validated, with every number accounted for', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(300) }), shardBytes: 5000 });
    const { outcome, report, page } = await validate(world, await load(world));
    expect(report.findings).toEqual([]);
    expect(outcome).toMatchObject({ passed: true, summary: report.summary });
    expect(report.summary).toMatch(
      /^Validated, memory articles to memory articles2: all 300 records compared and equal\. The recall@10 of the target is 100\.00%/,
    );
    expect(report.counts).toMatchObject({
      source: 300,
      manifest: 300,
      target: 300,
      expected: 300,
      agree: true,
      extra: 0,
    });
    expect(report.compare).toMatchObject({ records: 300, equal: 300, different: 0, missing: 0, unchecked: 0 });
    expect(report.spotCheck).toMatchObject({ checked: 100, different: 0 });
    expect(page).toContain('<title>Validated: run r1</title>');
  });

  test('names the query sets in its sentence where there are several, since each has a figure of its own', async () => {
    const sets = [{ name: 'all' }, { name: 'few', sample: 100 }];
    const world = await makeWorld({
      records: makeBatch({ ids: ids(300) }),
      event: { validate: { recall: { sets, atLeast: 0.9 } } },
    });
    const { report } = await validate(world, await load(world));
    expect(report.summary).toMatch(/equal\. all: the recall@10 .* few: the recall@10 of the target is 100\.00%/);
  });

  test('names the gold sets there too', async () => {
    // Whatever is found is expected.
    const query = (at: number) => ({ vector: [at + 1, 1, 2, 3], expected: ids(20) });
    const gold = { queries: Array.from({ length: 40 }, (_, at) => query(at)), goldAtLeast: 0.5, atLeast: null };
    const sets = ['editors', 'clicks'].map((name) => ({ name, ...gold }));
    const world = await makeWorld({ records: makeBatch({ ids: ids(20) }), event: { validate: { recall: { sets } } } });
    const { report } = await validate(world, await load(world));
    expect(report.summary).toMatch(/editors: the target finds 100\.00% .* clicks: the target finds 100\.00%/);
  });

  test('of a target with faults says failed, names the first ids and what to do next', async () => {
    const records = makeBatch({ ids: ids(100) });
    const world = await makeWorld({ records });
    const planned = await plan(world);
    await exportAll(world, planned);
    await sealManifest({ plan: planned, objects: world.objects });
    const kept = selectRecords(
      records,
      Array.from({ length: 98 }, (_, at) => at),
    );
    const wrong = makeBatch({ ids: ['1005'], seed: 5 });
    await world.target.write(concatBatches([kept, wrong, makeBatch({ ids: ['x1'] })]), write);
    const { outcome, report } = await validate(world, planned);
    expect(outcome.passed).toBe(false);
    expect(report.verdict).toBe('failed');
    expect(report.findings.map(({ what, ids: named }) => [what, named])).toEqual([
      ['1 record is not the same in the target', ['1005']],
      ['2 records are missing in the target', ['1098', '1099']],
      ['the target holds 1 record that the run did not write', ['x1']],
    ]);
    expect(report.findings.every(({ next }) => next.length > 20)).toBe(true);
    expect(report.counts).toMatchObject({ target: 99, expected: 100, agree: false, extra: 1 });
    expect(report.summary).toMatch(/^Failed, .* Nothing was cut over, and the source is untouched\.$/);
  });

  test('says could not validate, and does not pass, when a record cannot be read back', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(40) }) });
    const planned = await load(world);
    const target: Store = {
      ...world.target,
      fetch: async (wanted) => {
        if (wanted.includes('1007')) throw new RecordRefused('a broken page', { ids: ['1007'] });
        return await world.target.fetch(wanted);
      },
    };
    const { outcome, report, page } = await validate(world, planned, { target });
    expect(outcome.passed).toBe(false);
    expect(report.verdict).toBe('unproven');
    expect(report.compare).toMatchObject({ equal: 39, unchecked: 1 });
    expect(report.findings).toMatchObject([{ check: 'compare', severity: 'unproven', ids: ['1007'] }]);
    expect(page).toContain('Could not validate');
    expect(page).not.toContain('>Validated<');
  });

  test('passes a sample that the event asked for, and says that it was one', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: ids(200) }),
      event: { validate: { compare: { sample: 50 }, recall: null } },
    });
    const { outcome, report } = await validate(world, await load(world));
    expect(outcome.passed).toBe(true);
    expect(report.summary).toMatch(/50 sampled of 200 records compared and equal\.$/);
    expect(report.compare).toMatchObject({ equal: 50, unchecked: 150, notInSample: 150 });
  });

  test('passes an empty collection and one record, with recall told as it is', async () => {
    const empty = await makeWorld({ records: makeBatch({ ids: [] }) });
    const nothing = await validate(empty, await load(empty));
    expect(nothing.outcome.passed).toBe(true);
    expect(nothing.report.recall).toEqual({ reason: 'the collection is empty', sets: [] });
    const single = await makeWorld({ records: makeBatch({ ids: ['1'] }) });
    expect((await validate(single, await load(single))).outcome.passed).toBe(true);
  });

  test('passes records that were left out on purpose, counted and named', async () => {
    const world = await makeWorld({
      records: makeBatch({ ids: ids(120), missing: [3, 8] }),
      event: { mapping: { missingVectors: 'skip' } },
    });
    const planned = await load(world);
    const { outcome, report } = await validate(world, planned);
    expect(report.findings).toEqual([]);
    expect(outcome.passed).toBe(true);
    expect(report.skipped).toEqual({ records: 2, ids: ['1003', '1008'] });
    expect(report.counts).toMatchObject({
      source: 120,
      manifest: 120,
      skipped: 2,
      expected: 118,
      target: 118,
      agree: true,
    });
    expect(report.summary).toMatch(/2 left out as the mapping says/);
  });

  test('fails when the source was written to after the export, because then the target is not the same', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(100) }) });
    const planned = await load(world);
    await world.source.write(makeBatch({ ids: ['5000', '5001'] }), write);
    const { outcome, report } = await validate(world, planned);
    expect(outcome.passed).toBe(false);
    expect(report.findings[0]?.what).toBe('the source holds 102 records, 2 more than were exported');
  });

  test('accepts what was in an existing target before, and says that extra records were not looked for', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(90) }) });
    const into = { ...world.event, target: { ...world.event.target, into: 'existing' as const } };
    const existing = { ...world, event: into };
    await world.target.prepare((await world.source.describe()).schema);
    await world.target.write(makeBatch({ ids: ['old-1', 'old-2'], seed: 3 }), write);
    const { outcome, report } = await validate(existing, await load(existing));
    expect(report.findings).toEqual([]);
    expect(outcome.passed).toBe(true);
    expect(report.counts).toMatchObject({ target: 92, extra: null });
  });

  test('is refused while a shard was not compared to its end, for then nothing can be said', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(100) }) });
    const planned = await load(world);
    await validate(world, planned);
    await world.objects.delete(comparedKey('r1', '00000-000'));
    const manifest = await readManifest(world.objects, 'r1');
    const counts = await countSides({ ...world, plan: planned, manifest });
    await expect(writeReport({ ...world, plan: planned, manifest, counts })).rejects.toThrow(
      /compared\/00000-000\.json is not there or not finished/,
    );
  });
});

describe('the report of a run that ended early', () => {
  test('says why and what to do next, with or without a plan', async () => {
    const world = await makeWorld();
    const options = { objects: world.objects, run: 'r9', message: "field 'source' is missing" };
    const report = await writeFailure({ ...options, error: 'InvalidEvent' });
    expect(report).toMatchObject({ verdict: 'failed', counts: null, source: null });
    expect(report.findings[0]?.next).toBe('Mend the event as the message says and start a new run.');
    expect(await getJson(world.objects, runKeys('r9').report, reportSchema)).toEqual(report);
    const page = new TextDecoder().decode(await world.objects.get(runKeys('r9').reportPage));
    expect(page).toContain('field &#39;source&#39; is missing');
  });

  test('tells how far the run came, and does not need its ledger to be whole for that', async () => {
    const world = await makeWorld({ records: makeBatch({ ids: ids(80) }), shardBytes: 1500 });
    const planned = await plan(world);
    await exportAll(world, planned);
    const options = { objects: world.objects, run: 'r1', error: 'StoreUnavailable', message: 'it is away' };
    const report = await writeFailure({ ...options, plan: planned });
    expect(report).toMatchObject({ compare: null, ranOn: 'one machine', actual: { records: 80 }, unread: [] });
    expect(report.timeline?.stages.map(({ stage, records }) => [stage, records])).toEqual([['export', 80]]);
    const page = new TextDecoder().decode(await world.objects.get(runKeys('r1').reportPage));
    expect(page).toContain('Export: 80');
    await world.objects.delete(runKeys('r1').report);
    await world.objects.put(exportedKey('r1', '00000-000'), '{"cut sh');
    const damaged = await writeFailure({ ...options, plan: planned });
    expect(damaged).toMatchObject({ timeline: null, actual: null });
    expect(damaged.unread[0]).toMatch(/^how far the run came could not be read: .* is not JSON/);
  });

  test('keeps the validation that failed it, and what was validated before a cutover failed', async () => {
    const world = await makeWorld();
    const { report } = await validate(world, await load(world));
    const options = { objects: world.objects, run: 'r1', message: 'the report says why' };
    expect(await writeFailure({ ...options, error: errorNames.validationFailed })).toEqual(report);
    const later = await writeFailure({ ...options, error: errorNames.accessDenied });
    expect(later).toMatchObject({ verdict: 'failed', failure: { error: 'AccessDenied' }, counts: report.counts });
  });

  test('knows a next step for every error there is', () => {
    const unknown = nextAfterError('Lambda.Unknown');
    for (const name of Object.values(errorNames)) expect([name, nextAfterError(name)]).not.toEqual([name, unknown]);
  });
});

describe('the page', () => {
  const attack = `<script>alert('x')</script>"onload="y`;

  test('escapes whatever a store, an event or an error put into the report', () => {
    const page = reportPage(makeReport(attack));
    expect(page).not.toContain('<script');
    expect(page).not.toContain('"onload');
    expect(page).toContain('&#60;script&#62;alert(&#39;x&#39;)&#60;/script&#62;&#34;onload=&#34;y');
  });

  test('needs no script and no network', () => {
    const page = reportPage(makeReport('plain'));
    expect(page).not.toMatch(/<script|<link|<img|<iframe|src=|href=|@import|url\(/);
    expect(page).toContain("default-src 'none'");
  });

  test('escapes text and attributes, and lets markup of its own through once', () => {
    expect(html`<a title="${'"<&'}">${html`<b>${'>'}</b>`}</a>`.markup).toBe(
      '<a title="&#34;&#60;&#38;"><b>&#62;</b></a>',
    );
  });
});
