import { isLosslessNumber, isNumber, LosslessNumber, parse, stringify } from 'lossless-json';
import { v5 as uuid5 } from 'uuid';
import { type Batch, hasVector, selectRecords } from '../batch.ts';
import { RecordRefused } from '../errors.ts';
import type { Capabilities } from '../stores/port.ts';
import type { MappingPlan } from './mapping-files.ts';
import { withMark } from './mark.ts';
import { type CompiledRules, compiledRules } from './rules.ts';
import { asTruncated } from './truncate.ts';

/**
 * Turns records of the source into records of the target, as the plan says: once when they are written, and once more
 * when they are compared, by this same function.
 */

/** Namespace of the UUIDv5s that stand for ids which a target cannot hold: uuid5(DNS, 'vecferry'), so anyone can work them out. */
export const idNamespace = uuid5('vecferry', uuid5.DNS);

const canonicalInteger = /^(0|-?[1-9][0-9]*)$/;
const canonicalUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True when a store with these capabilities keeps the id as it is, so that it reads back as the same text. */
export function canHoldId(ids: Capabilities['ids'], id: string): boolean {
  if (ids.string !== false && id.length > 0 && id.length <= ids.string.maxLength) return true;
  if (ids.uuid && canonicalUuid.test(id)) return true;
  if (ids.integer === false || !canonicalInteger.test(id) || id.length > 20) return false;
  const value = BigInt(id);
  return value >= BigInt(ids.integer.min) && value <= BigInt(ids.integer.max);
}

/**
 * The id that stands for `id` in a store with these capabilities: itself where the store can hold it, else
 * UUIDv5(idNamespace, id). "7" stays 7 while "007" becomes a UUID, so no two ids meet, short of a SHA-1 collision or a
 * source that already holds the UUID; `findCollision` looks for those.
 */
export function mapId(ids: Capabilities['ids'], id: string): string {
  return canHoldId(ids, id) ? id : uuid5(id, idNamespace);
}

export interface Mapped {
  readonly batch: Batch;
  /** Source ids, one a record of `batch`. */
  readonly sourceIds: readonly string[];
  /** Source ids of all records that were left out: because they lack a vector, or by a rule. */
  readonly skipped: readonly string[];
  /** Those that a rule left out, by its name. */
  readonly dropped: ReadonlyMap<string, readonly string[]>;
}

/** @throws RecordRefused when a field's value cannot be carried as the mapping says, two ids become one, or a vector cannot be truncated. */
export function mapBatch(source: Batch, mapping: MappingPlan, targetIds: Capabilities['ids']): Mapped {
  const vectors = new Map(
    [...asTruncated(source, mapping).vectors].flatMap(([name, each]) => {
      const to = mapping.vectors[name];
      return to === undefined ? [] : [[to, each] as const];
    }),
  );
  const named = { ...source, vectors };
  const keep = positionsKept(named, mapping);
  const whole = keep.length === source.count ? named : selectRecords(named, keep);
  const withoutVector = keep.length === source.count ? [] : source.ids.filter((_, at) => !isKept(named, at));
  const rules = compiledRules(mapping);
  const { batch: kept, dropped } =
    rules === undefined ? { batch: whole, dropped: noneDropped } : applyRules(whole, rules);
  const skipped = dropped.size === 0 ? withoutVector : [...withoutVector, ...[...dropped.values()].flat()];
  const ids = mapping.ids === 'keep' ? kept.ids : kept.ids.map((id) => mapId(targetIds, id));
  if (ids !== kept.ids) refuseCollision(ids, kept.ids);
  const change = rules === undefined ? payloadChange(mapping) : undefined;
  const { mark } = mapping;
  const made = mark === undefined ? undefined : kept.vectors.get(mark.vector);
  const payloads = kept.payloads.map((payload, at) => {
    const id = kept.ids[at] ?? '';
    const changed = change === undefined ? payload : change(payload, id);
    const marked = mark === undefined ? changed : withMark(changed, mark, made !== undefined && hasVector(made, at));
    return ids[at] === id ? marked : withField(marked, mapping.originalId, id);
  });
  return { batch: { ...kept, ids, payloads }, sourceIds: kept.ids, skipped, dropped };
}

const noneDropped: Mapped['dropped'] = new Map();

function applyRules(batch: Batch, rules: CompiledRules): Pick<Mapped, 'batch' | 'dropped'> {
  const dropped = new Map<string, string[]>();
  const payloads: string[] = [];
  const positions: number[] = [];
  for (const [at, payload] of batch.payloads.entries()) {
    const id = batch.ids[at] ?? '';
    const outcome = rules.apply(payload, id);
    if (outcome.dropped === undefined) {
      payloads.push(outcome.payload);
      positions.push(at);
      continue;
    }
    const ids = dropped.get(outcome.dropped) ?? [];
    ids.push(id);
    dropped.set(outcome.dropped, ids);
  }
  const kept = positions.length === batch.count ? batch : selectRecords(batch, positions);
  return { batch: { ...kept, payloads }, dropped };
}

/** Two different source ids that became the same target id would overwrite each other and the counts might still agree. */
function refuseCollision(ids: readonly string[], sourceIds: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const [at, id] of ids.entries()) {
    const other = seen.get(id);
    const sourceId = sourceIds[at] ?? '';
    if (other !== undefined && other !== sourceId) {
      throw new RecordRefused(
        `ids '${other}' and '${sourceId}' both become ${id} in the target; rename one in the source`,
        {
          ids: [other, sourceId],
        },
      );
    }
    seen.set(id, sourceId);
  }
}

/** Source ids of the records that the mapping leaves out. Refuses nothing: what cannot be carried is not left out. */
export function idsLeftOut(source: Batch, mapping: MappingPlan): ReadonlySet<string> {
  const vectors = new Map([...source.vectors].filter(([name]) => mapping.vectors[name] !== undefined));
  const keep = new Set(positionsKept({ ...source, vectors }, mapping));
  const rules = compiledRules(mapping);
  const isLeftOut = (id: string, at: number): boolean =>
    !keep.has(at) || rules?.dropReason(source.payloads[at] ?? '{}', id) !== undefined;
  return new Set(leavesOut(mapping) ? source.ids.filter(isLeftOut) : []);
}

/** False where every record is carried. */
export function leavesOut({ missingVectors, rules }: MappingPlan): boolean {
  if (missingVectors === 'skip' || rules === undefined) return missingVectors === 'skip';
  return rules.records.length > 0 || rules.fields.some(({ rule }) => rule?.otherwise === 'drop');
}

function positionsKept(batch: Batch, mapping: MappingPlan): number[] {
  const positions = Array.from({ length: batch.count }, (_, at) => at);
  if (mapping.missingVectors === 'keep') return positions;
  if ([...batch.vectors.values()].every((each) => each.present === undefined)) return positions;
  return positions.filter((at) => isKept(batch, at));
}

function isKept(batch: Batch, at: number): boolean {
  return [...batch.vectors.values()].every((each) => hasVector(each, at));
}

/**
 * Puts a string field in front of a JSON object without parsing it.
 * @throws RecordRefused when the object already has that field: one of the two values would be lost.
 */
function withField(payload: string, name: string, value: string): string {
  const key = JSON.stringify(name);
  if (payload.includes(key) && Object.hasOwn(Object(parse(payload)), name)) {
    const mend = 'name another field in mapping.originalId';
    throw new RecordRefused(`record '${value}' already has a field '${name}', where its id would be kept; ${mend}`, {
      ids: [value],
    });
  }
  const field = `${key}:${JSON.stringify(value)}`;
  const rest = payload.slice(payload.indexOf('{') + 1);
  return /^\s*\}/.test(rest) ? `{${field}}` : `{${field},${rest}`;
}

/** undefined when no payload has to be parsed. */
function payloadChange(mapping: MappingPlan): ((payload: string, id: string) => string) | undefined {
  const casts = Object.entries(mapping.castFields);
  if (mapping.dropFields.length === 0 && casts.length === 0) return undefined;
  return (text, id) => {
    const payload = parse(text);
    if (typeof payload !== 'object' || payload === null)
      throw new RecordRefused(`the payload of '${id}' is not an object`, { ids: [id] });
    const fields = new Map<string, unknown>(Object.entries(payload));
    for (const name of mapping.dropFields) fields.delete(name);
    for (const [name, to] of casts) {
      if (fields.has(name)) fields.set(name, cast(fields.get(name), to, name, id));
    }
    return stringify(Object.fromEntries(fields)) ?? '{}';
  };
}

function cast(value: unknown, to: 'number' | 'string', field: string, id: string): unknown {
  if (to === 'string') return isLosslessNumber(value) ? value.value : value;
  if (typeof value !== 'string') return isLosslessNumber(value) ? asDouble(value.value) : value;
  if (isNumber(value)) return asDouble(value);
  throw new RecordRefused(
    `field '${field}' of record '${id}' is '${value.slice(0, 40)}', which is no number; leave the field out of mapping.payload`,
    {
      ids: [id],
    },
  );
}

/** The nearest double, as `number` in the mapping allows; the plan says that digits past the 17th are rounded. */
function asDouble(digits: string): LosslessNumber {
  return new LosslessNumber(String(Number(digits)));
}
