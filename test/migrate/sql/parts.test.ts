import { describe, expect, test } from '@jest/globals';
import { InvalidEvent } from '../../../lib/errors.ts';
import { sqlParts } from '../../../lib/migrate/sql/parts.ts';
import { splitStatements } from '../../../lib/migrate/sql/split.ts';

describe('the up part and the down part of a SQL file', () => {
  test('keep the lines of the file, because messages name them', async () => {
    const { up, down } = sqlParts('-- a table\n-- migrate:up\nSELECT 1;\n\n--migrate:down\r\nSELECT 2;\n', 'x.sql');
    expect(up).not.toContain('SELECT 2');
    expect((await splitStatements(up, 'x.sql')).map(({ text, line }) => [text, line])).toEqual([['SELECT 1', 3]]);
    expect((await splitStatements(down ?? '', 'x.sql')).map(({ text, line }) => [text, line])).toEqual([
      ['SELECT 2', 6],
    ]);
  });

  test('a file without a marker is all up, and has no down', () => {
    expect(sqlParts('SELECT 1;', 'x.sql')).toEqual({ up: 'SELECT 1;', down: undefined, isWhole: false });
  });

  test('a file that says that nothing takes it back has no down either, but is whole', () => {
    const parts = sqlParts('-- migrate:up\nSELECT 1;\n-- migrate:down irreversible\n', 'x.sql');
    expect(parts).toMatchObject({ down: undefined, isWhole: true });
  });

  test.each([
    ['SELECT 1;\n-- migrate:up\n', /^x\.sql:1: SQL before/],
    ['-- migrate:down\nSELECT 1;\n-- migrate:up\n', /^x\.sql:1: .* before '-- migrate:up'/],
    ['-- migrate:up\n-- migrate:up\n', /^x\.sql:2: .*twice/],
    ['-- migrate:up\n-- migrate:dwon\n', /^x\.sql:2: '-- migrate:dwon' is no marker/],
    ['-- migrate:up transaction:false\n', /^x\.sql:1: .*is no marker/],
  ])('refuses %j, for some of it would never run', (text, message) => {
    expect(() => sqlParts(text, 'x.sql')).toThrow(InvalidEvent);
    expect(() => sqlParts(text, 'x.sql')).toThrow(message);
  });
});
