import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { reportSchema, reportSchemaId } from '../../lib/report/report-schema.ts';

/** docs/report.schema.json: `npm run schema` writes it, and a test holds it against the code. */

/** The schema of report.json for those who read it by machine, as a reader meets it: defaults are filled in. */
export function reportJsonSchema(): string {
  const made = z.toJSONSchema(reportSchema, {
    target: 'draft-2020-12',
    io: 'output',
    override: ({ jsonSchema }) => {
      // `format` says it; zod's pattern for dates is 300 characters of leap years.
      if (jsonSchema.format === 'date-time') delete jsonSchema.pattern;
    },
  });
  const { $schema, ...rest } = made;
  const schema = {
    $schema,
    $id: reportSchemaId,
    title: 'vecferry report',
    description:
      'What a run of vecferry did, and whether that is proved. docs/validation.md says what each part means.',
    ...rest,
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

if (import.meta.main) writeFileSync(new URL('../../docs/report.schema.json', import.meta.url), reportJsonSchema());
