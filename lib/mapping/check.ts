import { type Batch, sliceBatch } from '../batch.ts';
import { placeOf } from '../cutover/flag.ts';
import { Incompatible } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import type { CollectionSchema, FieldSpec } from '../schema.ts';
import type { FieldValues, Source } from '../stores/port.ts';
import { count, plural } from '../words.ts';
import type { CheckedMapping, MappingFinding, MappingPlan } from './mapping-files.ts';
import { type CompiledRules, compileRules, fieldRuleName, type Inspection, shown } from './rules.ts';

/** Holds a mapping's rules against records that are there, before anything is moved. */

export interface CheckInput {
  readonly mapping: MappingPlan;
  readonly source: Pick<Source, 'ranges' | 'read' | 'values'>;
  /** Of the collection. */
  readonly records: number;
  /** Fields that the source declares, whose names the plan has looked at; left out: any record may hold anything. */
  readonly fields?: readonly FieldSpec[] | undefined;
}

/** The same for a plan. @throws Incompatible naming every value that the rules do not take, with how many records and the first ids */
export async function checkRules(
  { event, source }: { readonly event: RunEvent; readonly source: CheckInput['source'] },
  mapping: MappingPlan,
  { count: records, schema }: { readonly count: number; readonly schema: Pick<CollectionSchema, 'fields'> },
): Promise<CheckedMapping | undefined> {
  const checked = await checkMapping({ mapping, source, records, fields: schema.fields });
  const refused = checked?.findings.filter(({ kind }) => kind === 'refused') ?? [];
  if (refused.length === 0) return checked;
  const texts = refused.map(({ what }) => what);
  throw new Incompatible(`mapping: the records of ${placeOf(event.source)} do not fit: ${texts.join('; ')}`, {
    ids: refused.flatMap(({ ids }) => ids),
  });
}

/** A collection of so few records is looked at whole; of a larger one the first records of twenty ranges. */
const sampleSize = 5000;
const places = 20;
/** Values of a field that are counted one by one: a rule that names more has other trouble. */
const maxValues = 1000;
/** A table of more rows is not counted through for a plan: at some millions of rows a second it would take over ten seconds. */
const maxCounted = 20_000_000;
/** Ids that stand in a message and in the plan. */
const idsNamed = 5;

/**
 * What the rules would refuse, drop and lose. Value maps of a store that can count a field's values are checked against all
 * of them, the rest against a sample. undefined: the mapping has nothing that depends on records.
 */
export async function checkMapping({
  mapping,
  source,
  records,
  fields,
}: CheckInput): Promise<CheckedMapping | undefined> {
  const { dropFields, castFields } = mapping;
  const plain = { records: [], fields: [], add: {}, others: 'keep' as const, checks: {} };
  const mayBeUnmet = fields === undefined && dropFields.length > 0;
  if (mapping.rules === undefined && Object.keys(castFields).length === 0 && !mayBeUnmet) return undefined;
  const rules = compileRules({ dropFields, castFields, rules: mapping.rules ?? plain });
  const tallies = makeTallies();
  const counted = records <= maxCounted ? await countValues(mapping, rules, source.values, tallies) : [];
  let looked = 0;
  let unmet: readonly string[] = [];
  for await (const { ids, payloads } of sampleOf(source, records)) {
    for (const [at, id] of ids.entries()) {
      const inspected = rules.inspect(payloads[at] ?? '{}', id);
      unmet = looked === 0 ? inspected.absent : unmet.filter((field) => inspected.absent.includes(field));
      looked += 1;
      addInspection(tallies, inspected, id, counted);
    }
  }
  const isDeclared = (name: string): boolean => fields?.some((field) => field.name === name) === true;
  const slips = unmet.filter((name) => !isDeclared(name));
  return {
    looked,
    records,
    counted: counted.map(({ field }) => field),
    findings: [...findingsOf(tallies, { looked, records }), ...unmetFindings(slips, { looked, records })],
  };
}

/** A rule whose field nobody has does nothing: of a source that declares no fields nothing else would show that it is a slip. */
function unmetFindings(
  fields: readonly string[],
  { looked, records }: { looked: number; records: number },
): MappingFinding[] {
  const isWhole = looked === records;
  const none = isWhole
    ? `none of all ${plural(records, 'record')} has`
    : `none of ${plural(looked, 'sampled record')} has`;
  return fields.map((field) => ({
    kind: 'unmet',
    field,
    what: `${none} the field '${field}', which the mapping names: see whether it is spelt so`,
    records: looked,
    ids: [],
    isWhole,
  }));
}

async function* sampleOf({ ranges, read }: CheckInput['source'], records: number): AsyncGenerator<Batch> {
  if (records === 0) return;
  const isWhole = records <= sampleSize;
  const all = await ranges({ records: Math.max(1, isWhole ? records : Math.ceil(records / places)) });
  const each = isWhole ? Number.POSITIVE_INFINITY : Math.ceil(sampleSize / Math.max(1, all.length));
  for (const range of all) {
    let left = each;
    for await (const { batch } of read(range, { maxRecords: Math.min(each, 2000), maxBytes: 16 * 1024 * 1024 })) {
      yield batch.count <= left ? batch : sliceBatch(batch, 0, left);
      left -= batch.count;
      if (left <= 0) break;
    }
  }
}

/** A field whose every value was held against its rule, and where it goes. */
interface Counted {
  readonly field: string;
  readonly to: string;
}

async function countValues(
  mapping: MappingPlan,
  rules: CompiledRules,
  values: FieldValues | undefined,
  tallies: Tallies,
): Promise<readonly Counted[]> {
  const counted: Counted[] = [];
  const except = mapping.rules?.records.map(({ drop }) => drop) ?? [];
  for (const { from, rule } of mapping.rules?.fields ?? []) {
    if (rule === null || (rule.values === undefined && rule.patterns === undefined)) continue;
    const found = await values?.distinct(from, { limit: maxValues, except });
    if (found === undefined) continue;
    const to = rule.to ?? from;
    counted.push({ field: from, to });
    for (const { value, records } of found) {
      const inspected = rules.inspect(nested(from.split('.'), value), '');
      const failures = inspected.failures.filter(({ field }) => field === from || field === to);
      const losses = inspected.losses.filter(({ field }) => field === from);
      const dropped = inspected.dropped === fieldRuleName(from) ? { dropped: inspected.dropped } : {};
      const isNamed = failures.length + losses.length > 0 || inspected.dropped !== undefined;
      const ids = isNamed ? await values?.idsWith(from, value, idsNamed) : undefined;
      addTo(tallies, { ...dropped, failures, losses, left: [] }, { records, ids: ids ?? [], isCounted: true });
    }
  }
  return counted;
}

const nested = ([first = '', ...rest]: readonly string[], value: string): string =>
  `{${JSON.stringify(first)}:${rest.length === 0 ? value : nested(rest, value)}}`;

interface Entry {
  readonly kind: Exclude<MappingFinding['kind'], 'unmet'>;
  readonly field: string;
  readonly what: string;
  records: number;
  ids: string[];
  isCounted: boolean;
  /** Values as they are shown -> how many records. */
  readonly values: Map<string, { records: number; ids: string[] }>;
  /** Of the first. */
  readonly text: string;
}
type Tallies = Map<string, Entry>;
const makeTallies = (): Tallies => new Map();

interface Seen {
  readonly records: number;
  readonly ids: readonly string[];
  readonly isCounted: boolean;
}

function addInspection(tallies: Tallies, inspected: Inspection, id: string, counted: readonly Counted[]): void {
  const isKnown = (field: string): boolean => counted.some((each) => each.field === field || each.to === field);
  const { dropped } = inspected;
  if (dropped !== undefined && counted.some(({ field }) => fieldRuleName(field) === dropped)) return;
  const failures = inspected.failures.filter(({ field, kind }) => kind === 'place' || !isKnown(field));
  const losses = inspected.losses.filter(({ field }) => !isKnown(field));
  addTo(tallies, { ...inspected, failures, losses }, { records: 1, ids: [id], isCounted: false });
}

type Found = Omit<Inspection, 'absent'>;

function addTo(tallies: Tallies, { dropped, failures, losses, left }: Found, seen: Seen): void {
  const add = (kind: Entry['kind'], field: string, what: string, value?: string, text = ''): void => {
    const key = JSON.stringify([kind, field, what]);
    const entry = tallies.get(key) ?? {
      kind,
      field,
      what,
      records: 0,
      ids: [],
      isCounted: seen.isCounted,
      values: new Map(),
      text,
    };
    tallies.set(key, entry);
    entry.records += seen.records;
    entry.ids = [...entry.ids, ...seen.ids].slice(0, idsNamed);
    if (value === undefined) return;
    const own = entry.values.get(value) ?? { records: 0, ids: [] };
    own.records += seen.records;
    if (own.ids.length < idsNamed) own.ids = [...own.ids, ...seen.ids].slice(0, idsNamed);
    // What is unlike in every record (texts that no cast takes) is not all remembered.
    if (entry.values.size < maxValues || entry.values.has(value)) entry.values.set(value, own);
  };
  if (dropped !== undefined) add('dropped', dropped, 'dropped');
  for (const { field, kind, value, text } of failures)
    add('refused', field, kind, kind === 'place' ? undefined : shown(value), text);
  for (const { field, kind } of losses) add('lost', field, kind);
  for (const field of left) add('lost', field, 'field');
}

const lossTexts: Readonly<Record<string, string>> = {
  digits: 'are rounded to a double, and lose digits',
  'time of day': 'become a date, and lose their time of day',
  text: 'are longer than "cut" allows, and lose their end',
  field: 'are left out',
};

function findingsOf(tallies: Tallies, { looked, records }: { looked: number; records: number }): MappingFinding[] {
  const ofText = (isCounted: boolean): string =>
    isCounted || looked === records ? `of all ${plural(records, 'record')}` : `of ${plural(looked, 'sampled record')}`;
  return [...tallies.values()].map((entry) => {
    const { kind, field, what, ids, isCounted } = entry;
    const of = `${count(entry.records)} ${ofText(isCounted)}`;
    const first = ids.length === 0 ? '' : `; first ids ${ids.join(', ')}`;
    const texts = {
      dropped: () => `rule '${field}' leaves out ${of}${first}`,
      lost: () => `values of '${field}' ${lossTexts[what] ?? what}: ${of}${first}`,
      refused: () => `'${field}': ${of} ${refusedText(entry)}`,
    };
    return { kind, field, what: texts[kind](), records: entry.records, ids, isWhole: isCounted || looked === records };
  });
}

/** Values that a message names. */
const valuesNamed = 10;

function refusedText({ what, values, ids, text }: Entry): string {
  const next = text.slice(text.indexOf('; ') + 2);
  if (what === 'place')
    return `cannot be carried: ${text.slice(0, text.indexOf('; '))}, first ids ${ids.join(', ')}; ${next}`;
  const largest = [...values].sort((a, b) => b[1].records - a[1].records);
  const named = largest
    .slice(0, valuesNamed)
    .map(([value, { records, ids: own }]) => `${value} (${plural(records, 'record')}, first ids ${own.join(', ')})`);
  const more = largest.length > valuesNamed ? ` and ${count(largest.length - valuesNamed)} more` : '';
  const whats: Readonly<Record<string, string>> = {
    value: 'hold a value that no value and no pattern takes',
    cast: 'hold a value that its cast does not take',
    check: 'get a value that mapping.columns does not allow',
  };
  return `${whats[what] ?? what}: ${named.join(', ')}${more}; ${next}`;
}
