import { z } from 'zod';
import { Incompatible } from './errors.ts';
import type { RunEvent } from './event.ts';
import { compilePayload, ruleProblems } from './mapping/compile.ts';
import { misfits, targetFields, unknownColumns } from './mapping/fields.ts';
import { fitDimension } from './mapping/fit-dimensions.ts';
import { followingDefaults, followingIndexes } from './mapping/followers.ts';
import type { MappingPlan } from './mapping/mapping-files.ts';
import type { CollectionSchema, FieldSpec, VectorIndex, VectorSpec } from './schema.ts';
import type { Capabilities, Description, StoreKind } from './stores/port.ts';

/**
 * Works out how the source's collection becomes the target's: the only place that reads capabilities to refuse. What does
 * not fit is refused with the field, the value and the choices the event has; what is carried in another form is a note.
 */

export interface Fit {
  readonly target: CollectionSchema;
  readonly mapping: MappingPlan;
  readonly notes: readonly string[];
}

/** The source as the target is made from it. */
export interface FitSource extends Description {
  /** The vector that a model makes, which `schema` has as it will be. */
  readonly madeVector?: string;
}

interface FitInput {
  readonly source: FitSource;
  readonly target: StoreKind;
  readonly event: RunEvent;
}

/** What is found while fitting: everything is looked at before anything is refused, so one try shows all there is to mend. */
interface Findings {
  readonly problems: { readonly field: string; readonly text: string }[];
  readonly notes: string[];
}

/** @throws Incompatible with every problem found. */
export function fitCollection({ source, target, event }: FitInput): Fit {
  const found: Findings = { problems: [], notes: [] };
  const { schema } = source;
  const vectors = fitVectors(source, target, event, found);
  const fields = fitFields(schema, target, event, found);
  const mapping: MappingPlan = {
    vectors: Object.fromEntries(vectors.map(({ from, spec }) => [from, spec.name])),
    ...truncated(vectors),
    ...compilePayload({ event, fields: schema.fields, declared: fields }),
    ids: target.capabilities.ids.string === false ? 'uuid5' : 'keep',
    originalId: event.mapping.originalId,
    missingVectors: event.mapping.missingVectors === 'skip' ? 'skip' : 'keep',
  };
  const targetSchema: CollectionSchema = {
    store: target.name,
    ...fitIds(schema, target, event, found),
    vectors: vectors.map(({ spec }) => spec),
    ...(fields === undefined ? {} : { fields }),
    ...fitNative(schema, event, mapping.vectors, target, found),
  };
  if (found.problems.length > 0) {
    const texts = found.problems.map(({ text }) => text);
    throw new Incompatible(`${target.title} cannot hold this collection: ${texts.join('; ')}`, {
      ids: found.problems.map(({ field }) => field),
    });
  }
  return { target: targetSchema, mapping, notes: found.notes };
}

/** The store whose own words (types, index definitions) stand in the schema. */
export function originOf(schema: CollectionSchema): string {
  return schema.origin ?? schema.store;
}

interface FittedVector {
  readonly from: string;
  readonly spec: VectorSpec;
  /** Floats that are kept of each. */
  readonly truncate?: number;
}

function truncated(vectors: readonly FittedVector[]): Pick<MappingPlan, 'truncate'> {
  const cut = vectors.flatMap(({ spec, truncate }) => (truncate === undefined ? [] : [[spec.name, truncate] as const]));
  return cut.length === 0 ? {} : { truncate: Object.fromEntries(cut) };
}

/** Lists of whole numbers are payload in files, since they may be anything; so is what an empty file would have held. */
function inFiles({ schema }: FitSource): string {
  if (schema.store !== 'files' || schema.vectors.length > 0) return '';
  return '; its files hold no list of numbers with a fraction: options {"vectors": ["COLUMN"]} (import --vectors COLUMN) takes lists of whole numbers too';
}

function fitVectors(source: FitSource, target: StoreKind, event: RunEvent, found: Findings): FittedVector[] {
  const { vectors } = source.schema;
  for (const name of Object.keys(event.mapping.vectors)) {
    if (vectors.some((vector) => vector.name === name)) continue;
    const names = vectors.map((vector) => `'${vector.name}'`).join(', ');
    found.problems.push({
      field: name,
      text: `mapping.vectors names '${name}', but the source has ${names || 'no vectors'}`,
    });
  }
  const kept = vectors.filter(({ name }) => event.mapping.vectors[name] !== null);
  if (kept.length === 0)
    found.problems.push({
      field: 'vectors',
      text: `no vector is left to move; the source must have one that the mapping keeps${inFiles(source)}`,
    });
  if (kept.length > 1 && !target.capabilities.severalVectors) {
    const names = kept.map(({ name }) => `'${name}'`).join(', ');
    const text = `a record has one vector there and the source has ${names}; leave all but one out with mapping.vectors {"NAME": null}`;
    found.problems.push({ field: 'vectors', text });
  }
  const fitted = kept.map((vector) => fitVector(vector, kept, source, target, event, found));
  const names = fitted.map(({ spec }) => spec.name);
  for (const name of new Set(names.filter((each, at) => names.indexOf(each) !== at))) {
    found.problems.push({
      field: name,
      text: `two vectors would be named '${name}'; give one another name with mapping.vectors {"NAME": {"to": …}}`,
    });
  }
  return fitted;
}

function fitVector(
  vector: VectorSpec,
  all: readonly VectorSpec[],
  source: FitSource,
  target: StoreKind,
  event: RunEvent,
  found: Findings,
): FittedVector {
  const { capabilities } = target;
  const { name, kind } = vector;
  const wanted = event.mapping.vectors[name] ?? {};
  const refuse = (text: string): void => {
    found.problems.push({ field: name, text: `vector '${name}' ${text}` });
  };
  const { dimension, truncate, problem, note } = fitDimension(vector, wanted.dimensions, source.madeVector === name);
  if (problem !== undefined) refuse(problem);
  if (note !== undefined) found.notes.push(`vector '${name}': ${note}`);
  const leaveOut = `leave it out with mapping.vectors {"${name}": null}`;
  if (!capabilities.vectorKinds.includes(kind))
    refuse(`is ${kind} and the store holds ${capabilities.vectorKinds.join(', ')} vectors; ${leaveOut}`);
  if (kind !== 'sparse' && dimension !== undefined && dimension > capabilities.maxDimension) {
    refuse(`has ${dimension} dimensions and the store holds at most ${capabilities.maxDimension}; ${leaveOut}`);
  }
  const distance = wanted.distance ?? vector.distance ?? capabilities.defaultDistance;
  if (kind !== 'sparse' && !capabilities.distances.includes(distance)) {
    const choices = capabilities.distances.join(', ');
    refuse(
      `uses distance ${distance} and the store has ${choices}; choose with mapping.vectors {"${name}": {"distance": …}}`,
    );
  }
  if (vector.distance === undefined && wanted.distance === undefined && kind !== 'sparse') {
    found.notes.push(
      `vector '${name}': the source names no distance; ${distance} is taken (mapping.vectors.${name}.distance chooses another)`,
    );
  }
  fitMissing(vector, source, target, event, found);
  const precision = fitPrecision(vector, wanted.precision, source.schema, target, found);
  const spec: VectorSpec = {
    name: targetName(vector, all, source.schema, target, wanted.to),
    kind,
    ...(dimension === undefined ? {} : { dimension }),
    ...(kind === 'sparse' && vector.distance === undefined ? {} : { distance }),
    precision,
    ...(vector.nullable === undefined ? {} : { nullable: vector.nullable }),
    ...(vector.model === undefined ? {} : { model: vector.model }),
    ...fitIndex({ ...vector, dimension }, { precision, wanted: wanted.index }, source.schema, target, found),
  };
  return { from: name, spec, ...(truncate !== undefined && { truncate }) };
}

/** A vector that stands alone takes the name an application of the target expects; otherwise names stay. */
function targetName(
  vector: VectorSpec,
  all: readonly VectorSpec[],
  schema: CollectionSchema,
  target: StoreKind,
  to: string | undefined,
): string {
  const { defaultVectorName } = target.capabilities;
  if (to !== undefined) return to;
  const isSameStore = originOf(schema) === target.name || target.name === 'files' || target.name === 'memory';
  if (isSameStore) return vector.name;
  if (all.length === 1 && vector.kind === 'dense' && defaultVectorName !== undefined) return defaultVectorName;
  return vector.name === '' ? defaultVectorName || 'embedding' : vector.name;
}

function fitMissing(
  { name }: VectorSpec,
  source: Description,
  target: StoreKind,
  event: RunEvent,
  found: Findings,
): void {
  const missing = source.withoutVector?.[name] ?? 0;
  if (missing === 0) return;
  const count = `${missing} of ${source.count} records have no vector '${name}'`;
  if (event.mapping.missingVectors === 'skip') found.notes.push(`${count}; they are left out and listed in the report`);
  else if (target.capabilities.missingVectors) found.notes.push(`${count}; they are moved without it`);
  else {
    const text = `${count} and the store needs one; mapping {"missingVectors": "skip"} leaves them out and lists them`;
    found.problems.push({ field: name, text });
  }
}

function fitPrecision(
  { name, precision }: VectorSpec,
  wanted: VectorSpec['precision'] | undefined,
  schema: CollectionSchema,
  target: StoreKind,
  found: Findings,
): VectorSpec['precision'] {
  const { precisions } = target.capabilities;
  // A float32 holds every lesser float: files say what the source had, so that the next store can have it again.
  if (wanted === undefined && keepsNative(schema, target)) return precision;
  if (wanted !== undefined && !precisions.includes(wanted)) {
    found.problems.push({
      field: name,
      text: `vector '${name}' is asked for as ${wanted} and the store has ${precisions.join(', ')}`,
    });
  }
  const chosen = wanted ?? (precisions.includes(precision) ? precision : 'float32');
  if (chosen !== precision) found.notes.push(`vector '${name}' is kept as ${chosen}; in the source it is ${precision}`);
  return chosen;
}

function fitIndex(
  { name, kind, dimension = 0, index }: VectorSpec,
  { precision, wanted }: Pick<VectorSpec, 'precision'> & { readonly wanted: VectorIndex | undefined },
  schema: CollectionSchema,
  target: StoreKind,
  found: Findings,
): { index?: VectorIndex } {
  const { capabilities } = target;
  const limit = capabilities.maxIndexedDimension?.[precision];
  if (kind === 'dense' && limit !== undefined && dimension > limit) {
    found.notes.push(
      `vector '${name}' has ${dimension} dimensions and an index there takes ${limit}: it is stored without one, and searched exactly`,
    );
    return { index: { kind: 'none' } };
  }
  if (wanted !== undefined) {
    const isKnown = wanted.kind === 'none' || (wanted.kind !== 'other' && capabilities.indexes.includes(wanted.kind));
    const choices = [...capabilities.indexes, 'none'].join(', ');
    if (!isKnown)
      found.problems.push({
        field: name,
        text: `vector '${name}' is asked for an index of kind ${wanted.kind} and the store has ${choices}`,
      });
    return { index: wanted };
  }
  if (index === undefined) return {};
  if (index.kind === 'none' || originOf(schema) === target.name) return { index };
  if (index.kind !== 'other' && capabilities.indexes.includes(index.kind)) return { index };
  const what = index.kind === 'other' ? index.name : index.kind;
  found.notes.push(`vector '${name}': its ${what} index has no counterpart there; the store's default index is made`);
  return {};
}

function fitFields(
  schema: CollectionSchema,
  target: StoreKind,
  event: RunEvent,
  found: Findings,
): FieldSpec[] | undefined {
  const { payload } = target.capabilities;
  const { fields } = schema;
  if (!payload.any && fields?.length !== 0) {
    found.problems.push({
      field: 'payload',
      text: 'the store has no place for a payload; leave every field out with mapping.payload',
    });
  }
  found.problems.push(...ruleProblems({ event, fields }));
  const input = { mapping: event.mapping, fields, keepsNative: keepsNative(schema, target) };
  const made = targetFields(input);
  for (const name of unknownColumns(input, made)) {
    const text = `mapping.columns names '${name}', which no field of the target is; those are ${made?.map((field) => field.name).join(', ')}`;
    found.problems.push({ field: name, text });
  }
  found.problems.push(...misfits(event.mapping, made));
  noteUndeclared(event, made, found);
  for (const { name, type } of made ?? []) {
    if (!payload.types.includes(type))
      found.notes.push(`field '${name}' (${type}) has no type of its own there; it is carried as JSON`);
    if (type === 'decimal' && !payload.types.includes('decimal') && event.mapping.payload[name] === undefined) {
      found.notes.push(
        `field '${name}': decimals of more than 15 digits are carried as text; mapping.payload {"${name}": "number"} rounds them to a double`,
      );
    }
  }
  return made;
}

/** Types of columns mean nothing where the target has none; what they hold texts to is held all the same. */
function noteUndeclared({ mapping }: RunEvent, made: readonly FieldSpec[] | undefined, found: Findings): void {
  const typed = Object.entries(mapping.columns).filter(([, { values, maxLength, ...types }]) => {
    return Object.keys(types).length > 0;
  });
  if (made !== undefined || typed.length === 0) return;
  const names = typed.map(([name]) => `'${name}'`).join(', ');
  found.notes.push(
    `mapping.columns declares ${names}, and the source's records may have any field: with "others": "keep" the target declares none; name the fields to keep and set others to "drop" to have columns`,
  );
}

/** Files and memory keep another store's words for whoever reads them next. */
function keepsNative(schema: CollectionSchema, target: StoreKind): boolean {
  return originOf(schema) === target.name || target.name === 'files' || target.name === 'memory';
}

function fitNative(
  schema: CollectionSchema,
  event: RunEvent,
  names: Readonly<Record<string, string>>,
  target: StoreKind,
  found: Findings,
): Pick<CollectionSchema, 'payloadIndexes' | 'native' | 'origin'> {
  const origin = originOf(schema);
  if (keepsNative(schema, target)) {
    const { kept, lost } = followingIndexes(schema.payloadIndexes, event.mapping);
    if (lost.length > 0) {
      const which = lost.map((field) => `'${field}'`).join(', ');
      found.notes.push(
        `payload indexes on ${which} are not made: what they index is left out or becomes something else`,
      );
    }
    return {
      payloadIndexes: kept,
      native: followingDefaults(renameVectors(schema, names), event.mapping),
      ...(origin === target.name ? {} : { origin }),
    };
  }
  const indexed = schema.payloadIndexes.map(({ field }) => field);
  if (indexed.length > 0) {
    found.notes.push(
      `payload indexes on ${indexed.join(', ')} are ${origin}'s own and do not carry over; set them in target.options`,
    );
  }
  const settings = Object.keys(schema.native);
  if (settings.length > 0)
    found.notes.push(
      `settings ${settings.join(', ')} are ${origin}'s own and do not carry over; set them in target.options`,
    );
  return { payloadIndexes: [], native: {} };
}

/** Settings that stand by a vector's name follow it; those of a vector that is left out go with it. */
function renameVectors(
  { native, vectors }: CollectionSchema,
  names: Readonly<Record<string, string>>,
): CollectionSchema['native'] {
  const own = new Set(vectors.map(({ name }) => name));
  const rename = (setting: unknown): unknown => {
    const byName = z.record(z.string(), z.record(z.string(), z.unknown())).safeParse(setting).data;
    if (byName === undefined || !Object.keys(byName).every((name) => own.has(name))) return setting;
    return Object.fromEntries(
      Object.entries(byName).flatMap(([name, each]) => (names[name] === undefined ? [] : [[names[name], each]])),
    );
  };
  return Object.fromEntries(Object.entries(native).map(([name, setting]) => [name, rename(setting)]));
}

function fitIds(
  schema: CollectionSchema,
  target: StoreKind,
  event: RunEvent,
  found: Findings,
): Pick<CollectionSchema, 'idType' | 'key'> {
  const { ids } = target.capabilities;
  if (schema.idType === 'composite' && ids.composite) return { idType: 'composite', key: schema.key };
  const key = schema.key.length === 1 && keepsNative(schema, target) ? schema.key : [];
  const native = holdsNatively(schema.idType, ids);
  if (native) return { idType: schema.idType, key };
  if (ids.string !== false) return { idType: 'string', key: [] };
  const rule = `ids that are no unsigned integer or UUID become UUIDv5, with the original in '${event.mapping.originalId}'`;
  found.notes.push(`the source's ids are of type ${schema.idType}: ${rule}`);
  return { idType: 'mixed', key: [] };
}

function holdsNatively(idType: CollectionSchema['idType'], ids: Capabilities['ids']): boolean {
  switch (idType) {
    case 'integer':
      return ids.integer !== false;
    case 'uuid':
      return ids.uuid;
    case 'mixed':
      return ids.integer !== false && ids.uuid && ids.string === false;
    case 'string':
      return ids.string !== false;
    case 'composite':
      return ids.composite;
  }
}
