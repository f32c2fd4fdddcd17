import { parse } from 'lossless-json';
import type { AddedField, CastName, ColumnRule, FieldRule, Mapping } from '../event-mapping.ts';
import { readsAs } from '../schema/schema-differences.ts';
import type { FieldSpec, FieldType } from '../schema.ts';
import { type Problem, type Rule, rulesOf, sourceField, targetsOf } from './compile.ts';

/** What the fields of the target are, where it declares any: the source's, renamed, typed, left out and added as the rules say. */

export interface FieldsInput {
  readonly mapping: Mapping;
  /** undefined: the source declares none, and any record may hold anything. */
  readonly fields: readonly FieldSpec[] | undefined;
  /** True where the source's own types mean the same in the target. */
  readonly keepsNative: boolean;
}

const castTypes: Readonly<Record<CastName, FieldType>> = {
  number: 'float',
  integer: 'integer',
  string: 'text',
  boolean: 'boolean',
  timestamp: 'timestamp',
  date: 'date',
  json: 'json',
  list: 'list',
};

/**
 * Renamed and recast fields stay where they were; what comes out of paths and what is added follows. undefined: the target
 * declares none either. A source without declared fields has declared ones in the target where every field is named:
 * `"others": "drop"`.
 */
export function targetFields({ mapping, fields, keepsNative }: FieldsInput): FieldSpec[] | undefined {
  if (fields === undefined && (mapping.others === 'keep' || Object.keys(mapping.columns).length === 0))
    return undefined;
  const source = fields ?? [];
  const rules = rulesOf(mapping);
  const declared = new Map<string, FieldSpec>();
  const put = (spec: FieldSpec): void => {
    const column = mapping.columns[spec.name];
    declared.set(spec.name, column === undefined ? spec : withColumn(spec, column));
  };
  const place = (rule: Rule): void => {
    for (const spec of outputs(rule, source, keepsNative)) {
      // What goes into an object leaves the field that holds it as it is declared.
      if (!declared.has(spec.name)) put(spec);
    }
  };
  for (const field of source) {
    const rule = rules.find(({ from }) => from === field.name);
    if (rule !== undefined) place(rule);
    else if (mapping.others === 'keep') put(native(field, keepsNative));
  }
  for (const rule of rules) if (!source.some(({ name }) => name === rule.from)) place(rule);
  for (const [to, added] of Object.entries(mapping.add)) {
    const [name = to] = to.split('.');
    if (!declared.has(name)) put({ name, type: to === name ? addedType(added) : 'json', nullable: true });
  }
  return [...declared.values()];
}

function native(field: FieldSpec, keepsNative: boolean): FieldSpec {
  const { native: own, ...rest } = field;
  return own === undefined || !keepsNative ? rest : field;
}

function outputs(each: Rule, source: readonly FieldSpec[], keepsNative: boolean): FieldSpec[] {
  const { from, rule } = each;
  if (rule === null) return [];
  const field = source.find(({ name }) => name === from);
  return targetsOf(each).map((to) => {
    const [name = to] = to === from && field !== undefined ? [to] : to.split('.');
    if (name !== to) return { name, type: 'json', nullable: true };
    if (rule.split !== undefined) return { name, type: rule.split.to === undefined ? 'list' : 'text', nullable: true };
    const type = ruleType(rule, field?.type ?? pathType(from, source));
    // A cast of the event's short form always kept what the source says of nulls.
    const nullable = field?.nullable ?? true;
    const isSame =
      field !== undefined && rule.cast === undefined && rule.values === undefined && rule.patterns === undefined;
    return isSame ? { ...native(field, keepsNative), name } : { name, type, nullable };
  });
}

const pathType = (from: string, source: readonly FieldSpec[]): FieldType => sourceField(from, source)?.type ?? 'json';

function ruleType({ cast, values, patterns, otherwise }: FieldRule, before: FieldType): FieldType {
  if (cast !== undefined) return castTypes[cast];
  if (values === undefined && patterns === undefined) return before;
  const made = [...Object.values(values ?? {}), ...(patterns ?? []).map(({ to }) => to)];
  if (typeof otherwise === 'object') made.push(otherwise.value);
  const types = new Set(made.filter((value) => value !== null).map(scalarType));
  if (otherwise === 'keep') types.add(before);
  return commonType(types);
}

function commonType(types: ReadonlySet<FieldType>): FieldType {
  const [only = 'json', ...others] = types;
  if (others.length === 0) return only;
  return [...types].every((type) => type === 'integer' || type === 'float') ? 'float' : 'json';
}

function scalarType(value: string | number | boolean | null): FieldType {
  if (typeof value === 'boolean') return 'boolean';
  if (typeof value === 'number') return Number.isInteger(value) ? 'integer' : 'float';
  return 'text';
}

function addedType(field: AddedField): FieldType {
  if (!('value' in field)) return 'text';
  const { value } = field;
  if (Array.isArray(value)) return 'list';
  if (typeof value === 'object') return 'json';
  return scalarType(value);
}

function withColumn({ native: own, ...field }: FieldSpec, column: ColumnRule): FieldSpec {
  const { values, maxLength, check } = column;
  const isText = values !== undefined || maxLength !== undefined;
  const type = column.type ?? (isText ? 'text' : field.type);
  const hasOwnType = column.type === undefined && !isText && own !== undefined;
  const made = column.native ?? (maxLength === undefined ? undefined : `varchar(${maxLength})`);
  return {
    ...field,
    type,
    ...(hasOwnType && { native: own }),
    ...(made !== undefined && { native: made }),
    ...(values !== undefined && { values }),
    ...(column.enum !== undefined && { enum: column.enum }),
    ...(check !== undefined && { check }),
  };
}

/** Fields that the event declares and no rule makes: a slip. */
export function unknownColumns(
  { mapping, fields }: FieldsInput,
  made: readonly FieldSpec[] | undefined,
): readonly string[] {
  const { columns } = mapping;
  if (made !== undefined) return Object.keys(columns).filter((name) => !made.some((field) => field.name === name));
  // Any record may have any field there, so a check may be of one that no rule names.
  return fields === undefined ? [] : Object.keys(columns);
}

/** Payload fields of the source -> their names in the target, of those that are there as they were but for the name. */
export function pureRenames(rules: readonly Rule[]): ReadonlyMap<string, string> {
  return new Map(
    rules.flatMap(({ from, rule }) => {
      if (rule === null || rule.to === undefined || !isPure(rule) || rule.to.includes('.')) return [];
      return [[from, rule.to] as const];
    }),
  );
}

const isPure = ({ to: _, ...rest }: FieldRule): boolean => Object.keys(rest).length === 0;

/** Values that the event itself writes into a declared field of another type: a default, or what is added. */
export function misfits(mapping: Mapping, made: readonly FieldSpec[] | undefined): Problem[] {
  const written = [
    ...rulesOf(mapping).flatMap((rule) =>
      rule.rule?.default === undefined
        ? []
        : targetsOf(rule).map((to) => ({
            to,
            value: rule.rule?.default,
            by: `mapping.payload '${rule.from}' has the default`,
          })),
    ),
    ...Object.entries(mapping.add).flatMap(([to, field]) =>
      'value' in field ? [{ to, value: field.value, by: `mapping.add '${to}' has the value` }] : [],
    ),
  ];
  return written.flatMap(({ to, value, by }) => {
    const type = made?.find(({ name }) => name === to)?.type;
    if (type === undefined || value === null || isOfType(value, type)) return [];
    const text = `${by} ${JSON.stringify(value)}, and '${to}' is of type ${type} in the target; correct it, or declare another type with mapping.columns {"${to}": {"type": …}}`;
    return [{ field: to, text }];
  });
}

/** As it stands in a payload. */
const isOfType = (value: unknown, type: FieldType): boolean => readsAs(type, parse(JSON.stringify(value)));
