import { createHash } from 'node:crypto';
import { Incompatible } from '../../errors.ts';
import type { InPlace } from '../place-port.ts';
import type { Column, Layout, VectorField, VectorForm } from './catalog.ts';
import { maxNameBytes, quoteName, quoteText } from './names.ts';

/**
 * A table that gets a new vector beside the old one. The run's column stands beside the old one until the switch, which
 * renames both; which of the two a side reads is told from the names that are there.
 */

export interface PlaceNames {
  /** The run's column before the switch. */
  readonly made: string;
  /** The old column after it. */
  readonly backup: string;
  /** Trigger and function that empty the run's column where a text changes. */
  readonly stale: string;
  /** The same for the old column, after the switch. */
  readonly outdated: string;
  /** Partial index of the rows that lack the run's vector. */
  readonly lacking: string;
  /** Stands for NOT NULL until that is proved. */
  readonly required: string;
  /** Temporary table of a session. */
  readonly stage: string;
}

/** Names of their own for each run and table, and within PostgreSQL's bound. */
function placeNames(run: string, table: string, column: string): PlaceNames {
  const short = createHash('sha256').update(`${run}\0${table}\0${column}`).digest('hex').slice(0, 8);
  return {
    made: cutTo(column, `__vecferry_${short}`),
    backup: cutTo(column, `__before_${short}`),
    // Triggers fire by name: these see what the table's own have made of a row.
    stale: `zzz_vecferry_stale_${short}`,
    outdated: `zzz_vecferry_outdated_${short}`,
    lacking: `vecferry_lacking_${short}`,
    required: `vecferry_required_${short}`,
    stage: `vecferry_place_${short}`,
  };
}

/** A column that a run in place made or kept, of whatever run. */
export const isRunsColumn = (name: string): boolean => /__(?:vecferry|before)_[0-9a-f]{8}$/.test(name);

/** The name with an ending, shortened before it to what PostgreSQL keeps. */
export function cutTo(name: string, ending: string): string {
  const room = maxNameBytes - Buffer.byteLength(ending);
  let start = name;
  while (Buffer.byteLength(start) > room) start = start.slice(0, -1);
  return (start.isWellFormed() ? start : start.slice(0, -1)) + ending;
}

/** A column that the text is made of. */
export interface TextColumn {
  readonly field: string;
  readonly column: Column;
  /** SQL of what of it the text is made of, of the row `row`. Two are the same where their texts are. */
  readonly of: (row: string) => string;
  /** SQL: true of each row where it is not empty. */
  readonly filled: string;
}

export interface Placed {
  readonly place: InPlace;
  readonly names: PlaceNames;
  /** The vector's name in batches, and the name of its column for readers. */
  readonly vector: string;
  readonly column: string;
  /** beside: the run's column waits for the switch. absent: it is not there. fill: there is one column, which is filled. */
  readonly state: 'absent' | 'beside' | 'switched' | 'fill';
  /** The column that the run fills; undefined where it is absent. */
  readonly made: VectorField | undefined;
  /** The one that readers used before; undefined where one column is filled, or the old one was dropped. */
  readonly old: VectorField | undefined;
  readonly texts: readonly TextColumn[];
  /** Fields of the text that no column holds. */
  readonly unknown: readonly string[];
}

export interface PlacedLayout extends Layout {
  readonly placed: Placed;
}

/** The table as a side of a run in place sees it. */
export function placeLayout(layout: Layout, place: InPlace): PlacedLayout {
  const placed = findPlaced(layout, place);
  const { made, old, state, vector, names } = placed;
  const chosen = place.side === 'target' || state === 'fill' ? made : old;
  const shown = chosen === undefined ? [] : [{ ...chosen, name: vector }];
  const isHidden = place.side === 'source' && state === 'fill';
  const others = layout.vectors.filter(
    ({ column }) => !isRunsColumn(column.name) && column.name !== placed.column && column.name !== names.made,
  );
  const at = layout.vectors.findIndex(({ column }) => column.name === placed.column);
  const vectors = others.toSpliced(at < 0 ? others.length : at, 0, ...shown);
  return {
    ...layout,
    vectors: isHidden ? vectors.map((each) => (each.name === vector ? { ...each, isHidden } : each)) : vectors,
    fields: layout.fields.filter(({ name }) => !isRunsColumn(name) && name !== chosen?.column.name),
    indexes: layout.indexes.filter(({ name }) => name !== names.lacking),
    ...(isHidden && { filter: `${quoteName(placed.column)} IS NULL` }),
    placed,
  };
}

function findPlaced(layout: Layout, place: InPlace): Placed {
  const own = layout.vectors.filter(({ column }) => !isRunsColumn(column.name));
  const dense = own.filter(({ form }) => form !== 'sparsevec');
  const vector = place.vector ?? (dense.length === 1 ? dense[0]?.name : undefined) ?? 'embedding';
  const here = own.find(({ name }) => name === vector) ?? arrayField(layout, vector, place.dimension);
  const column = here?.column.name ?? vector;
  const names = placeNames(place.run, layout.table, column);
  const called = (name: string): VectorField | undefined => layout.vectors.find((each) => each.column.name === name);
  const [beside, backup] = [called(names.made), called(names.backup)];
  const texts = place.fields.map((field) => textColumn(layout, field));
  const common = {
    ...{ place, names, vector, column },
    texts: texts.filter((each) => typeof each !== 'string'),
    unknown: texts.filter((each) => typeof each === 'string'),
  };
  if (place.records === 'missing') return { ...common, state: 'fill', made: here, old: undefined };
  if (backup !== undefined) return { ...common, state: 'switched', made: here, old: backup };
  return { ...common, state: beside === undefined ? 'absent' : 'beside', made: beside, old: here };
}

const arrayForms: Readonly<Record<string, VectorForm>> = { _float4: 'float4[]', _float8: 'float8[]' };

/** A column of real[] or double precision[], which needs no extension: a vector to who says so. */
function arrayField({ fields }: Layout, vector: string, dimension: number | undefined): VectorField | undefined {
  const column = fields.find(({ name }) => name === vector);
  const form = column === undefined ? undefined : arrayForms[column.base];
  if (column === undefined || form === undefined) return undefined;
  return { name: vector, column, form, dimension, distance: undefined, index: { kind: 'none' } };
}

/** The field itself where no column holds it. */
function textColumn({ fields, payload }: Layout, field: string): TextColumn | string {
  const steps = field.split('.');
  if (payload !== undefined) {
    const within = (row: string): string[] => membersOf(`${row}${quoteName(payload.name)}`, [[field], steps]);
    return {
      field,
      column: payload,
      of: (row) => `ROW(${within(`${row}.`).join(', ')})`,
      filled: isFilled(within('')),
    };
  }
  const column = fields.find(({ name }) => name === field) ?? fields.find(({ name }) => name === steps[0]);
  if (column === undefined) return field;
  const name = quoteName(column.name);
  // json has no operator for equality, and other types may have none.
  const of = (row: string): string => `${row}.${name}::text`;
  if (column.isArray) return { field, column, of, filled: `cardinality(${name}) > 0` };
  if (column.base !== 'jsonb' && column.base !== 'json') return { field, column, of, filled: `${name}::text ~ '\\S'` };
  const path = column.name === field ? [] : steps.slice(1);
  return { field, column, of, filled: isFilled(membersOf(`${name}::jsonb`, [path])) };
}

/** What lies at these paths of a value of jsonb, each once. */
function membersOf(value: string, paths: readonly (readonly string[])[]): string[] {
  const each = paths.map((path) => `${value} #> ARRAY[${path.map(quoteText).join(', ')}]::text[]`);
  return [...new Set(each)];
}

/** White space in JSON is itself, or n, r, t or f behind a backslash. */
function isFilled(values: readonly string[]): string {
  const each = values.map((value) => `(${value})::text !~ '^(null|\\[\\]|"(\\s|\\\\[nrtf])*")$'`);
  return `coalesce(${each.join(', ')}, false)`;
}

/** The text's columns of two rows differ. */
export const textDiffers = ({ texts }: Placed, one: string, other: string): string =>
  texts.map(({ of }) => `${of(one)} IS DISTINCT FROM ${of(other)}`).join(' OR ') || 'false';

/**
 * True of every row whose text is not empty, and of few others: what a list or an object of JSON comes to as a text is not
 * known to the server.
 */
export const mayHaveText = ({ texts }: Placed): string =>
  `(${texts.map(({ filled }) => filled).join(' OR ') || 'false'})`;

/** The column that the run fills. @throws Incompatible where it is not there (any more). */
export function requireMade({ made, names, column, state }: Placed, table: string): VectorField {
  if (made !== undefined) return made;
  const name = state === 'fill' ? column : names.made;
  throw new Incompatible(
    `table ${table} has no column ${quoteName(name)} that takes the run's vectors: it was dropped, or the run was retired; start the run again`,
    { ids: [name] },
  );
}
