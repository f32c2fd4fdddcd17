import type { Condition } from '../filter.ts';
import { joinObject, splitObject } from '../stores/json-members.ts';
import type { MappingPlan } from './mapping-files.ts';
import { parseTemplate } from './template.ts';

/** What a payload field of the source is called in the target, for whoever asks there: filters of searches. */

export type FieldInTarget =
  | { readonly name: string }
  /** Goes on from the field's name and `which`. Nothing there means the same. */
  | { readonly lost: string };

/** Casts in their short form are the caller's matter: some questions can be cast as well. */
export function fieldInTarget({ dropFields, rules }: MappingPlan, field: string): FieldInTarget {
  if (dropFields.includes(field)) return { lost: 'mapping.payload leaves out of the target' };
  const within = rules?.fields.find(({ from }) => from.startsWith(`${field}.`));
  const rule = rules?.fields.find(({ from }) => from === field)?.rule;
  if (rules === undefined || (rule === undefined && within === undefined && rules.others === 'keep'))
    return { name: field };
  if (rule === undefined) {
    return { lost: within === undefined ? '"others": "drop" leaves out of the target' : 'mapping.payload takes apart' };
  }
  if (rule === null) return { lost: 'mapping.payload leaves out of the target' };
  const { to = field, ...changes } = rule;
  if (Object.keys(changes).length > 0) return { lost: 'mapping.payload gives other values' };
  return to.includes('.') && to !== field
    ? { lost: `mapping.payload moves to '${to}', within an object` }
    : { name: to };
}

/** The conditions with the fields' names in the target. They were held against the plan before: what has no name there stays. */
export function conditionsInTarget(mapping: MappingPlan, conditions: readonly Condition[]): readonly Condition[] {
  if (mapping.rules === undefined) return conditions;
  return conditions.map((condition) => {
    const there = fieldInTarget(mapping, condition.field);
    return 'name' in there ? { ...condition, field: there.name } : condition;
  });
}

/**
 * Fields that a source may leave unread: they are left out, and no rule, no filter of records and no text to embed is made
 * of them.
 */
export function unreadFields({ dropFields, rules }: MappingPlan, texts: readonly string[] = []): readonly string[] {
  if (rules === undefined) return dropFields.filter((field) => !isRead(field, texts));
  const added = Object.values(rules.add).flatMap((field) => {
    if ('join' in field) return field.join;
    return 'template' in field ? parseTemplate(field.template, 'mapping.add').fields : [];
  });
  const read = [
    ...texts,
    ...added,
    ...rules.records.flatMap(({ drop }) => Object.keys(drop)),
    ...rules.fields.flatMap(({ from, rule }) => (rule === null ? [] : [from])),
  ];
  return dropFields.filter((field) => !isRead(field, read));
}

const isRead = (field: string, read: readonly string[]): boolean =>
  read.some((each) => each === field || each.startsWith(`${field}.`));

/** Payloads of the target with the source's names, where a rule renames a field and does nothing else to it. */
export function renamedBack(mapping: MappingPlan): ((payload: string) => string) | undefined {
  const renames = mapping.rules?.fields.flatMap(({ from, rule }) => {
    const { to, ...changes } = rule ?? {};
    const isPure = to !== undefined && !to.includes('.') && !from.includes('.') && Object.keys(changes).length === 0;
    return isPure ? [[to, from] as const] : [];
  });
  if (renames === undefined || renames.length === 0) return undefined;
  const back = new Map(renames);
  return (payload) => joinObject([...splitObject(payload)].map(([name, value]) => [back.get(name) ?? name, value]));
}
