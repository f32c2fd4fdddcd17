import {
  Binary,
  Bool,
  type DataType,
  DateDay,
  Field,
  FixedSizeList,
  Float16,
  Float32,
  Float64,
  Int64,
  Schema,
  TimestampMicrosecond,
  DataType as Type,
  Utf8,
} from 'apache-arrow';
import { z } from 'zod';
import { Incompatible, NotFound } from '../../errors.ts';
import {
  type CollectionSchema,
  collectionSchema,
  type FieldSpec,
  type FieldType,
  type VectorSpec,
} from '../../schema.ts';

/**
 * Which column of a LanceDB table holds what.
 *
 * A table made here has `id`, a fixed-size list of floats per vector, a typed column per declared payload field (so that
 * it can be filtered on), and `payload`: the JSON of everything else. A value that its typed column cannot give back
 * exactly stands in `payload` too, beside the nearest value that the column holds, so filters find it and each record's
 * payload comes back equal as JSON. The schema that the
 * table was prepared with stands in the Arrow schema's metadata under `vecferry`. Of any other table all columns but the
 * id and the vectors are the payload.
 */

/** Metadata key of tables made here, and the version of what it holds. */
const metadataKey = 'vecferry';
const metadataFormat = 1;
export const restColumn = 'payload';

const metadataSchema = z.strictObject({
  format: z.literal(metadataFormat),
  schema: collectionSchema,
  /** Vector name -> column. */
  vectorColumns: z.record(z.string(), z.string()),
});

export interface VectorColumnLayout {
  readonly spec: VectorSpec & { readonly dimension: number };
  readonly column: string;
}

export interface Layout {
  readonly idColumn: string;
  /** Integers stand bare in SQL, text in quotes. */
  readonly isIntegerId: boolean;
  readonly vectors: readonly VectorColumnLayout[];
  /** Payload fields that are columns. */
  readonly fields: readonly FieldSpec[];
  /** True when the table was made here: what is not in a column stands in restColumn. */
  readonly isOurs: boolean;
  readonly schema: CollectionSchema;
}

/** The Arrow schema of a table for `schema`. @throws Incompatible when it has a vector that LanceDB cannot hold. */
export function arrowSchema(schema: CollectionSchema): Schema {
  const vectors = schema.vectors.map((spec) => ({ spec, type: vectorType(spec) }));
  const taken = new Set(['id', restColumn]);
  const vectorColumns: Record<string, string> = {};
  for (const { spec } of vectors) vectorColumns[spec.name] = uniqueName(spec.name, taken);
  const fields = (schema.fields ?? []).flatMap((field) => {
    const type = columnType(field);
    if (type === undefined || !isFieldColumn(field.name, taken)) return [];
    taken.add(field.name.toLowerCase());
    return [new Field(field.name, type, true)];
  });
  const metadata = { format: metadataFormat, schema, vectorColumns };
  return new Schema(
    [
      new Field('id', schema.idType === 'integer' ? new Int64() : new Utf8(), false),
      ...vectors.map(({ spec, type }) => new Field(vectorColumns[spec.name] ?? spec.name, type, true)),
      ...fields,
      new Field(restColumn, new Utf8(), true),
    ],
    new Map([[metadataKey, JSON.stringify(metadata)]]),
  );
}

/** Reads a table's layout off its Arrow schema. @throws Incompatible when its id or a vector is of a type that cannot be moved. */
export function layoutOf(arrow: Schema, table: string, idOption: string | undefined): Layout {
  const ours = preparedWith(arrow, table);
  const idColumn = idOption ?? 'id';
  const idField = arrow.fields.find(({ name }) => name === idColumn);
  if (idField === undefined)
    throw new NotFound(
      `table '${table}' has no column '${idColumn}'; set options.id to the column with the ids, one of ${arrow.fields.map(({ name }) => name).join(', ')}`,
    );
  const isIntegerId = Type.isInt(idField.type);
  if (!isIntegerId && !Type.isUtf8(idField.type) && !Type.isLargeUtf8(idField.type))
    throw new Incompatible(
      `column '${idColumn}' of table '${table}' is ${idField.type}; ids are read from integer and text columns`,
    );
  const names = new Map(Object.entries(ours?.vectorColumns ?? {}).map(([name, column]) => [column, name]));
  const vectors: VectorColumnLayout[] = [];
  const fields: FieldSpec[] = [];
  for (const field of arrow.fields) {
    if (field.name === idColumn || (ours !== undefined && field.name === restColumn)) continue;
    const shape = vectorShape(field.type);
    const name = names.get(field.name) ?? field.name;
    const prepared = ours?.schema.vectors.find((spec) => spec.name === name);
    if (shape !== undefined)
      vectors.push({ column: field.name, spec: { ...(prepared ?? { name, kind: 'dense' }), ...shape } });
    else fields.push(ours?.schema.fields?.find((spec) => spec.name === field.name) ?? fieldOf(field));
  }
  const base = ours?.schema ?? {
    store: 'lancedb',
    idType: isIntegerId ? 'integer' : 'string',
    key: [],
    payloadIndexes: [],
    native: {},
    fields,
  };
  const schema: CollectionSchema = { ...base, store: 'lancedb', vectors: vectors.map(({ spec }) => spec) };
  return { idColumn, isIntegerId, vectors, fields, isOurs: ours !== undefined, schema };
}

/** What a table made here says about itself; undefined for any other table. */
function preparedWith(arrow: Schema, table: string): z.infer<typeof metadataSchema> | undefined {
  const text = arrow.metadata.get(metadataKey);
  if (text === undefined) return undefined;
  const ours = metadataSchema.safeParse(JSON.parse(text)).data;
  if (ours === undefined)
    throw new Incompatible(
      `table '${table}' was made by another release of vecferry: its schema metadata '${metadataKey}' is not of format ${metadataFormat}; read it with that release`,
    );
  return ours;
}

/** The Arrow type of a declared field; undefined where its values stay in the JSON column. */
function columnType({ type }: FieldSpec): DataType | undefined {
  if (type === 'boolean') return new Bool();
  if (type === 'integer') return new Int64();
  if (type === 'float') return new Float64();
  if (type === 'timestamp') return new TimestampMicrosecond('UTC');
  if (type === 'date') return new DateDay();
  if (type === 'bytes') return new Binary();
  if (type === 'decimal') return new Float64();
  return type === 'json' || type === 'list' ? undefined : new Utf8();
}

/** @throws Incompatible when LanceDB cannot hold the vector. */
export function vectorType({ name, kind, dimension, precision }: VectorSpec): FixedSizeList {
  if (kind !== 'dense' || dimension === undefined)
    throw new Incompatible(
      `LanceDB tables made here hold dense vectors of a set dimension; vector '${name}' is ${kind}`,
    );
  return new FixedSizeList(dimension, new Field('item', precision === 'float16' ? new Float16() : new Float32(), true));
}

function vectorShape(type: DataType): { dimension: number; precision: 'float16' | 'float32' } | undefined {
  if (!Type.isFixedSizeList(type)) return undefined;
  const item = type.children[0]?.type;
  // Arrow's Precision: HALF 0, SINGLE 1. Lists of doubles stay in the payload, where they lose nothing.
  if (!Type.isFloat(item) || item.precision > 1) return undefined;
  return { dimension: type.listSize, precision: item.precision === 0 ? 'float16' : 'float32' };
}

function fieldOf({ name, type, nullable }: Field): FieldSpec {
  return { name, type: fieldType(type), nullable, native: String(type) };
}

function fieldType(type: DataType): FieldType {
  if (Type.isBool(type)) return 'boolean';
  if (Type.isInt(type)) return 'integer';
  if (Type.isFloat(type)) return 'float';
  if (Type.isDecimal(type)) return 'decimal';
  if (Type.isUtf8(type) || Type.isLargeUtf8(type) || Type.isDictionary(type)) return 'text';
  if (Type.isTimestamp(type)) return type.timezone ? 'timestamp' : 'text';
  if (Type.isDate(type)) return 'date';
  if (Type.isTime(type)) return 'time';
  if (Type.isBinary(type) || Type.isLargeBinary(type) || Type.isFixedSizeBinary(type)) return 'bytes';
  return Type.isList(type) || Type.isFixedSizeList(type) ? 'list' : 'json';
}

/** LanceDB refuses dots in a column's name; names that begin with _ are its own (_rowid, _distance). SQL may fold case. */
function isFieldColumn(name: string, taken: ReadonlySet<string>): boolean {
  return (
    name !== '' && !name.includes('.') && !name.includes('`') && !name.startsWith('_') && !taken.has(name.toLowerCase())
  );
}

function uniqueName(name: string, taken: Set<string>): string {
  const plain = name.replace(/[.`]/g, '_').replace(/^_+/, '');
  let unique = plain === '' ? 'vector' : plain;
  while (taken.has(unique.toLowerCase())) unique = `${unique}_vector`;
  taken.add(unique.toLowerCase());
  return unique;
}
