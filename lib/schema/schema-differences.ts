import { isLosslessNumber } from 'lossless-json';
import type { CollectionSchema, FieldSpec, FieldType, IdType, VectorSpec } from '../schema.ts';

/** How the schema that some records were read under differs from the one that a run was planned with. */

/**
 * added: the records have it and the run's schema does not. removed: the other way round. retyped: a field or the ids are of
 * another type. shape: a vector of another kind, dimension or model, which no rule accepts.
 */
export interface SchemaDifference {
  readonly what: 'field' | 'vector' | 'ids';
  readonly how: 'added' | 'removed' | 'retyped' | 'shape';
  readonly name: string;
  /** For people: `field added: language (text)`. */
  readonly text: string;
}

/** Both with stable names. Of vectors only those that the run carries count, as `isCarried` says. */
export function schemaDifferences(
  read: CollectionSchema,
  planned: CollectionSchema,
  isCarried: (vector: string) => boolean,
): readonly SchemaDifference[] {
  return [
    ...idDifferences(read, planned),
    ...vectorDifferences(read.vectors, planned.vectors, isCarried),
    ...fieldDifferences(read.fields, planned.fields),
  ];
}

function idDifferences(read: CollectionSchema, planned: CollectionSchema): SchemaDifference[] {
  const [is, was] = [idText(read), idText(planned)];
  return is === was
    ? []
    : [{ what: 'ids', how: 'retyped', name: 'id', text: `ids retyped: ${is}, and ${was} in the run's schema` }];
}

const idText = ({ idType, key }: CollectionSchema): string =>
  idType === 'composite' ? `composite (${key.map(({ type }) => type).join(', ')})` : idType;

function vectorDifferences(
  read: readonly VectorSpec[],
  planned: readonly VectorSpec[],
  isCarried: (vector: string) => boolean,
): SchemaDifference[] {
  const what = 'vector';
  const added = read
    .filter(({ name }) => !planned.some((each) => each.name === name))
    .map(
      (each) =>
        ({ what, how: 'added', name: each.name, text: `vector added: '${each.name}' (${shapeOf(each)})` }) as const,
    );
  const others = planned
    .filter(({ name }) => isCarried(name))
    .flatMap((each): SchemaDifference[] => {
      const { name } = each;
      const found = read.find((one) => one.name === name);
      if (found === undefined)
        return [{ what, how: 'removed', name, text: `vector removed: '${name}' (${shapeOf(each)})` }];
      // A table without rows does not say how long its vectors are.
      const isSame =
        found.kind === each.kind &&
        (found.kind === 'sparse' || (found.dimension ?? each.dimension) === (each.dimension ?? found.dimension));
      const text = `vector '${name}' is ${shapeOf(found)}, and ${shapeOf(each)} in the run's schema`;
      return isSame && isSameModel(found, each) ? [] : [{ what, how: 'shape', name, text }];
    });
  return [...added, ...others];
}

/** False where both are known to be of different models: floats of two models have nothing to do with each other. */
function isSameModel({ model: one }: VectorSpec, { model: other }: VectorSpec): boolean {
  if (one === undefined || other === undefined) return true;
  const isVersion = one.version === undefined || other.version === undefined || one.version === other.version;
  return one.name === other.name && isVersion;
}

function shapeOf({ kind, dimension, model }: VectorSpec): string {
  const shape = kind === 'sparse' || dimension === undefined ? kind : `${kind}, ${dimension} dimensions`;
  const version = model?.version === undefined ? '' : ` ${model.version}`;
  return model === undefined ? shape : `${shape}, of model ${model.name}${version}`;
}

function fieldDifferences(
  read: readonly FieldSpec[] | undefined,
  planned: readonly FieldSpec[] | undefined,
): SchemaDifference[] {
  const what = 'field';
  // Where any record may hold anything, no field is new.
  if (planned === undefined) return [];
  if (read === undefined) {
    const text = `fields undeclared: any record may hold any, and the run's schema has ${planned.map(({ name }) => `'${name}'`).join(', ') || 'none'}`;
    return [{ what, how: 'retyped', name: '', text }];
  }
  const added = read
    .filter(({ name }) => !planned.some((each) => each.name === name))
    .map(({ name, type }) => ({ what, how: 'added', name, text: `field added: '${name}' (${type})` }) as const);
  const others = planned.flatMap(({ name, type }): SchemaDifference[] => {
    const found = read.find((each) => each.name === name);
    if (found === undefined) return [{ what, how: 'removed', name, text: `field removed: '${name}' (${type})` }];
    const text = `field retyped: '${name}' is ${found.type}, and ${type} in the run's schema`;
    return found.type === type ? [] : [{ what, how: 'retyped', name, text }];
  });
  return [...added, ...others];
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const integer = /^-?\d+$/;

/** Whether a value, parsed without loss, stands as FieldType's documentation says of this type. null is no value of any type. */
export function readsAs(type: FieldType, value: unknown): boolean {
  switch (type) {
    case 'json':
      return true;
    case 'list':
      return Array.isArray(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'integer':
      return isLosslessNumber(value) && integer.test(value.value);
    case 'float':
      return isLosslessNumber(value);
    case 'decimal':
      return isLosslessNumber(value) || (typeof value === 'string' && /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value));
    default:
      return typeof value === 'string' && textForms[type].test(value);
  }
}

const textForms = {
  text: /^/,
  uuid: new RegExp(uuid, 'i'),
  timestamp: /^[+-]?\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$/,
  date: /^[+-]?\d{4,}-\d\d-\d\d$/,
  time: /^\d\d:\d\d(:\d\d(\.\d+)?)?$/,
  bytes: /^[A-Za-z0-9+/]*={0,2}$/,
} as const;

/** Whether an id stands as ids of this type do. */
export function readsAsId(type: IdType, id: string): boolean {
  switch (type) {
    case 'integer':
      return integer.test(id);
    case 'uuid':
      return uuid.test(id);
    case 'mixed':
      return integer.test(id) || uuid.test(id);
    case 'composite':
      return id.startsWith('[');
    case 'string':
      return true;
  }
}
