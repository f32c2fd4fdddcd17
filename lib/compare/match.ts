import { Incompatible } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import type { Fit } from '../fit.ts';
import { compilePayload, ruleProblems, rulesOf, sourceField, targetsOf } from '../mapping/compile.ts';
import { fitDimension } from '../mapping/fit-dimensions.ts';
import { mapBatch } from '../mapping/mapping.ts';
import type { MappingPlan } from '../mapping/mapping-files.ts';
import type { Plan } from '../run-files.ts';
import type { CollectionSchema, VectorSpec } from '../schema.ts';
import type { Capabilities, Description, Reader, StoreKind } from '../stores/port.ts';
import { type Nulls, sourceTreatments, type Treatments } from './record-equal.ts';
import { asKept } from './vector-equal.ts';

/**
 * `"mode": "validate"`: works out how two collections that are both there correspond, whoever filled the target. Nothing
 * is made to fit, so nothing that merely differs is refused: it is compared, measured, and said in a note. Refused is what
 * cannot be held against each other at all.
 */
export interface MatchInput {
  readonly source: Description;
  readonly sourceKind: StoreKind;
  readonly target: Description;
  readonly targetKind: StoreKind;
  readonly event: RunEvent;
}

interface Findings {
  readonly problems: { readonly field: string; readonly text: string }[];
  readonly notes: string[];
}

/** The target as it is described, and the mapping that leads to it. @throws Incompatible with every problem found. */
export function matchCollections(input: MatchInput): Fit {
  const { source, target, targetKind, event } = input;
  const found: Findings = { problems: [], notes: [] };
  const { schema, floats } = shortened(input, found);
  const vectors = matchVectors({ ...input, source: { ...source, schema } }, found);
  const cut = Object.entries(floats).flatMap(([name, kept]) => {
    const to = vectors[name];
    return to === undefined ? [] : [[to, kept] as const];
  });
  checkFields(source.schema, target.schema, event, found);
  const mapping: MappingPlan = {
    vectors,
    ...(cut.length > 0 && { truncate: Object.fromEntries(cut) }),
    ...compilePayload({ event, fields: source.schema.fields }),
    ids: targetKind.capabilities.ids.string === false ? 'uuid5' : 'keep',
    originalId: event.mapping.originalId,
    missingVectors: event.mapping.missingVectors === 'skip' ? 'skip' : 'keep',
  };
  noteIds(source.schema, targetKind, event, found);
  noteMissing(source, vectors, event, found);
  if (nullsOf({ event, source: source.schema, target: target.schema }) === 'absent') {
    found.notes.push(
      'a payload field that is null on one side and not there on the other counts as equal: columns cannot tell the two apart',
    );
  }
  if (found.problems.length > 0) {
    const texts = found.problems.map(({ text }) => text);
    throw new Incompatible(`the two collections cannot be held against each other: ${texts.join('; ')}`, {
      ids: found.problems.map(({ field }) => field),
    });
  }
  return { target: target.schema, mapping, notes: found.notes };
}

/** The source with its vectors as long as the event asks for them, and how many floats that is of each. */
function shortened({ source: { schema }, event }: MatchInput, found: Findings) {
  const floats: Record<string, number> = {};
  const vectors = schema.vectors.map((vector) => {
    const fitted = fitDimension(vector, event.mapping.vectors[vector.name]?.dimensions, false);
    const { dimension, truncate, problem, note } = fitted;
    const about = `vector '${vector.name}'`;
    if (problem !== undefined) found.problems.push({ field: vector.name, text: `${about} ${problem}` });
    if (note !== undefined) found.notes.push(`${about}: ${note}`);
    if (truncate !== undefined) floats[vector.name] = truncate;
    return dimension === undefined ? vector : { ...vector, dimension };
  });
  return { schema: { ...schema, vectors }, floats };
}

const quoted = (vectors: readonly VectorSpec[]): string =>
  vectors.map(({ name }) => `'${name}'`).join(', ') || 'no vector';

function matchVectors(input: MatchInput, found: Findings): Record<string, string> {
  const { event } = input;
  const ours = input.source.schema.vectors;
  const theirs = input.target.schema.vectors;
  for (const name of Object.keys(event.mapping.vectors)) {
    if (ours.some((vector) => vector.name === name)) continue;
    const text = `mapping.vectors names '${name}', but the source has ${quoted(ours)}`;
    found.problems.push({ field: name, text });
  }
  const kept = ours.filter(({ name }) => event.mapping.vectors[name] !== null);
  if (kept.length === 0) {
    const text = 'no vector is left to compare; the source must have one that the mapping keeps';
    found.problems.push({ field: 'vectors', text });
  }
  const matched = new Map<string, string>();
  for (const vector of kept) {
    const counterpart = counterpartOf(vector, kept, theirs, event);
    if (counterpart === undefined) {
      const wanted = event.mapping.vectors[vector.name]?.to;
      const text = `vector '${vector.name}' has no counterpart${wanted === undefined ? '' : ` '${wanted}'`} in the target, which has ${quoted(theirs)}; name it with mapping.vectors {"${vector.name}": {"to": NAME}}, or leave it out with null`;
      found.problems.push({ field: vector.name, text });
      continue;
    }
    const earlier = [...matched].find(([, to]) => to === counterpart.name);
    if (earlier !== undefined) {
      const text = `vectors '${earlier[0]}' and '${vector.name}' would both be held against '${counterpart.name}'; say which with mapping.vectors {"${vector.name}": {"to": NAME}}, or leave one out with null`;
      found.problems.push({ field: vector.name, text });
    }
    matched.set(vector.name, counterpart.name);
    checkVector(vector, counterpart, input, found);
  }
  const others = theirs.filter(({ name }) => ![...matched.values()].includes(name));
  if (matched.size > 0 && others.length > 0) {
    const which = others.length === 1 ? 'vector' : 'vectors';
    found.notes.push(`${which} ${quoted(others)} of the target: nothing in the source to compare with`);
  }
  return Object.fromEntries(matched);
}

/** As the event names it; else the one of the same name; else a vector that stands alone is held against one that does. */
function counterpartOf(
  { name }: VectorSpec,
  kept: readonly VectorSpec[],
  theirs: readonly VectorSpec[],
  event: RunEvent,
): VectorSpec | undefined {
  const to = event.mapping.vectors[name]?.to;
  if (to !== undefined) return theirs.find((each) => each.name === to);
  const isAlone = kept.length === 1 && theirs.length === 1;
  return theirs.find((each) => each.name === name) ?? (isAlone ? theirs[0] : undefined);
}

function checkVector(
  vector: VectorSpec,
  theirs: VectorSpec,
  { sourceKind, targetKind, event }: MatchInput,
  found: Findings,
): void {
  const { name, kind, dimension, distance, precision } = vector;
  const pair = name === theirs.name ? `vector '${name}'` : `vector '${name}', in the target '${theirs.name}',`;
  const choices = `hold it against another one with mapping.vectors {"${name}": {"to": NAME}}, or leave it out with null`;
  if (kind !== theirs.kind) {
    const text = `${pair} is ${kind} in the source and ${theirs.kind} in the target; ${choices}`;
    found.problems.push({ field: name, text });
    return;
  }
  const isSized = kind !== 'sparse' && dimension !== undefined && theirs.dimension !== undefined;
  if (isSized && dimension !== theirs.dimension) {
    const text = `${pair} has ${dimension} dimensions in the source and ${theirs.dimension} in the target; ${choices}`;
    found.problems.push({ field: name, text });
  }
  if (distance !== undefined && theirs.distance !== undefined && distance !== theirs.distance) {
    const asked = event.mapping.vectors[name]?.distance;
    const truth = asked === undefined ? `the source's` : `${asked}, as the event says`;
    found.notes.push(
      `${pair} is ranked by ${distance} in the source and by ${theirs.distance} in the target; both are measured against the neighbours by ${truth}`,
    );
  }
  if (precision !== theirs.precision) {
    found.notes.push(`${pair} is kept as ${precision} in the source and as ${theirs.precision} in the target`);
  }
  if (isScaled(vector, sourceKind.capabilities) && !isScaled(theirs, targetKind.capabilities)) {
    found.notes.push(
      `${pair} is kept at length 1 in the source: that of the target is compared at length 1 too, so its own lengths are not checked`,
    );
  }
}

const isScaled = ({ kind, distance, precision }: VectorSpec, { normalisesCosine }: Capabilities): boolean =>
  normalisesCosine && distance === 'cosine' && kind !== 'sparse' && precision !== 'uint8';

/** Where both sides declare their fields, a name that neither has is a slip. */
function checkFields(ours: CollectionSchema, theirs: CollectionSchema, event: RunEvent, found: Findings): void {
  found.problems.push(...ruleProblems({ event, fields: undefined }));
  if (ours.fields === undefined || theirs.fields === undefined) return;
  const all = [...ours.fields, ...theirs.fields];
  const names = [...new Set(all.map(({ name }) => name))];
  for (const name of Object.keys(event.mapping.payload)) {
    if (sourceField(name, all) !== undefined) continue;
    const text = `mapping.payload names '${name}', but the collections have ${names.join(', ') || 'no fields'}`;
    found.problems.push({ field: name, text });
  }
}

function noteIds({ idType }: CollectionSchema, { capabilities: { ids } }: StoreKind, event: RunEvent, found: Findings) {
  const isHeld = (idType === 'integer' && ids.integer !== false) || (idType === 'uuid' && ids.uuid);
  if (ids.string !== false || isHeld || (idType === 'mixed' && ids.integer !== false && ids.uuid)) return;
  found.notes.push(
    `the source's ids are of type ${idType}: those that are no unsigned integer or UUID are looked for as their UUIDv5, with the original in '${event.mapping.originalId}', as vecferry writes them`,
  );
}

function noteMissing(
  { withoutVector = {}, count }: Description,
  vectors: Readonly<Record<string, string>>,
  event: RunEvent,
  found: Findings,
): void {
  for (const [name, missing] of Object.entries(withoutVector)) {
    if (missing === 0 || vectors[name] === undefined) continue;
    const then =
      event.mapping.missingVectors === 'skip' ? 'they are not looked for in the target' : 'they must lack it there too';
    found.notes.push(`${missing} of ${count} records have no vector '${name}'; ${then}`);
  }
}

/** What the rules make of a record of the source is held against all that the target has, but for what they leave out. */
function onlyWritten({ mapping }: RunEvent, left: readonly string[]): Pick<MappingPlan, 'dropFields' | 'rules'> {
  const rules = rulesOf(mapping).filter(({ rule }) => rule !== null);
  const written = new Set([...rules.flatMap(targetsOf), ...Object.keys(mapping.add)].map((name) => name.split('.')[0]));
  // A field that is left out may have given its name to another one.
  const dropFields = left.filter((name) => !written.has(name));
  if (mapping.others === 'keep') return { dropFields };
  const fields = [...written].map((from = '') => ({ from, rule: {} }));
  return { dropFields, rules: { records: [], fields, add: {}, others: 'drop', checks: {} } };
}

/**
 * The target as a run that only validates reads it: without the vectors and payload fields that the event leaves out, and
 * with vectors in the form that the source keeps (at length 1, rounded), since the source cannot tell more.
 */
export function asCompared(target: Pick<Reader, 'fetch'>, plan: Plan, source: Capabilities): Pick<Reader, 'fetch'> {
  if (plan.event.mode !== 'validate') return target;
  const kept = keptBySource(plan, source);
  const { rules: _, ...mapping } = plan.mapping;
  const onlyMatched: MappingPlan = {
    ...mapping,
    ...onlyWritten(plan.event, mapping.dropFields),
    vectors: Object.fromEntries(Object.values(plan.mapping.vectors).map((name) => [name, name])),
    castFields: {},
    ids: 'keep',
    missingVectors: 'keep',
  };
  return {
    fetch: async (ids) => {
      const { batch } = mapBatch(await target.fetch(ids), onlyMatched, source.ids);
      const vectors = new Map([...batch.vectors].map(([name, column]) => [name, asKept(column, kept.get(name))]));
      return { ...batch, vectors };
    },
  };
}

/**
 * Columns cannot tell a field that is null from one that is not there: of two collections that others filled it depends on
 * the copy which of them an empty column became. A move is held to what it did.
 */
export function nullsOf({ event, source, target }: Pick<Plan, 'event' | 'source' | 'target'>): Nulls {
  const hasColumns = source.fields !== undefined || target.fields !== undefined;
  return event.mode === 'validate' && hasColumns ? 'absent' : 'kept';
}

/** What the source does to its vectors, by their names in the target. */
function keptBySource(plan: Plan, source: Capabilities): Treatments['vectors'] {
  return new Map(
    [...sourceTreatments(plan, source).vectors].flatMap(([name, treatment]) => {
      const to = plan.mapping.vectors[name];
      return to === undefined ? [] : [[to, treatment] as const];
    }),
  );
}
