import { createHash } from 'node:crypto';
import { Incompatible, NotFound } from '../../errors.ts';
import type { Distance } from '../../schema.ts';
import type { IndexSide } from '../index-port.ts';
import { distanceOfOpclass, indexOf, type Layout, type VectorField } from './catalog.ts';
import type { Session } from './connect.ts';
import { cutTo } from './in-place.ts';

/**
 * A vector that gets another index. The run's index stands beside the old one under a name of its own until the cutover, which
 * gives it the old one's name, and the old one another; which is which is told from the names that are there.
 */

export interface OwnIndex {
  readonly oid: string;
  readonly name: string;
  readonly method: 'hnsw' | 'ivfflat';
  /** False: left by a build that failed, or under way. Every write goes into it, and no search does. */
  readonly isValid: boolean;
  /** False: of some rows, or of an expression. */
  readonly isPlain: boolean;
  /** True: a part of a partitioned table's index. */
  readonly isAttached: boolean;
  readonly opclass: string;
  readonly options: readonly string[];
  readonly comment: string | null;
  /** null: the database's default. */
  readonly tablespace: string | null;
  readonly bytes: number;
}

export interface Indexed {
  readonly side: IndexSide;
  /** The vector; its index is the old one's, whichever side looks. */
  readonly field: VectorField;
  /** Name of the run's index before the cutover. */
  readonly madeName: string;
  /** absent: the run's index is not there, or the old one is gone for good. */
  readonly state: 'absent' | 'beside' | 'switched';
  /** The run's; undefined where it is absent. It may be invalid. */
  readonly made: OwnIndex | undefined;
  /** What searches went through before; undefined: nothing. */
  readonly old: OwnIndex | undefined;
  /** Further indexes of the vector. */
  readonly others: readonly OwnIndex[];
  readonly distance: Distance | undefined;
}

export interface IndexedLayout extends Layout {
  readonly indexed: Indexed;
}

export const isIndexed = (layout: Layout): layout is IndexedLayout => 'indexed' in layout;

/** What the comment of an index says that took no old one's place, once readers may have it. */
const markPrefix = 'vecferry: index of run ';
const markOf = (short: string): string => `${markPrefix}${short}`;

/** True of a comment that marks an index as a run's own: of the index that takes its place it would be said falsely. */
export const isMark = (comment: string): boolean => comment.startsWith(markPrefix);

const shortOf = ({ run }: IndexSide, { schema, table }: Layout, column: string): string =>
  createHash('sha256').update(`${run}\0${schema}\0${table}\0${column}\0index`).digest('hex').slice(0, 8);

/** The old index's name after the cutover. */
export const backupName = (name: string, madeName: string): string =>
  cutTo(name, madeName.slice(-'__vecferry_12345678'.length).replace('__vecferry_', '__before_'));

/** The comment by which an index that took no old one's place is known. */
export const newMark = ({ madeName }: Indexed): string => markOf(madeName.slice(-8));

const isOfARun = (name: string): boolean => /__(?:vecferry|before)_[0-9a-f]{8}$/.test(name);
/** Of another run: it was not taken back, or not retired. */
export const isOfAnotherRun = ({ name }: OwnIndex, madeName: string): boolean =>
  isOfARun(name) && name.slice(-8) !== madeName.slice(-8);

/**
 * The table as a side of the run sees it: a source has the old index, a target the run's, whatever their names are by now.
 * @throws NotFound, Incompatible where there is no such vector, or several and none is named
 */
export async function indexLayout(session: Session, layout: Layout, side: IndexSide): Promise<IndexedLayout> {
  const field = fieldOfSide(layout, side);
  const column = field.column.name;
  const short = shortOf(side, layout, column);
  const madeName = cutTo(`${layout.table}_${column}`, `__vecferry_${short}`);
  const all = await indexesOf(session, layout.oid, column);
  const found = findIndexes(all, { madeName, mark: markOf(short), replaces: side.replaces });
  const { old, made } = found;
  const own = side.side === 'source' ? old : made;
  // Before the run's index is there, and once the old one is gone, both sides have the one that is.
  const shown = own ?? (side.to === undefined ? old : undefined);
  const index = shown?.isValid === true ? indexOf(shown) : ({ kind: 'none' } as const);
  const opclass = old?.opclass ?? made?.opclass;
  const distance = (opclass === undefined ? undefined : distanceOfOpclass(opclass, field.form)) ?? field.distance;
  const vectors = layout.vectors.map((each) => (each.name === field.name ? { ...each, index, distance } : each));
  const ofField = old?.isValid === true ? indexOf(old) : ({ kind: 'none' } as const);
  return {
    ...layout,
    vectors,
    indexed: { side, field: { ...field, index: ofField, distance }, madeName, distance, ...found },
  };
}

function findIndexes(
  all: readonly OwnIndex[],
  {
    madeName,
    mark,
    replaces,
  }: { readonly madeName: string; readonly mark: string; readonly replaces: string | undefined },
): Pick<Indexed, 'state' | 'made' | 'old' | 'others'> {
  const ending = madeName.slice(-8);
  const backup = all.find(({ name }) => name.endsWith(`__before_${ending}`));
  const beside = all.find(({ name }) => name === madeName);
  const marked = all.find(({ comment }) => comment === mark);
  // After the cutover the run's has the old one's name, and its operator class.
  const isMeant = ({ name, opclass }: OwnIndex): boolean =>
    replaces === undefined || replaces === name || replaces === opclass;
  const isForeign = (each: OwnIndex): boolean => each.isPlain && each.isValid && !isOfARun(each.name) && isMeant(each);
  if (backup !== undefined || marked !== undefined) {
    const made = marked ?? all.find(isForeign);
    return { state: 'switched', made, old: backup, others: without(all, made, backup) };
  }
  const old = all.find((each) => each !== beside && isForeign(each));
  return { state: beside === undefined ? 'absent' : 'beside', made: beside, old, others: without(all, beside, old) };
}

const without = (all: readonly OwnIndex[], ...some: readonly (OwnIndex | undefined)[]): readonly OwnIndex[] =>
  all.filter((each) => !some.includes(each));

function fieldOfSide({ vectors, table, fields }: Layout, { vector }: IndexSide): VectorField {
  const names = vectors.map(({ name }) => `'${name}'`).join(', ');
  if (vector !== undefined) {
    const field = vectors.find(({ name }) => name === vector);
    if (field !== undefined) return field;
    const column = fields.find(({ name }) => name === vector);
    if (column !== undefined) {
      const text = `column '${vector}' of table '${table}' is a ${column.type}, and the index of a vector or a halfvec is what can be changed`;
      throw new Incompatible(`${text}; change that of another type by hand`, { ids: ['index.vector'] });
    }
    throw new NotFound(`index.vector: table '${table}' has no vector '${vector}'; it has ${names || 'none'}`, {
      ids: ['index.vector'],
    });
  }
  const dense = vectors.filter(({ form }) => form !== 'sparsevec');
  const [only] = dense;
  if (only !== undefined && dense.length === 1) return only;
  const text = only === undefined ? 'has no dense vector' : `has several vectors, ${names}`;
  throw new Incompatible(`table '${table}' ${text}; name the one whose index changes with index.vector`, {
    ids: ['index.vector'],
  });
}

/** Those on vectors that have to do with the column, the oldest first. pg_depend: PostgreSQL manual, system catalogs. */
async function indexesOf(session: Session, oid: string, column: string): Promise<readonly OwnIndex[]> {
  const rows = await session.rows(
    `SELECT c.oid::text AS oid, c.relname::text AS name, m.amname::text AS method, i.indisvalid::text AS valid,
       (i.indpred IS NULL AND i.indexprs IS NULL)::text AS plain, c.relispartition::text AS attached,
       (SELECT opcname::text FROM pg_opclass WHERE oid = i.indclass[0]) AS opclass,
       array_to_string(c.reloptions, ',')::text AS options, obj_description(c.oid, 'pg_class')::text AS comment,
       (SELECT spcname::text FROM pg_tablespace WHERE oid = c.reltablespace) AS tablespace,
       coalesce(pg_relation_size(c.oid), 0)::text AS bytes
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
     WHERE i.indrelid = $1::oid AND m.amname IN ('hnsw', 'ivfflat') AND EXISTS (
       SELECT FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
       WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass
         AND d.refobjid = $1::oid AND a.attname = $2::text)
     ORDER BY c.oid`,
    [oid, column],
  );
  return rows.map((row) => ({
    oid: row['oid'] ?? '',
    name: row['name'] ?? '',
    method: row['method'] === 'ivfflat' ? 'ivfflat' : 'hnsw',
    isValid: row['valid'] === 'true',
    isPlain: row['plain'] === 'true',
    isAttached: row['attached'] === 'true',
    opclass: row['opclass'] ?? '',
    options: row['options'] ? row['options'].split(',') : [],
    comment: row['comment'] ?? null,
    tablespace: row['tablespace'] ?? null,
    bytes: Number(row['bytes'] ?? 0),
  }));
}
