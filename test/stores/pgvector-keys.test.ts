import { expect, test } from '@jest/globals';
import type { Column } from '../../lib/stores/pgvector/catalog.ts';
import { keyOfId } from '../../lib/stores/pgvector/source.ts';

const key = (base: string): Column[] => [
  {
    name: 'id',
    native: base,
    type: base,
    base,
    modifier: -1,
    isArray: false,
    isDeterministic: true,
    comment: null,
    notNull: true,
    default: null,
    isGenerated: false,
  },
];

test.each([
  ['int2', '-32768', '32767'],
  ['int4', '-2147483648', '2147483647'],
  ['int8', '-9223372036854775808', '9223372036854775807'],
])('ids of %s go from %s to %s: one beyond is no row, and not an error of the server', (base, from, to) => {
  for (const id of [from, to, '0', '-1', '7']) expect(keyOfId(key(base), id)).toEqual([id]);
  const beyond = [BigInt(from) - 1n, BigInt(to) + 1n, 10n ** 20n].map(String);
  for (const id of [...beyond, '', '1.0', '1e3', ' 7', 'x', "1'}", '7,8'])
    expect(keyOfId(key(base), id)).toBeUndefined();
});

test('what stands within an array literal of UUIDs is a UUID and nothing else', () => {
  const id = '0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0';
  expect(keyOfId(key('uuid'), id)).toEqual([id]);
  for (const other of ['', `${id},${id}`, `${id}}`, `{${id}}`, id.slice(1)]) {
    expect(keyOfId(key('uuid'), other)).toBeUndefined();
  }
});
