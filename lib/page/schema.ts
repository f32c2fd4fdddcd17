import { html, join, type Markup } from '../html.ts';
import type { SchemaReport } from '../report/schema-report.ts';
import { count, plural } from '../words.ts';

/** The part of the page on records that were read under another schema than the run's. */
export function schemaSection(schema: SchemaReport | null): Markup {
  if (schema === null) return html``;
  const words = { defaulted: 'took the default', removed: 'skipped', renamed: 'read under the stable name' };
  const rows = schema.changes.map(
    ({ name, how, records }) =>
      html`<tr><th scope="row">${name}</th><td>${words[how]}</td><td class="number">${count(records)}</td></tr>`,
  );
  return html`<section><h2>Records of another schema</h2><p>${plural(schema.shards, 'shard')} held records that were read under another schema or other names. They were carried as the event’s mapping.schema and names say.</p><div class="scroll" tabindex="0" role="group" aria-label="Records of another schema"><table class="figures"><thead><tr><th scope="col">field or vector</th><th scope="col">what was done</th><th scope="col" class="number">records</th></tr></thead><tbody>${join(rows)}</tbody></table></div></section>`;
}
