import { expect, test } from '@jest/globals';
import { guard } from '../../lib/stores/lancedb/errors.ts';

const failing = (text: string) =>
  guard('indexing', async () => {
    throw new Error(text);
  });

test("a conflict over a table's 403rd version is tried again, and not taken for a refusal of HTTP", async () => {
  const conflict =
    'lance error: Retryable commit conflict for version 403: This Rewrite transaction was preempted by concurrent transaction Update at version 403. Please retry.';
  await expect(failing(conflict)).rejects.toMatchObject({ name: 'StoreUnavailable', retryable: true });
});

test('a refusal of HTTP is one', async () => {
  const refused = 'Generic S3 error: Client error with status 403 Forbidden';
  await expect(failing(refused)).rejects.toMatchObject({ name: 'AccessDenied' });
  await expect(failing('response error, status: 403')).rejects.toMatchObject({ name: 'AccessDenied' });
});
