import type { Batch } from '../batch.ts';
import { InvalidEvent } from '../errors.ts';
import type { Condition, Scalar } from '../filter.ts';
import { type Mapped, mapBatch, mapId } from '../mapping/mapping.ts';
import type { MappingPlan } from '../mapping/mapping-files.ts';
import { fieldInTarget, renamedBack } from '../mapping/names.ts';
import { joinObject, splitObject, stringOf } from '../stores/json-members.ts';
import type { Capabilities } from '../stores/port.ts';
import { columnOf } from './store-columns.ts';
import type { VectorShapes } from './store-records.ts';

/** A run's mapping as a side of the client needs it: there for records, queries and ids, and back for what is answered. */
export interface AppliedMapping {
  targetId(id: string): string;
  /** The source's id, out of a record's own payload. */
  sourceId(targetId: string, payload: string): string;
  /** False when the id is the source's too: nothing has to be read to know. */
  mayBeMapped(targetId: string): boolean;
  /** @throws InvalidEvent when the target does not have the vector. */
  vectorName(name: string): string;
  /** Shapes of the target's vectors by the names that they have in the source. */
  sourceShapes(shapes: VectorShapes): VectorShapes;
  /** Records of the target, with every vector that it has. @throws RecordRefused */
  records(batch: Batch, shapes: VectorShapes): Pick<Mapped, 'batch' | 'skipped'>;
  /** The target's records with the source's ids and names. Fields that the mapping renames have their names back; those that it changes or leaves out are as the target has them. */
  sourceRecords(batch: Batch, sourceId: (targetId: string) => string): Batch;
  /** @throws InvalidEvent when the target cannot be asked so. */
  conditions(conditions: readonly Condition[]): readonly Condition[];
}

/** For the source, and for a target that has its records as they are. */
export const noMapping: AppliedMapping = {
  targetId: (id) => id,
  sourceId: (id) => id,
  mayBeMapped: () => false,
  vectorName: (name) => name,
  sourceShapes: (shapes) => shapes,
  records: (batch) => ({ batch, skipped: [] }),
  sourceRecords: (batch) => batch,
  conditions: (conditions) => conditions,
};

/** @param ids what the target's store can hold */
export function applyMapping(mapping: MappingPlan, ids: Capabilities['ids']): AppliedMapping {
  const targetId = mapping.ids === 'keep' ? (id: string): string => id : (id: string): string => mapId(ids, id);
  const sourceNames = new Map(Object.entries(mapping.vectors).map(([from, to]) => [to, from]));
  const renamed = <T>(named: ReadonlyMap<string, T>): Map<string, T> =>
    new Map(
      [...named].flatMap(([name, each]): [string, T][] => {
        const from = sourceNames.get(name);
        return from === undefined ? [] : [[from, each]];
      }),
    );
  const named = renamedBack(mapping);
  return {
    targetId,
    sourceId: (id, payload) => {
      const kept = splitObject(payload).get(mapping.originalId);
      const original = kept?.startsWith('"') === true ? stringOf(kept) : id;
      // A field of that name may be the record's own: then it is no id that becomes this one.
      return targetId(original) === id ? original : id;
    },
    mayBeMapped: (id) => mapping.ids === 'uuid5' && isUuid5(id),
    vectorName: (name) => {
      const to = mapping.vectors[name];
      if (to !== undefined) return to;
      throw new InvalidEvent(`the target has no vector '${name}': the run's mapping leaves it out`, { ids: [name] });
    },
    sourceShapes: renamed,
    records: (batch, shapes) => {
      const mapped = mapBatch(batch, mapping, ids);
      const others = [...shapes].filter(([name]) => !mapped.batch.vectors.has(name));
      const none = Array.from({ length: mapped.batch.count }, () => undefined);
      const columns = others.map(([name, shape]) => [name, columnOf(none, shape)] as const);
      return { ...mapped, batch: { ...mapped.batch, vectors: new Map([...mapped.batch.vectors, ...columns]) } };
    },
    sourceRecords: (batch, sourceId) => {
      const sourceIds = batch.ids.map(sourceId);
      const payloads = batch.payloads.map((payload, at) => {
        const own = sourceIds[at] === batch.ids[at] ? payload : withoutField(payload, mapping.originalId);
        return named?.(own) ?? own;
      });
      return { ...batch, ids: sourceIds, payloads, vectors: renamed(batch.vectors) };
    },
    conditions: (conditions) => conditions.map((condition) => mapCondition(condition, mapping)),
  };
}

function isUuid5(id: string): boolean {
  return id.length === 36 && id[14] === '5';
}

function withoutField(payload: string, name: string): string {
  const members = splitObject(payload);
  members.delete(name);
  return joinObject(members);
}

function mapCondition(asked: Condition, mapping: MappingPlan): Condition {
  const { dropFields, castFields } = mapping;
  const there = fieldInTarget(mapping, asked.field);
  const condition = 'name' in there ? { ...asked, field: there.name } : asked;
  const { field } = condition;
  if (dropFields.includes(field))
    throw new InvalidEvent(`the target has no field '${field}' to filter on: the run's mapping leaves it out`, {
      ids: [field],
    });
  if ('lost' in there)
    throw new InvalidEvent(`the target cannot filter by '${field}', which ${there.lost}`, { ids: [field] });
  const to = castFields[asked.field];
  if (to === undefined) return condition;
  // A range is asked of numbers: those that became text have no order that it could mean.
  if (condition.kind === 'in') return { ...condition, values: condition.values.map((value) => castScalar(value, to)) };
  if (to === 'number') return condition;
  throw new InvalidEvent(
    `field '${field}' is text in the target, as the run's mapping says, and has no numbers between two others`,
    { ids: [field] },
  );
}

/** As lib/mapping/mapping.ts casts the field's own value: a whole number is met by its digits, a text by the number that it spells. */
function castScalar(value: Scalar, to: 'number' | 'string'): Scalar {
  if (to === 'string') return typeof value === 'number' ? String(value) : value;
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : Number.NaN;
  return Number.isSafeInteger(number) || (Number.isFinite(number) && Math.abs(number) < 2 ** 53) ? number : value;
}
