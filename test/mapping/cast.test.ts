import { describe, expect, test } from '@jest/globals';
import { type CastName, castSchema } from '../../lib/event-mapping.ts';
import { castValue, lossOf, type Unit } from '../../lib/mapping/cast.ts';

describe('a cast', () => {
  test.each<[CastName, string, string, Unit?]>([
    ['number', '"12.50"', '12.5'],
    ['number', '12345678901234567890', '12345678901234567000'],
    ['number', '" +.5 "', '0.5'],
    ['number', '-0', '0'],
    ['integer', '"12345678901234567890"', '12345678901234567890'],
    ['integer', '12.0', '12'],
    ['integer', '1e3', '1000'],
    ['integer', '"-007"', '-7'],
    ['integer', '-0', '0'],
    ['string', '12345678901234567890.10', '"12345678901234567890.10"'],
    ['string', 'true', '"true"'],
    ['string', '{"a":[1]}', '"{\\"a\\":[1]}"'],
    ['boolean', '"Yes"', 'true'],
    ['boolean', '"off"', 'false'],
    ['boolean', '1', 'true'],
    ['boolean', 'false', 'false'],
    ['timestamp', '"2026-03-29 01:30:00+01"', '"2026-03-29T00:30:00Z"'],
    ['timestamp', '"2026-03-29"', '"2026-03-29T00:00:00Z"'],
    ['timestamp', '"2026-03-29T01:30:00.5"', '"2026-03-29T01:30:00.500000Z"'],
    ['timestamp', '1774744200', '"2026-03-29T00:30:00Z"', 's'],
    ['timestamp', '1774744200.25', '"2026-03-29T00:30:00.250000Z"', 's'],
    ['timestamp', '"1774744200123"', '"2026-03-29T00:30:00.123000Z"', 'ms'],
    ['timestamp', '-1', '"1969-12-31T23:59:59.999999Z"', 'us'],
    ['date', '"2026-03-29"', '"2026-03-29"'],
    ['date', '"2026-03-29T23:30:00-02:00"', '"2026-03-30"'],
    ['date', '0', '"1970-01-01"', 's'],
    ['json', '"{\\"a\\": 1.10}"', '{"a": 1.10}'],
    ['json', '5', '5'],
    ['list', '"a"', '["a"]'],
    ['list', '"[1, 2]"', '[1, 2]'],
    ['list', '[1]', '[1]'],
  ])('to %s makes of %s %s', (to, raw, made, ...[unit]) => {
    expect(castValue(raw, to, unit)).toBe(made);
    expect(() => JSON.parse(made)).not.toThrow();
  });

  test.each<[CastName, string, RegExp, Unit?]>([
    ['number', '"a lot"', /no number/],
    ['number', '1e400', /no number/],
    ['number', 'true', /no number/],
    ['number', '""', /no number/],
    ['integer', '2.5', /no integer/],
    ['integer', '"1e999999999"', /no integer/],
    ['integer', '[1]', /no integer/],
    ['boolean', '2', /neither true nor false/],
    ['boolean', '"maybe"', /neither/],
    ['timestamp', '1774744200', /"unit": "s", "ms" or "us"/],
    ['timestamp', '"29.03.2026"', /ISO 8601/],
    ['timestamp', '"2026-02-30"', /ISO 8601/],
    ['timestamp', '99999999999999999999', /beyond the years/, 's'],
    ['date', '"soon"', /a date of ISO 8601/],
    ['json', '"{a}"', /no JSON/],
    ['list', '"[1"', /no JSON/],
  ])('to %s refuses %s', (to, raw, why, ...[unit]) => {
    expect(() => castValue(raw, to, unit)).toThrow(why);
  });

  test('leaves null alone, since it is no value', () => {
    for (const to of castSchema.options) expect(castValue('null', to)).toBe('null');
  });

  test('says what is lost: digits past a double, and the time of day of a date', () => {
    expect(lossOf('"0.1"', '0.1', 'number')).toBeUndefined();
    expect(lossOf('12345678901234567890', castValue('12345678901234567890', 'number'), 'number')).toBe('digits');
    expect(lossOf('"2026-03-29T12:00:00Z"', '"2026-03-29"', 'date')).toBe('time of day');
    expect(lossOf('"2026-03-29T00:00:00Z"', '"2026-03-29"', 'date')).toBeUndefined();
    expect(lossOf('"2026-03-29"', '"2026-03-29"', 'date')).toBeUndefined();
  });
});
