import { describe, expect, test } from '@jest/globals';
import type { HistoryEntry } from '../../lib/migrate/port.ts';
import { sqlParts } from '../../lib/migrate/sql/parts.ts';
import { standingsOf } from '../../lib/migrate/standing.ts';

/** What the lines of a history come to. */

let seq = 0;
const line = (number: number, action: HistoryEntry['action'], more: Partial<HistoryEntry> = {}): HistoryEntry => {
  seq += 1;
  return {
    seq,
    number,
    name: `00${number}`,
    checksum: 'c',
    action,
    at: '2026-11-21T00:00:00.000Z',
    by: 'ada',
    milliseconds: 1,
    ...more,
  };
};
const states = (...entries: readonly HistoryEntry[]): Readonly<Record<number, string>> =>
  Object.fromEntries(
    [...standingsOf(entries)].map(([number, { state, statement }]) => [
      number,
      statement === 1 ? state : `${state} from ${statement}`,
    ]),
  );

describe('a number stands', () => {
  test('as its last line says; a failed transaction changes nothing of that', () => {
    expect(states(line(1, 'up'), line(2, 'failed', { as: 'pending' }))).toEqual({ 1: 'applied', 2: 'pending' });
    expect(states(line(1, 'up'), line(1, 'failed', { as: 'pending' }))).toEqual({ 1: 'applied' });
    expect(states(line(1, 'up'), line(1, 'down'))).toEqual({ 1: 'pending' });
  });

  test('half way where it was begun and nothing says how it ended, or its failure left something', () => {
    expect(states(line(1, 'begun up', { statement: 2 }))).toEqual({ 1: 'half from 2' });
    expect(states(line(1, 'begun up', { statement: 2 }), line(1, 'failed', { statement: 2 }))).toEqual({
      1: 'half from 2',
    });
    expect(states(line(1, 'begun up'), line(1, 'failed', { as: 'pending' }))).toEqual({ 1: 'pending' });
    expect(states(line(1, 'up'), line(1, 'begun down'), line(1, 'failed', { as: 'pending' }))).toEqual({
      1: 'applied',
    });
  });

  test('as a person said, and goes on where what was left is cleared away', () => {
    const begun = [line(1, 'begun up', { statement: 2 }), line(1, 'failed', { statement: 2 })];
    expect(states(...begun, line(1, 'repaired', { statement: 2 }))).toEqual({ 1: 'pending from 2' });
    expect(states(...begun, line(1, 'repaired', { as: 'applied' }))).toEqual({ 1: 'applied' });
    expect(states(...begun, line(1, 'repaired', { as: 'forgotten' }))).toEqual({ 1: 'forgotten' });
    expect(
      states(line(1, 'up'), line(1, 'begun down', { statement: 2 }), line(1, 'repaired', { statement: 3 })),
    ).toEqual({ 1: 'applied from 3' });
  });

  test('as it stood at the line that a backup holds, once that is restored, also after another restore', () => {
    const before = [line(1, 'up'), line(2, 'up'), line(2, 'down'), line(1, 'down')];
    expect(states(...before, line(0, 'restored', { standsAt: 2 }))).toEqual({ 1: 'applied', 2: 'applied' });
    expect(states(...before, line(0, 'restored', { standsAt: 2 }), line(0, 'restored', { standsAt: 4 }))).toEqual({
      1: 'pending',
      2: 'pending',
    });
    expect(states(...before, line(0, 'restored', { standsAt: 0 }), line(1, 'up'))).toEqual({ 1: 'applied' });
  });
});

test('what is taken back keeps its lines, and irreversible is told from nothing to take back', () => {
  expect(sqlParts('-- migrate:up\nSELECT 1;\n-- migrate:down\n', 'f').down?.trim()).toBe('');
  expect(sqlParts('-- migrate:up\nSELECT 1;\n-- migrate:down irreversible\n', 'f')).toMatchObject({
    down: undefined,
    isWhole: true,
  });
  expect(() => sqlParts('-- migrate:up\n-- migrate:down irreversible\nSELECT 1;', 'f')).toThrow('f:3: SQL after');
});
