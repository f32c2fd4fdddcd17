import { z } from 'zod';
import type { AddedField, FieldRule, Mapping } from '../event-mapping.ts';
import type { Plan } from '../run-files.ts';
import { count, plural } from '../words.ts';
import { rulesOf } from './compile.ts';
import { checkedMappingSchema, mappingFindingSchema } from './mapping-files.ts';

/** A mapping in words, for plans and reports. */

export const mappingReportSchema = z.strictObject({
  rules: z
    .array(z.strictObject({ field: z.string(), what: z.string() }))
    .describe('What becomes of each field that the event names, and which records are left out.'),
  looked: checkedMappingSchema.shape.looked,
  records: checkedMappingSchema.shape.records,
  counted: checkedMappingSchema.shape.counted,
  findings: z.array(mappingFindingSchema).describe('What the plan saw: records dropped, and what others lose.'),
});
export type MappingReport = z.infer<typeof mappingReportSchema>;

/** null where the event's mapping has nothing to say of payloads. */
export function mappingReport({ event, checkedMapping }: Pick<Plan, 'event' | 'checkedMapping'>): MappingReport | null {
  const rules = ruleWords(event.mapping);
  if (rules.length === 0) return null;
  return { rules, ...(checkedMapping ?? { looked: 0, records: 0, counted: [], findings: [] }) };
}

/** One line a rule, in the event's order. */
export function ruleWords(mapping: Mapping): MappingReport['rules'] {
  return [
    ...mapping.records.map(({ name, drop }) => ({
      field: `rule ${name}`,
      what: `drops records with ${JSON.stringify(drop)}`,
    })),
    ...rulesOf(mapping).map(({ from, rule }) => ({ field: from, what: rule === null ? 'left out' : fieldWords(rule) })),
    ...Object.entries(mapping.add).map(([field, how]) => ({ field, what: addedWords(how) })),
    ...(mapping.others === 'drop' ? [{ field: 'all others', what: 'left out' }] : []),
  ];
}

function fieldWords(rule: FieldRule): string {
  const { to, cast, cut, split, unit, values, patterns = [], otherwise = 'refuse' } = rule;
  const rest = typeof otherwise === 'object' ? `become ${JSON.stringify(otherwise.value)}` : otherwiseWords[otherwise];
  const mapped = [
    ...(values === undefined ? [] : [plural(Object.keys(values).length, 'value')]),
    ...(patterns.length === 0 ? [] : [plural(patterns.length, 'pattern')]),
  ];
  const parts = [
    ...(to === undefined ? [] : [`becomes ${to}`]),
    ...(rule.default === undefined ? [] : [`${JSON.stringify(rule.default)} where it is null or not there`]),
    ...(cut === undefined ? [] : [`cut to ${plural(cut, 'character')}`]),
    ...(mapped.length === 0 ? [] : [`${mapped.join(' and ')} mapped, others ${rest}`]),
    ...(cast === undefined ? [] : [`cast to ${cast}${unit === undefined ? '' : ` from ${unit}`}`]),
    ...(split === undefined ? [] : [`split by '${split.by}' into ${split.to?.join(', ') ?? 'a list'}`]),
  ];
  return parts.length === 0 ? 'kept as it is' : parts.join('; ');
}

const otherwiseWords = { refuse: 'refused', keep: 'kept', drop: 'drop their record' };

function addedWords(how: AddedField): string {
  if ('value' in how) return `added: ${JSON.stringify(how.value)}`;
  return 'template' in how ? `added: made of ${how.template}` : `added: ${how.join.join(', ')} joined by '${how.by}'`;
}

/** On what the rules were tried. */
export function lookedWords({
  looked,
  records,
  counted,
}: Pick<MappingReport, 'looked' | 'records' | 'counted'>): string {
  const sample =
    looked === records ? `all ${plural(records, 'record')}` : `${plural(looked, 'record')} of ${count(records)}`;
  const whole = looked === records || counted.length === 0 ? '' : `, and on every value of ${counted.join(', ')}`;
  return `${sample}${whole}`;
}
