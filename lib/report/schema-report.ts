import { z } from 'zod';
import type { Loaded, Plan } from '../run-files.ts';
import { addChanges, noChanges } from '../schema/conform.ts';
import { fingerprintOf } from '../schema/fingerprint.ts';
import { plural } from '../words.ts';

/** What the report says of records that were read under another schema than the run's: from the loaded markers. */

const tally = z.int().nonnegative();

export const schemaReportSchema = z.strictObject({
  fingerprint: z.string().describe("Of the run's schema; docs/names.md says what is in it."),
  shards: tally.describe('Shards with records that were changed for it.'),
  changes: z.array(
    z.strictObject({
      name: z.string().describe("A payload field; of a vector, vector 'NAME'."),
      how: z.enum(['defaulted', 'removed', 'renamed']),
      records: tally,
      said: z.string().describe('The same in words.'),
    }),
  ),
});
export type SchemaReport = z.infer<typeof schemaReportSchema>;

/** null where every record had the run's schema when it was read. */
export function schemaReport({ source, event }: Plan, loaded: readonly Loaded[]): SchemaReport | null {
  const changed = loaded.flatMap(({ schema }) => (schema === undefined ? [] : [schema]));
  if (changed.length === 0) return null;
  const total = changed.reduce(addChanges, noChanges);
  const { defaults } = event.mapping.schema;
  const words = {
    defaulted: (name: string) =>
      name.startsWith("vector '")
        ? 'not there in'
        : Object.hasOwn(defaults, name)
          ? 'default taken in'
          : 'null taken in',
    removed: () => 'skipped in',
    renamed: () => 'read under its stable name in',
  };
  const hows = ['defaulted', 'removed', 'renamed'] as const;
  const changes = hows.flatMap((how) =>
    Object.entries(total[how])
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, records]) => {
        const what = name.startsWith("vector '") ? name : `field '${name}'`;
        return { name, how, records, said: `${what}: ${words[how](name)} ${plural(records, 'record')}` };
      }),
  );
  return { fingerprint: fingerprintOf(source), shards: changed.length, changes };
}
