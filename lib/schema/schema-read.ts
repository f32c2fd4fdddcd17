import type { Batch, VectorColumn } from '../batch.ts';
import type { Names } from '../event-names.ts';
import type { CollectionSchema, VectorSpec } from '../schema.ts';
import { fingerprintOf } from './fingerprint.ts';
import { stableName } from './names.ts';

/**
 * The schema that a shard says its records were read under: what the store found when it read them, else the plan's, with
 * vectors as they are in the batch. The plan's own object where that is the same, so that nothing is worked out for it again.
 * @param read what the store found; undefined where it declares no fields
 */
export function schemaRead(
  planned: CollectionSchema,
  read: CollectionSchema | undefined,
  batch: Batch,
  names: Names | undefined,
): CollectionSchema {
  const isSame = read === undefined || fingerprintOf(read) === fingerprintOf(planned);
  const found = isSame ? planned : withModels(read, planned, names);
  return batch.count === 0 ? found : withVectors(found, batch.vectors);
}

/** Which model made a vector is what the plan knows, from the event or the shards of an earlier run. */
function withModels(read: CollectionSchema, planned: CollectionSchema, names: Names | undefined): CollectionSchema {
  const vectors = read.vectors.map((spec): VectorSpec => {
    const stable = stableName(names, 'vectors', spec.name);
    const model = spec.model ?? planned.vectors.find(({ name }) => name === stable)?.model;
    return model === undefined ? spec : { ...spec, model };
  });
  return { ...read, vectors };
}

function withVectors(schema: CollectionSchema, columns: ReadonlyMap<string, VectorColumn>): CollectionSchema {
  const isAsSaid = ({ name, kind, dimension }: VectorSpec): boolean => {
    const column = columns.get(name);
    return column?.kind === kind && (column.kind === 'sparse' || column.dimension === dimension);
  };
  if (columns.size === schema.vectors.length && schema.vectors.every(isAsSaid)) return schema;
  const vectors = [...columns].map(([name, column]): VectorSpec => {
    const { kind } = column;
    const spec: VectorSpec = schema.vectors.find((each) => each.name === name) ?? { name, kind, precision: 'float32' };
    if (kind === 'sparse' && spec.kind === 'sparse') return spec;
    const { dimension: _, ...rest } = spec;
    return { ...rest, kind, ...(kind === 'sparse' || column.dimension === 0 ? {} : { dimension: column.dimension }) };
  });
  return { ...schema, vectors };
}
