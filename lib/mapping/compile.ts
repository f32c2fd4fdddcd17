import type { RunEvent } from '../event.ts';
import type { AddedField, FieldRule, Mapping } from '../event-mapping.ts';
import type { FieldSpec, FieldType } from '../schema.ts';
import type { MappingPlan, MappingRules } from './mapping-files.ts';
import { parseTemplate } from './template.ts';

/** Turns the event's words about payloads into the plan's, and finds what could never work. */

export interface Problem {
  readonly field: string;
  readonly text: string;
}

export type PayloadMapping = Pick<MappingPlan, 'dropFields' | 'castFields' | 'rules'>;

export interface CompileInput {
  readonly event: RunEvent;
  /** Fields that the source declares; undefined: any record may hold anything. */
  readonly fields: readonly FieldSpec[] | undefined;
  /** Fields that the target declares, by the plan or by itself. */
  readonly declared?: readonly FieldSpec[] | undefined;
}

/** One rule of the event in its long form. */
export interface Rule {
  readonly from: string;
  readonly rule: FieldRule | null;
}

/**
 * Fields that are left out or cast, and nothing else, have their old places: such a run's payloads are not taken apart for
 * rules.
 */
export function compilePayload({ event, fields: source = [], declared }: CompileInput): PayloadMapping {
  const { payload, add, others, records } = event.mapping;
  const isNamed = (name: string): boolean => !name.includes('.') || event.mapping.payload[name] === undefined;
  const dropFields = Object.keys(payload).filter((name) => payload[name] === null && isNamed(name));
  // Said by name, so that a source that can leaves them unread.
  if (others === 'drop') dropFields.push(...source.flatMap(({ name }) => (payload[name] === undefined ? [name] : [])));
  const castFields: Record<string, 'number' | 'string'> = {};
  const fields: Rule[] = [];
  for (const [from, rule] of Object.entries(payload)) {
    if (rule === 'number' || rule === 'string') castFields[from] = rule;
    else if (rule === null) {
      if (!dropFields.includes(from)) fields.push({ from, rule });
    } else fields.push({ from, rule: typeof rule === 'string' ? { cast: rule } : rule });
  }
  const checks = checksOf(event.mapping);
  const plain = { dropFields, castFields };
  const hasRules = [fields, Object.keys(add), records, Object.keys(checks)].some(({ length }) => length > 0);
  if (!hasRules && others === 'keep') return plain;
  const rules: MappingRules = { records, fields, add, others, checks };
  return { ...plain, rules: declared === undefined ? rules : { ...rules, declared: declared.map(({ name }) => name) } };
}

function checksOf({ columns }: Mapping): MappingRules['checks'] {
  return Object.fromEntries(
    Object.entries(columns).flatMap(([name, { values, maxLength }]) => {
      if (values === undefined && maxLength === undefined) return [];
      return [[name, { ...(values && { values }), ...(maxLength !== undefined && { maxLength }) }] as const];
    }),
  );
}

/** The event's rules in their long form, casts among them. */
export function rulesOf({ payload }: Mapping): Rule[] {
  return Object.entries(payload).map(([from, rule]) => ({
    from,
    rule: typeof rule === 'string' ? { cast: rule } : rule,
  }));
}

/** Where a rule writes: its own place, another, or several. */
export function targetsOf({ from, rule }: Rule): readonly string[] {
  if (rule === null) return [];
  return rule.split?.to ?? [rule.to ?? from];
}

/** Fields of the source that are read for others: by templates, joins and filters. */
export function fieldsRead({ add, records }: Pick<Mapping, 'add' | 'records'>): readonly string[] {
  const added = Object.values(add).flatMap(inputsOf);
  return [...added, ...records.flatMap(({ drop }) => Object.keys(drop))];
}

function inputsOf(field: AddedField): readonly string[] {
  if ('join' in field) return field.join;
  return 'template' in field ? parseTemplate(field.template, 'mapping.add').fields : [];
}

/** Everything in the rules that could never work. `fields` names the source's, to hold the rules' own against. */
export function ruleProblems({ event, fields }: CompileInput): Problem[] {
  const rules = rulesOf(event.mapping);
  return [
    ...unknownFields(event, fields),
    ...sourceOverlaps(rules),
    ...targetOverlaps(event.mapping, rules, fields),
    ...valueProblems(rules),
    ...columnProblems(event.mapping),
  ];
}

/** A field of that very name, or of the path's first step where that may hold an object. */
export function sourceField(name: string, fields: readonly FieldSpec[]): FieldSpec | undefined {
  const own = fields.find((field) => field.name === name);
  if (own !== undefined || !name.includes('.')) return own;
  return fields.find((field) => field.name === name.split('.')[0]);
}

const objects: readonly FieldType[] = ['json'];

function unknownFields({ mapping }: RunEvent, fields: readonly FieldSpec[] | undefined): Problem[] {
  if (fields === undefined) return [];
  const names = fields.map(({ name }) => name).join(', ') || 'no fields';
  const asked = [
    ...Object.keys(mapping.payload).map((name) => ['mapping.payload', name] as const),
    ...Object.entries(mapping.add).flatMap(([to, field]) =>
      inputsOf(field).flatMap((name) =>
        name === 'id' && 'template' in field ? [] : [[`mapping.add.${to}`, name] as const],
      ),
    ),
    ...mapping.records.flatMap(({ name: rule, drop }) =>
      Object.keys(drop).map((name) => [`mapping.records '${rule}'`, name] as const),
    ),
  ];
  return asked.flatMap(([where, name]) => {
    const field = sourceField(name, fields);
    if (field === undefined) return [{ field: name, text: `${where} names '${name}', but the source has ${names}` }];
    if (field.name === name || objects.includes(field.type)) return [];
    const text = `${where} names '${name}', and '${field.name}' is of type ${field.type} in the source, which has nothing within it`;
    return [{ field: name, text }];
  });
}

const isWithin = (path: string, other: string): boolean => path.startsWith(`${other}.`);

/** A rule for an object and one for what is in it: both would have the value. */
function sourceOverlaps(rules: readonly Rule[]): Problem[] {
  return rules.flatMap(({ from, rule }) => {
    const outer = rules.find((each) => isWithin(from, each.from) && each.rule !== null && rule !== null);
    if (outer === undefined) return [];
    const text = `mapping.payload has a rule for '${outer.from}' and one for '${from}' within it: both would carry the value; leave one out, or set '${outer.from}' to null`;
    return [{ field: from, text }];
  });
}

/** Two that write one field, or one within what the other writes; and fields that stay where something else is written. */
function targetOverlaps(mapping: Mapping, rules: readonly Rule[], fields: readonly FieldSpec[] | undefined): Problem[] {
  const written = [
    ...rules.flatMap((rule) => targetsOf(rule).map((to) => ({ to, by: `mapping.payload '${rule.from}'` }))),
    ...Object.keys(mapping.add).map((to) => ({ to, by: `mapping.add '${to}'` })),
  ];
  const problems = written.flatMap(({ to, by }, at) => {
    const other = written.find(
      (each, nth) => nth < at && (each.to === to || isWithin(to, each.to) || isWithin(each.to, to)),
    );
    if (other === undefined) return [];
    const where = other.to === to ? `the field '${to}'` : `the fields '${other.to}' and '${to}', one within the other`;
    return [{ field: to, text: `${other.by} and ${by} write ${where} of the target; give one another name` }];
  });
  const stays =
    mapping.others === 'keep' ? (fields ?? []).filter(({ name }) => mapping.payload[name] === undefined) : [];
  for (const { to, by } of written) {
    const [first = ''] = to.split('.');
    const kept = stays.find(({ name }) => name === to || name === first);
    if (kept === undefined) continue;
    // A rule for what is in a field leaves the field itself where it is.
    if (kept.name === to && !rules.some(({ from }) => from === to)) {
      const text = `${by} writes '${to}', and the source's field of that name stays; rename that one or leave it out with mapping.payload {"${to}": null}`;
      problems.push({ field: to, text });
    } else if (kept.name !== to && !objects.includes(kept.type)) {
      const text = `${by} writes '${to}', and '${kept.name}' is of type ${kept.type}, which has nothing within it; choose another name`;
      problems.push({ field: to, text });
    }
  }
  return problems;
}

/** Values and patterns that can never be reached are slips. */
function valueProblems(rules: readonly Rule[]): Problem[] {
  return rules.flatMap(({ from, rule }) => {
    const likes = rule?.patterns?.map(({ like }) => like.toLowerCase()) ?? [];
    const all = likes.indexOf('%');
    if (all < 0 || all === likes.length - 1) return [];
    const text = `mapping.payload '${from}' has the pattern "%" before others, which are never reached; put it last`;
    return [{ field: from, text }];
  });
}

/** What `values` may make must be among what `columns` allows. */
function columnProblems(mapping: Mapping): Problem[] {
  return rulesOf(mapping).flatMap((each) => {
    const { rule, from } = each;
    const [to = ''] = targetsOf(each);
    const allowed = mapping.columns[to]?.values;
    if (rule === null || allowed === undefined) return [];
    const otherwise = typeof rule.otherwise === 'object' ? [rule.otherwise.value] : [];
    const mapped = [
      ...Object.values(rule.values ?? {}),
      ...(rule.patterns ?? []).map((pattern) => pattern.to),
      ...otherwise,
    ];
    const wrong = [...new Set(mapped)].filter((value) => value !== null && !allowed.includes(String(value)));
    if (wrong.length === 0) return [];
    const text = `mapping.payload '${from}' makes ${wrong.map((value) => `'${value}'`).join(', ')}, and mapping.columns gives '${to}' the values ${allowed.join(', ')}; add them there, or correct the rule`;
    return [{ field: from, text }];
  });
}
