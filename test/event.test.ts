import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parseEvent, parseRunId } from '../lib/event.ts';

const shortest = { source: { store: 'memory', collection: 'a' }, target: { store: 'memory', collection: 'b' } };

describe('an event', () => {
  // events/migrations/ is a folder of ordered migrations: test/runs/migrations.test.ts
  test.each(readdirSync('events').filter((name) => name.endsWith('.json')))('events/%s is one', (file) => {
    expect(parseEvent(JSON.parse(readFileSync(`events/${file}`, 'utf8'))).source.collection).not.toBe('');
  });

  test('needs source and target alone: everything else has a default that is safe', () => {
    expect(parseEvent(shortest)).toMatchObject({
      target: { into: 'new', options: {} },
      validate: { compare: 'all', recall: { k: 10, queries: 200, atLeast: 0.95 }, spotCheck: 100 },
      cutover: { approval: 'none' },
      mapping: { missingVectors: 'refuse', originalId: 'original_id' },
      dryRun: false,
    });
  });

  test.each([
    ['a missing field', { source: shortest.source }, /target/],
    ['a missing collection', { ...shortest, source: { store: 'memory' } }, /source\.collection.*missing/],
    ['a wrong type', { ...shortest, dryRun: 'yes' }, /dryRun.*boolean/],
    ['a field that is not known, since a misspelt option would be ignored', { ...shortest, valdate: {} }, /valdate/],
    [
      'a password in a URL',
      {
        ...shortest,
        source: { store: 'pgvector', collection: 'a', connection: { url: 'postgresql://me:hunter2@db/x' } },
      },
      /source\.connection.*password.*secret/,
    ],
    [
      'a key in a query string',
      { ...shortest, target: { store: 'qdrant', collection: 'a', connection: { url: 'https://db/?api_key=abc' } } },
      /secret/,
    ],
    ['recall above 1', { ...shortest, validate: { recall: { atLeast: 95 } } }, /validate\.recall\.atLeast/],
    [
      'an approval by nobody known',
      { ...shortest, cutover: { approval: 'committee' } },
      /cutover\.approval.*none.*person/,
    ],
    [
      'an approval that would outlast the execution',
      { ...shortest, cutover: { approval: 'person', approvalHours: 241 } },
      /cutover\.approvalHours.*240/,
    ],
    [
      'a canary that leaves readers behind',
      { ...shortest, cutover: { canary: { steps: [{ percent: 50, minutes: 1 }] } } },
      /cutover\.canary\.steps.*100 percent/,
    ],
    [
      'a canary that moves readers back and forth',
      {
        ...shortest,
        cutover: {
          canary: {
            steps: [
              { percent: 50, minutes: 1 },
              { percent: 10, minutes: 1 },
              { percent: 100, minutes: 1 },
            ],
          },
        },
      },
      /cutover\.canary\.steps.*do not rise/,
    ],
    [
      'an overlap to hold without shadow reads that would measure it',
      { ...shortest, cutover: { canary: { shadowPercent: 0 } } },
      /cutover\.canary\.minOverlap.*shadowPercent/,
    ],
    [
      'short steps with the patience of a night, which is nowhere in the event',
      { ...shortest, cutover: { canary: { watchSeconds: 2 } } },
      /watchSeconds 2 needs 19800 looks .* a patience of 600 minutes.* 1500: .*lower patienceMinutes/,
    ],
    [
      'a canary with an alias, which has no share to move',
      { ...shortest, cutover: { pointer: 'articles', canary: {} } },
      /cutover\.pointer.*routing flag/,
    ],
    ['live writes and an alias', { ...shortest, live: true, cutover: { pointer: 'articles' } }, /cutover\.pointer/],
    ['live writes where nothing is moved', { ...shortest, live: true, mode: 'validate' }, /live.*moves none/],
    ['a run id that no S3 key or queue would take', { ...shortest, run: 'a/b' }, /run.*letters/],
    ['no object at all', 'run it', /the event is not valid/],
  ])('with %s is refused by one error that names the field', (_, event, message) => {
    expect(() => parseEvent(event)).toThrow(
      expect.objectContaining({ name: 'InvalidEvent', message: expect.stringMatching(message) }),
    );
  });

  test('with a canary has the defaults that docs/cutover.md gives reasons for', () => {
    const { cutover } = parseEvent({ ...shortest, cutover: { canary: {} } });
    expect(cutover).toMatchObject({
      approvalHours: 72,
      canary: {
        steps: [
          { percent: 1, minutes: 10 },
          { percent: 10, minutes: 10 },
          { percent: 50, minutes: 10 },
          { percent: 100, minutes: 30 },
        ],
        watchSeconds: 30,
        requests: 100,
        maxErrorRate: 0.05,
        shadowPercent: 5,
        patienceMinutes: 600,
      },
    });
    const table = readFileSync('docs/cutover.md', 'utf8');
    const { steps: _, maxP95Ms: __, ...bounds } = cutover?.canary ?? { steps: [], maxP95Ms: 0 };
    for (const [name, value] of Object.entries(bounds)) expect(table).toContain(`| \`${name}\` | ${value} |`);
  });

  test('never repeats a password in its error, since errors are logged', () => {
    const event = {
      ...shortest,
      source: { store: 'pgvector', collection: 'a', connection: { url: 'postgresql://me:hunter2@db/x' } },
    };
    expect(() => parseEvent(event)).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
    );
  });
});

test('a run id is an execution name', () => {
  expect(parseRunId('2026-11-21_nightly')).toBe('2026-11-21_nightly');
  expect(() => parseRunId('x'.repeat(81))).toThrow(/run id/);
});
