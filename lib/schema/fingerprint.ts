import { createHash } from 'node:crypto';
import type { CollectionSchema } from '../schema.ts';

/**
 * The fingerprint of a collection's schema: what a record of it holds, and nothing of how it is kept. docs/names.md.
 *
 * In it: the type of the ids (of a composite key also the types of its columns, in order), each vector's name, kind and
 * dimension, and the model that made it where that is known, each declared field's name and type, and whether fields are declared at all. Not in it: the order of vectors and
 * fields, what may be null, distances and indexes (a PostgreSQL index that comes or goes changes them, and no record),
 * precision (a shard holds float32), the store and its native words.
 */

/** Bumped when the same schema would get another fingerprint; shards of the old one are then told apart by what differs. */
const fingerprintVersion = 1;

/** SHA-256, hex, of JSON text that is the same for every spelling of a schema. The form is held by a golden test. */
export function fingerprintOf(schema: CollectionSchema): string {
  const known = fingerprints.get(schema);
  if (known !== undefined) return known;
  const made = createHash('sha256').update(canonical(schema)).digest('hex');
  fingerprints.set(schema, made);
  return made;
}

/** By the object: a plan is asked for its own with every shard. */
const fingerprints = new WeakMap<CollectionSchema, string>();

function canonical({ idType, key, vectors, fields }: CollectionSchema): string {
  return JSON.stringify([
    'vecferry schema',
    fingerprintVersion,
    idType === 'composite' ? [idType, ...key.map(({ type }) => type)] : [idType],
    vectors
      .map(({ name, kind, dimension, model }) => [
        name,
        kind,
        dimension ?? null,
        model === undefined ? null : [model.name, model.version ?? null],
      ])
      .sort(byName),
    fields === undefined ? null : fields.map(({ name, type }) => [name, type]).sort(byName),
  ]);
}

/** By UTF-16 units, as the same everywhere: a locale's order is not. */
function byName([a]: readonly unknown[], [b]: readonly unknown[]): number {
  return String(a) < String(b) ? -1 : 1;
}
