import { isLosslessNumber, parse, stringify } from 'lossless-json';
import { type Batch, denseVector, hasVector, type VectorColumn } from '../batch.ts';
import { jsonEqual } from '../compare/json-equal.ts';
import { InvalidEvent, RecordRefused, SchemaMismatch } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import type { Names } from '../event-names.ts';
import type { Plan } from '../run-files.ts';
import type { CollectionSchema, FieldSpec, VectorSpec } from '../schema.ts';
import { fingerprintOf } from './fingerprint.ts';
import { renamesFields, stableName, stableSchema } from './names.ts';
import { readsAs, readsAsId, type SchemaDifference, schemaDifferences } from './schema-differences.ts';

/**
 * Makes records that were read under one schema into records of the run's: what an older shard lacks takes its default, what
 * the run does not know is left out, old names become stable ones, and each is counted. Applied before the mapping by whoever
 * reads a shard or the source, so that import and comparison cannot disagree. docs/names.md.
 */

/** What is said of a batch besides its records: a shard's header has it. */
export interface ReadUnder {
  /** For people: the shard, or the source. */
  readonly where: string;
  readonly schema: CollectionSchema;
  /** fingerprintOf the schema. */
  readonly fingerprint: string;
}

/** Records by field, or vector as `vector 'NAME'`. */
export interface SchemaTally {
  /** Took the default, or null, or are without the vector. */
  readonly defaulted: Readonly<Record<string, number>>;
  /** Held what the run does not know: it was left out. */
  readonly removed: Readonly<Record<string, number>>;
  /** Held it under an old name. */
  readonly renamed: Readonly<Record<string, number>>;
}

export interface Conformed extends SchemaTally {
  readonly batch: Batch;
}

export const noChanges: SchemaTally = { defaulted: {}, removed: {}, renamed: {} };

type Read = Pick<ReadUnder, 'where' | 'schema'>;

/** The plan, as far as it is needed here. */
export type ConformPlan = Pick<Plan, 'event' | 'source' | 'mapping'>;

/** Vectors that are not mapped are never refused for their shape: before there is a plan nothing is. */
export const noMapping: ConformPlan['mapping'] = {
  vectors: {},
  dropFields: [],
  castFields: {},
  ids: 'keep',
  originalId: '',
  missingVectors: 'keep',
};

/**
 * The batch as the run's schema has it; itself where that is the one it was read under.
 * @throws SchemaMismatch naming what differs where no rule of the event accepts it; RecordRefused naming the record whose
 * stable and old name hold two values.
 */
export function conform(batch: Batch, header: ReadUnder, plan: ConformPlan): Conformed {
  // A shard without records says nothing, whatever it would have said it in.
  const change = batch.count === 0 ? undefined : changeFor(header, plan);
  return change === undefined ? { batch, ...noChanges } : change(batch, header.where);
}

type Change = (batch: Batch, where: string) => Conformed;

/** What is to be done is worked out once a schema and plan, not once a batch. */
const changes = new WeakMap<CollectionSchema, Map<string, Change | undefined>>();

function changeFor(header: ReadUnder, plan: ConformPlan): Change | undefined {
  const known = changes.get(plan.source) ?? new Map<string, Change | undefined>();
  changes.set(plan.source, known);
  const { schema: rule } = plan.event.mapping;
  const key = JSON.stringify([header.fingerprint, rule, plan.event.names]);
  if (known.has(key)) return known.get(key);
  const made = makeChange(header, plan);
  known.set(key, made);
  return made;
}

function makeChange(header: ReadUnder, { event, source, mapping }: ConformPlan): Change | undefined {
  const { names } = event;
  const { where, schema: read } = header;
  const schema = stableSchema(read, names, where);
  const isRenamed = schema !== read || renamesFields(names, read);
  if (!isRenamed && header.fingerprint === fingerprintOf(source)) return undefined;
  const isCarried = (vector: string): boolean => mapping.vectors[vector] !== undefined;
  const all = schemaDifferences(schema, source, isCarried);
  // A run in place adds columns to its source by itself, and leaves nothing out of it.
  const differences = event.target.into === 'place' ? all.filter(({ how }) => how !== 'added') : all;
  refuse(differences, where, event, source);
  if (!isRenamed && differences.length === 0) return undefined;
  return (batch, of) => changeBatch(batch, { where: of, schema }, event, source, differences);
}

/** @throws SchemaMismatch with all that no rule accepts. */
function refuse(
  differences: readonly SchemaDifference[],
  where: string,
  { mapping, names, run }: RunEvent,
  source: CollectionSchema,
): void {
  const { accept, defaults } = mapping.schema;
  const isStrict = names?.strict === true;
  const refused = differences.filter(({ what, how, name }) => {
    if (how === 'shape') return true;
    if (how === 'added') return isStrict || (names === undefined && !accept);
    if (!accept) return true;
    const field = source.fields?.find((each) => what === 'field' && each.name === name);
    return how === 'removed' && field?.nullable === false && !Object.hasOwn(defaults, name);
  });
  if (refused.length === 0) return;
  const advice = new Set(refused.map((each) => adviceFor(each, accept, isStrict)));
  const texts = refused.map(({ text }) => text).join('; ');
  const anew = `start ${run === undefined ? 'the run' : `run '${run}'`} under another id, which plans it with the schema of now`;
  throw new SchemaMismatch(
    `${where} was read under another schema than the run's: ${texts}. ${[...advice].join('; ')}; or ${anew}`,
    {
      ids: refused.map(({ name }) => name),
    },
  );
}

function adviceFor({ what, how, name }: SchemaDifference, accept: boolean, isStrict: boolean): string {
  if (how === 'shape')
    return 'No rule accepts vectors of another shape: leave the vector out with mapping.vectors, or move those records by a run of their own';
  const aliases = `names.${what === 'vector' ? 'vectors' : 'fields'} {"STABLE": ["${name}"]} where it is an old name`;
  if (how === 'added' && isStrict) return `Write ${aliases}, or names.strict false to have it skipped and counted`;
  if (accept) return `'${name}' may not be null: write mapping.schema.defaults {"${name}": …}`;
  return 'Write mapping.schema {"accept": true} to take what lacks with the default of mapping.schema.defaults and to skip what is not known, both counted; names.fields where a field has another name only';
}

/** @throws InvalidEvent when a default is of no field of the source, or no value of its type. */
export function refuseDefaults({ mapping }: RunEvent, { fields }: CollectionSchema): void {
  const { accept, defaults } = mapping.schema;
  const given = Object.entries(defaults);
  if (given.length > 0 && !accept)
    throw new InvalidEvent(
      'mapping.schema.defaults are taken where another schema is accepted; write "accept": true beside them',
      { ids: ['mapping.schema'] },
    );
  for (const [name, value] of given) {
    const field = fields?.find((each) => each.name === name);
    if (fields !== undefined && field === undefined) {
      const choices = fields.map((each) => each.name).join(', ') || 'none';
      throw new InvalidEvent(
        `mapping.schema.defaults names '${name}', which the source does not have; its fields are ${choices}`,
        { ids: [name] },
      );
    }
    if (field !== undefined && value !== null && !readsAs(field.type, asLossless(value)))
      throw new InvalidEvent(
        `mapping.schema.defaults.${name} is ${JSON.stringify(value)}, and the field is ${field.type}`,
        { ids: [name] },
      );
  }
}

const asLossless = (value: unknown): unknown => parse(JSON.stringify(value));

type Count = Record<string, number>;
interface Counts {
  readonly defaulted: Count;
  readonly removed: Count;
  readonly renamed: Count;
}

function changeBatch(
  batch: Batch,
  header: Read,
  event: RunEvent,
  source: CollectionSchema,
  differences: readonly SchemaDifference[],
): Conformed {
  const counts: Counts = { defaulted: {}, removed: {}, renamed: {} };
  if (differences.some(({ what }) => what === 'ids')) refuseIds(batch, header, source);
  const vectors = changeVectors(batch, header, event, source, differences, counts);
  const change = payloadChange(header, event, source, counts);
  const payloads = batch.payloads.map((payload, at) => change(payload, batch.ids[at] ?? ''));
  return { batch: { ...batch, vectors, payloads }, ...counts };
}

function refuseIds({ ids }: Batch, { where }: Read, { idType }: CollectionSchema): void {
  const odd = ids.filter((id) => !readsAsId(idType, id));
  if (odd.length === 0) return;
  const text = `${where} has ids that do not read as ${idType}, as the run's do, '${odd[0]}' for one`;
  throw new SchemaMismatch(`${text}; move those records by a run of their own`, { ids: odd });
}

function count(counts: Count, name: string, by = 1): void {
  if (by > 0) counts[name] = (counts[name] ?? 0) + by;
}

const vectorLabel = (name: string): string => `vector '${name}'`;

function changeVectors(
  batch: Batch,
  { where }: Read,
  { names }: RunEvent,
  source: CollectionSchema,
  differences: readonly SchemaDifference[],
  counts: Counts,
): ReadonlyMap<string, VectorColumn> {
  const found = new Map<string, VectorColumn>();
  for (const [name, each] of batch.vectors) {
    const stable = stableName(names, 'vectors', name);
    if (stable !== name) count(counts.renamed, vectorLabel(name), present(each, batch.count));
    const there = found.get(stable);
    found.set(stable, there === undefined ? each : merged(there, each, stable, batch, where));
  }
  for (const { what, how, name } of differences) {
    if (what !== 'vector') continue;
    const column = found.get(name);
    if (how === 'added' && column !== undefined) {
      count(counts.removed, vectorLabel(name), present(column, batch.count));
      found.delete(name);
    }
    const spec = source.vectors.find((each) => each.name === name);
    if (how === 'removed' && column === undefined && spec !== undefined) {
      count(counts.defaulted, vectorLabel(name), batch.count);
      found.set(name, without(spec, batch.count));
    }
  }
  return found;
}

function present({ present: flags }: VectorColumn, records: number): number {
  return flags === undefined ? records : flags.reduce((sum, flag) => sum + flag, 0);
}

/** A column in which no record has a vector. */
function without({ kind, dimension = 0 }: VectorSpec, records: number): VectorColumn {
  const flags = new Uint8Array(records);
  if (kind === 'dense') return { kind, dimension, values: new Float32Array(records * dimension), present: flags };
  const empty = { offsets: new Uint32Array(records + 1), values: new Float32Array(0), present: flags };
  return kind === 'multi' ? { kind, dimension, ...empty } : { kind, indices: new Uint32Array(0), ...empty };
}

/** The vector of either name; a record that has both must have the same. Dense ones only: others have no place for it. */
function merged(
  a: VectorColumn,
  b: VectorColumn,
  name: string,
  { ids, count: records }: Batch,
  where: string,
): VectorColumn {
  if (a.kind !== 'dense' || b.kind !== 'dense' || a.dimension !== b.dimension)
    throw new SchemaMismatch(
      `${where} has vector '${name}' by its stable and an old name, which only dense vectors of one dimension may; leave one out of names.vectors`,
      { ids: [name] },
    );
  const values = a.values.slice();
  const flags = Uint8Array.from(ids, (_, at) => (hasVector(a, at) || hasVector(b, at) ? 1 : 0));
  for (let at = 0; at < records; at++) {
    if (!hasVector(b, at)) continue;
    const other = denseVector(b, at);
    if (hasVector(a, at) && !denseVector(a, at).every((value, i) => value === other[i]))
      throw twoValues(ids[at] ?? '', 'vector', name, where);
    values.set(other, at * a.dimension);
  }
  return { kind: 'dense', dimension: a.dimension, values, ...(flags.includes(0) ? { present: flags } : {}) };
}

function twoValues(id: string, what: string, name: string, where: string): RecordRefused {
  const text = `record '${id}' of ${where} has ${what} '${name}' by its stable and an old name, with two values`;
  return new RecordRefused(`${text}; mend the record, or take the old name out of names`, { ids: [id] });
}

/** A payload with stable names, for a search by them: of two names the later value counts. */
export function stablePayload(text: string, names: Names): string {
  const fields = Object.entries(Object(parse(text))).map(([name, value]) => [stableName(names, 'fields', name), value]);
  return stringify(Object.fromEntries(fields)) ?? '{}';
}

/** What the payloads of a batch are made into. */
interface Fields {
  readonly where: string;
  /** The run's, by name. */
  readonly planned: ReadonlyMap<string, FieldSpec>;
  /** As the records were read under; undefined where none are declared. */
  readonly read: ReadonlyMap<string, FieldSpec> | undefined;
  readonly defaults: ReadonlyMap<string, unknown>;
  readonly counts: Counts;
}

/** A payload of the run's schema from one of the header's. */
function payloadChange(
  { where, schema }: Read,
  { mapping, names }: RunEvent,
  source: CollectionSchema,
  counts: Counts,
): (payload: string, id: string) => string {
  const byName = (specs: readonly FieldSpec[]) => new Map(specs.map((field) => [field.name, field]));
  const fields: Fields | undefined = source.fields && {
    where,
    planned: byName(source.fields),
    read: schema.fields && byName(schema.fields),
    defaults: new Map(Object.entries(mapping.schema.defaults).map(([name, value]) => [name, asLossless(value)])),
    counts,
  };
  return (text, id) => {
    const record: unknown = parse(text);
    if (typeof record !== 'object' || record === null || Array.isArray(record) || isLosslessNumber(record))
      throw new RecordRefused(`the payload of '${id}' in ${where} is not an object`, { ids: [id] });
    const found = new Map<string, unknown>();
    for (const [name, value] of Object.entries(record)) {
      const stable = stableName(names, 'fields', name);
      if (found.has(stable) && !isEqual(found.get(stable), value)) throw twoValues(id, 'field', stable, where);
      if (stable !== name) count(counts.renamed, name);
      found.set(stable, value);
    }
    if (fields !== undefined) {
      leaveOut(found, fields, id);
      takeDefaults(found, fields, id);
    }
    return stringify(Object.fromEntries(found)) ?? '{}';
  };
}

/** What the run does not know goes; what it knows as another type must read as that. */
function leaveOut(found: Map<string, unknown>, { where, planned, read, counts }: Fields, id: string): void {
  for (const [name, value] of found) {
    const type = planned.get(name)?.type;
    if (type === undefined) {
      count(counts.removed, name);
      found.delete(name);
    } else if (type !== read?.get(name)?.type && value !== null && !readsAs(type, value)) {
      throw notOfType(id, name, value, type, where);
    }
  }
}

/** What the header declares and a record lacks was left out by its store, and is no field that came later. */
function takeDefaults(
  found: Map<string, unknown>,
  { where, planned, read, defaults, counts }: Fields,
  id: string,
): void {
  for (const { name, nullable } of planned.values()) {
    if (found.has(name) || read?.has(name) === true) continue;
    // null, as in a table that got the column later.
    const value = defaults.get(name) ?? null;
    if (value === null && !nullable) throw notOfType(id, name, value, 'not null', where);
    count(counts.defaulted, name);
    found.set(name, value);
  }
}

function notOfType(id: string, field: string, value: unknown, type: string, where: string): SchemaMismatch {
  const shown = (stringify(value) ?? '').slice(0, 40);
  const text = `${where}: field '${field}' of record '${id}' is ${shown}, which does not read as ${type}, as the run's schema has it`;
  return new SchemaMismatch(`${text}; start the run under another id, which plans it with the schema of now`, {
    ids: [id],
  });
}

function isEqual(one: unknown, other: unknown): boolean {
  return jsonEqual(stringify(one) ?? 'null', stringify(other) ?? 'null');
}

/** The sum of two tallies. */
export function addChanges(a: SchemaTally, b: SchemaTally): SchemaTally {
  return {
    defaulted: sum(a.defaulted, b.defaulted),
    removed: sum(a.removed, b.removed),
    renamed: sum(a.renamed, b.renamed),
  };
}

function sum(a: Readonly<Count>, b: Readonly<Count>): Count {
  const total = { ...a };
  for (const [name, by] of Object.entries(b)) count(total, name, by);
  return total;
}

export function hasChanges({ defaulted, removed, renamed }: SchemaTally): boolean {
  return [defaulted, removed, renamed].some((each) => Object.keys(each).length > 0);
}
