import { parse } from 'lossless-json';
import { RecordRefused } from '../errors.ts';
import { type AddedField, type FieldRule, separatorOf } from '../event-mapping.ts';
import { type Condition, conditionsOf, fieldsMeet } from '../filter.ts';
import { CastRefused, castValue, lossOf, plainText } from './cast.ts';
import { fieldsRead } from './compile.ts';
import type { MappingPlan, MappingRules } from './mapping-files.ts';
import { locate, putAt, type Reading, readingOf, removeAt, type Tree, textOfTree, treeAt, valueAt } from './paths.ts';
import { parseTemplate, textOf } from './template.ts';
import { charactersOf, cutText, leftOut, splitText, valueMap } from './values.ts';

/**
 * Applies a mapping's rules to payloads. Records that a rule drops go first; then every field's rule reads the source's
 * record and writes into the target's, then what is added; last the fields that no rule names are kept or not. So the order
 * of rules never matters, and a record's result hangs on that record alone.
 */

/** What a rule cannot do with a record's value. */
export interface Failure {
  /** As the event names it. */
  readonly field: string;
  /** value: "values" do not take it. cast: the cast does not. place: where it goes something else stands. check: the column's declaration does not. */
  readonly kind: 'value' | 'cast' | 'place' | 'check';
  /** The value as JSON text. */
  readonly value: string;
  /** Goes on from "field 'x' of record 'y'". */
  readonly text: string;
}

/** What a rule does to a value that does not come back. */
export interface Loss {
  readonly field: string;
  readonly kind: 'digits' | 'time of day' | 'text';
}

export interface Outcome {
  /** The rule that leaves the record out. */
  readonly dropped?: string;
  /** '' where it is left out. */
  readonly payload: string;
}

export interface CompiledRules {
  /** @throws RecordRefused */
  apply(payload: string, id: string): Outcome;
  /** The rule that leaves a record out; undefined: none does. Refuses nothing. */
  dropReason(payload: string, id: string): string | undefined;
  /** Everything that is wrong with a record, and what it would lose. */
  inspect(payload: string, id: string): Inspection;
}

export interface Inspection {
  readonly dropped?: string;
  readonly failures: readonly Failure[];
  readonly losses: readonly Loss[];
  /** Fields that are left out and hold something. */
  readonly left: readonly string[];
  /** Fields that rules name and the record does not have; those with a default are made for that. */
  readonly absent: readonly string[];
}

/** The name under which records are counted that a field's `"otherwise": "drop"` leaves out. */
export const fieldRuleName = (field: string): string => `payload.${field}`;

const compiled = new WeakMap<MappingPlan, CompiledRules>();

interface Rules extends Pick<MappingPlan, 'dropFields' | 'castFields'> {
  readonly rules: MappingRules;
}

/** undefined where the mapping has none. */
export function compiledRules(mapping: MappingPlan): CompiledRules | undefined {
  if (mapping.rules === undefined) return undefined;
  const there = compiled.get(mapping) ?? compileRules({ ...mapping, rules: mapping.rules });
  compiled.set(mapping, there);
  return there;
}

class Refused extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.text);
    this.failure = failure;
  }
}

interface Step {
  readonly field: string;
  readonly steps: readonly string[];
  /** What is put where; leftOut: the record goes. @throws Refused */
  run(reading: Reading, at: readonly string[] | undefined, losses?: Loss[]): Puts | typeof leftOut;
  /** True where the step may leave a record out. */
  readonly mayDrop: boolean;
}
type Puts = readonly (readonly [to: readonly string[], value: string])[];

interface Put {
  /** Of the rule, as the event names it. */
  readonly field: string;
  readonly to: readonly string[];
  readonly value: string;
}

/** What is done with a failure: an import ends with it, a plan collects it. */
interface Sink {
  fail(failure: Failure): void;
  readonly losses?: Loss[];
}

/** @param mapping its payload's part, with rules */
export function compileRules({ dropFields, castFields, rules }: Rules): CompiledRules {
  const steps = [
    ...Object.entries(castFields).map(([field, to]) => shortCast(field, to)),
    ...rules.fields.map(({ from, rule }) => fieldStep(from, rule)),
  ];
  const named = new Set([
    ...dropFields,
    ...steps.map(({ field }) => field),
    ...steps.map((step) => step.steps[0] ?? ''),
  ]);
  const added = Object.entries(rules.add).map(([name, field]) => addedStep(name, field));
  const records = rules.records.map(({ name, drop }) => ({ name, conditions: conditionsOf(drop) }));
  const withDefault = rules.fields.flatMap(({ from, rule }) => (rule?.default === undefined ? [] : [from]));
  const reads = [...new Set([...dropFields, ...steps.map(({ field }) => field), ...fieldsRead(rules)])]
    .filter((field) => field !== 'id' && !withDefault.includes(field))
    .map((field) => ({ field, steps: field.split('.') }));
  const droppers = steps.filter(({ mayDrop }) => mayDrop);
  const checks = Object.entries(rules.checks).map(([field, check]) => ({
    field,
    steps: field.split('.'),
    ...check,
    known: check.values && new Set(check.values.map((value) => JSON.stringify(value))),
  }));

  const declared = rules.declared === undefined ? undefined : { names: rules.declared, all: new Set(rules.declared) };

  const droppedByFilter = (reading: Reading): string | undefined =>
    records.find(({ conditions }) => meetsAll(reading, conditions))?.name;

  /** What goes where; fields that have rules are taken from where they were. */
  const putsOf = (reading: Reading, id: string, tree: Tree, sink: Sink): Put[] | { readonly dropped: string } => {
    const puts: Put[] = [];
    for (const step of steps) {
      const place = locate(reading, step.field, step.steps);
      if (place !== undefined) removeAt(tree, place);
      const made = orRefused(() => step.run(reading, place, sink.losses));
      if (made === leftOut) return { dropped: fieldRuleName(step.field) };
      if (made instanceof Refused) sink.fail(made.failure);
      else for (const [to, value] of made) puts.push({ field: step.field, to, value });
    }
    for (const { field, to, make } of added) puts.push({ field, to, value: make(reading, id) });
    return puts;
  };

  const run = (reading: Reading, id: string, sink: Sink): Outcome => {
    const byFilter = droppedByFilter(reading);
    if (byFilter !== undefined) return { dropped: byFilter, payload: '' };
    const tree: Tree = new Map(rules.others === 'keep' ? reading.members : []);
    for (const field of dropFields) tree.delete(field);
    const puts = putsOf(reading, id, tree, sink);
    if ('dropped' in puts) return { ...puts, payload: '' };
    for (const put of puts) {
      const outcome = putAt(tree, put.to, put.value);
      if (outcome !== 'put') sink.fail(placeFailure(put, outcome));
    }
    for (const check of checks) {
      const failure = checkFailure(check, treeAt(tree, check.field, check.steps));
      if (failure !== undefined) sink.fail(failure);
    }
    return { payload: textOfTree(tree, declared) };
  };

  return {
    apply: (payload, id) => {
      const fail = (failure: Failure): never => {
        throw refusal(failure, id);
      };
      return run(readingOf(objectOf(payload, id)), id, { fail });
    },
    dropReason: (payload, id) => {
      if (records.length === 0 && droppers.length === 0) return undefined;
      const reading = readingOf(objectOf(payload, id));
      const byFilter = droppedByFilter(reading);
      if (byFilter !== undefined) return byFilter;
      const dropper = droppers.find(
        (step) => orRefused(() => step.run(reading, locate(reading, step.field, step.steps))) === leftOut,
      );
      return dropper && fieldRuleName(dropper.field);
    },
    inspect: (payload, id) => {
      const failures: Failure[] = [];
      const losses: Loss[] = [];
      const reading = readingOf(objectOf(payload, id));
      const absent = reads.flatMap(({ field, steps: path }) =>
        locate(reading, field, path) === undefined ? [field] : [],
      );
      const { dropped } = run(reading, id, { fail: (failure) => failures.push(failure), losses });
      if (dropped !== undefined) return { dropped, failures: [], losses: [], left: [], absent };
      const isGone = (name: string): boolean =>
        dropFields.includes(name) || (rules.others === 'drop' && !named.has(name));
      const left = [...reading.members].filter(([name, value]) => value !== 'null' && isGone(name));
      return { failures, losses, left: left.map(([name]) => name), absent };
    },
  };
}

function orRefused<T>(work: () => T): T | Refused {
  try {
    return work();
  } catch (error) {
    if (error instanceof Refused) return error;
    throw error;
  }
}

function objectOf(payload: string, id: string): string {
  if (/^\s*\{/.test(payload)) return payload;
  throw new RecordRefused(`the payload of '${id}' is not an object`, { ids: [id] });
}

function refusal({ field, text }: Failure, id: string): RecordRefused {
  return new RecordRefused(`field '${field}' of record '${id}' ${text}`, { ids: [id] });
}

function meetsAll(reading: Reading, conditions: readonly Condition[]): boolean {
  const fields = new Map<string, unknown>();
  for (const { field } of conditions) {
    const place = locate(reading, field, field.split('.'));
    const raw = place && valueAt(reading, place);
    if (raw !== undefined) fields.set(field, JSON.parse(raw));
  }
  return fieldsMeet(conditions, fields);
}

/** A cast in its short form: what is neither a number nor a text stays as it is. */
function shortCast(field: string, to: 'number' | 'string'): Step {
  return {
    field,
    steps: [field],
    mayDrop: false,
    run: (reading, at, losses) => {
      const raw = at && valueAt(reading, at);
      if (at === undefined || raw === undefined) return [];
      if (/^[[{tfn]/.test(raw)) return [[at, raw]];
      return [[at, refusable(field, { cast: to }, raw, losses)]];
    },
  };
}

function fieldStep(field: string, rule: FieldRule | null): Step {
  const steps = field.split('.');
  if (rule === null) return { field, steps, mayDrop: false, run: () => [] };
  const { split } = rule;
  const to = rule.to?.split('.');
  const target = (at: readonly string[] | undefined): readonly string[] => to ?? at ?? steps;
  const initial = rule.default === undefined ? undefined : JSON.stringify(rule.default);
  if (split !== undefined) {
    const by = separatorOf(split.by);
    const into = split.to?.map((path) => path.split('.'));
    return {
      field,
      steps,
      mayDrop: false,
      run: (reading, at) => {
        const raw = at && valueAt(reading, at);
        if (raw === undefined) return [];
        if (raw !== 'null' && !raw.startsWith('"')) {
          throw new Refused({ field, kind: 'cast', value: raw, text: `${shown(raw)} is no text that could be split` });
        }
        if (into === undefined)
          return [[target(at), raw === 'null' ? raw : JSON.stringify(splitText(plainText(raw), by))]];
        const parts = raw === 'null' ? [] : splitText(plainText(raw), by, into.length);
        return into.map((path, nth) => [path, parts[nth] === undefined ? 'null' : JSON.stringify(parts[nth])]);
      },
    };
  }
  const map = valueMap(rule);
  return {
    field,
    steps,
    mayDrop: rule.otherwise === 'drop',
    run: (reading, at, losses) => {
      const raw = at && valueAt(reading, at);
      if (raw === undefined || raw === 'null') {
        const value = initial ?? raw;
        return value === undefined ? [] : [[target(at), value]];
      }
      const cut = rule.cut === undefined ? raw : cutText(raw, rule.cut);
      if (cut !== raw) losses?.push({ field, kind: 'text' });
      const mapped = map === undefined ? cut : map(cut);
      if (mapped === leftOut) return leftOut;
      if (mapped === undefined) throw new Refused(valueFailure(field, cut));
      return [[target(at), refusable(field, rule, mapped, losses)]];
    },
  };
}

function refusable(field: string, { cast, unit }: FieldRule, raw: string, losses?: Loss[]): string {
  if (cast === undefined) return raw;
  try {
    const value = castValue(raw, cast, unit);
    const kind = losses && lossOf(raw, value, cast);
    if (kind !== undefined) losses?.push({ field, kind });
    return value;
  } catch (error) {
    if (!(error instanceof CastRefused)) throw error;
    const next = `correct it in the source, give mapping.payload "${field}" another cast, or have "values" say what it becomes`;
    throw new Refused({ field, kind: 'cast', value: raw, text: `is ${shown(raw)}, which ${error.message}; ${next}` });
  }
}

function valueFailure(field: string, value: string): Failure {
  const next = `add it to mapping.payload "${field}" "values", or say what becomes of others with "otherwise": "keep", "drop" or {"value": …}`;
  return { field, kind: 'value', value, text: `is ${shown(value)}, which no value and no pattern takes; ${next}` };
}

function placeFailure({ field, to, value }: Put, why: 'taken' | 'blocked'): Failure {
  const place = to.join('.');
  const text =
    why === 'taken'
      ? `goes to '${place}', and the record has such a field already; choose another "to", or give that field a rule too`
      : `goes to '${place}', and what stands on the way there is no object; choose another "to", or give that field a rule too`;
  return { field, kind: 'place', value, text };
}

interface Check {
  readonly field: string;
  readonly values?: readonly string[] | undefined;
  readonly known?: ReadonlySet<string> | undefined;
  readonly maxLength?: number | undefined;
}

function checkFailure(
  { field, values, known, maxLength }: Check,
  found: string | Tree | undefined,
): Failure | undefined {
  if (found === undefined || found === 'null') return undefined;
  const raw = typeof found === 'string' ? found : textOfTree(found);
  if (known?.has(raw) === false && values?.includes(plainText(raw)) !== true) {
    const text = `becomes ${shown(raw)}, and mapping.columns gives it the values ${values?.join(', ')}; add it there, or map it to one of them`;
    return { field, kind: 'check', value: raw, text };
  }
  if (maxLength === undefined || raw.length - 2 <= maxLength) return undefined;
  const characters = charactersOf(plainText(raw));
  if (characters <= maxLength) return undefined;
  const text = `has ${characters} characters, and mapping.columns gives it ${maxLength}; raise maxLength, or have it cut with mapping.payload {"cut": ${maxLength}}`;
  return { field, kind: 'check', value: raw, text };
}

interface Added {
  readonly field: string;
  readonly to: readonly string[];
  make(reading: Reading, id: string): string;
}

/** A template or join whose every field is empty makes null: there is nothing that it could say. */
function addedStep(field: string, how: AddedField): Added {
  const to = field.split('.');
  if ('value' in how) {
    const value = JSON.stringify(how.value);
    return { field, to, make: () => value };
  }
  if ('join' in how) {
    const make = (reading: Reading): string => {
      const texts = how.join.map((path) => textOf(parsedAt(reading, path))).filter((text) => text !== '');
      return texts.length === 0 ? 'null' : JSON.stringify(texts.join(how.by));
    };
    return { field, to, make };
  }
  const template = parseTemplate(how.template, `mapping.add.${field}.template`);
  const make = (reading: Reading, id: string): string => {
    const fields = template.fields.map((path) => {
      const value = parsedAt(reading, path);
      return [path, value === undefined && path === 'id' ? id : value] as const;
    });
    const text = template.render(Object.fromEntries(fields));
    return text === '' ? 'null' : JSON.stringify(text);
  };
  return { field, to, make };
}

/** As templates take it: numbers with all their digits. */
function parsedAt(reading: Reading, path: string): unknown {
  const place = locate(reading, path, path.split('.'));
  const raw = place && valueAt(reading, place);
  if (raw === undefined) return undefined;
  return raw.startsWith('"') ? plainText(raw) : parse(raw);
}

/** A value in a message, at most about forty characters. */
export function shown(raw: string): string {
  const text = plainText(raw);
  const short = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  return raw.startsWith('"') ? `'${short}'` : short;
}
