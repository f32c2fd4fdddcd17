import { Incompatible } from '../../errors.ts';
import type { ServerNames } from '../../stores/qdrant/admin.ts';
import type { Wanted } from './planner.ts';

/** A collection as the file calls it, and what it is on the server by now. */
export interface Found {
  /** What it is called on the server, alias or not; undefined: it is not there. */
  readonly collection: string | undefined;
  /** Aliases that stand for it. */
  readonly aliases: readonly string[];
}

const successor = /^(.+)__\d{3,}(?:_\d+)?$/;

/** `articles__009` and `articles` are both `articles`. */
export const baseOf = (name: string): string => successor.exec(name)?.[1] ?? name;

/**
 * Which collection is meant. A name may be an alias's. A collection that was copied keeps its name in files: `articles` is then the copy
 * that readers' alias stands for, `articles__009`, whether or not the old one is still there.
 * @throws Incompatible where aliases stand for several of them
 */
export function findCollection(name: string, { collections, aliases }: ServerNames): Found {
  const of = (collection: string): Found => ({
    collection,
    aliases: [...aliases].filter(([, to]) => to === collection).map(([alias]) => alias),
  });
  const pointed = aliases.get(name);
  if (pointed !== undefined) return of(pointed);
  const own = collections.has(name) ? of(name) : undefined;
  if (own !== undefined && own.aliases.length > 0) return own;
  const copies = new Set([...aliases.values()].filter((to) => to !== name && baseOf(to) === name));
  const [copy, another] = copies;
  if (another !== undefined)
    throw new Incompatible(
      `aliases stand for several copies of '${name}' (${[...copies].join(', ')}); name the one that is meant, or its alias`,
      { ids: [name] },
    );
  return copy === undefined ? (own ?? { collection: undefined, aliases: [] }) : of(copy);
}

/** What a collection is made as: under its own name, or as `articles__001` where its name is to be readers' alias. */
export function nameToCreate({ name, change, file }: Wanted): string {
  return change.aliases?.includes(name) === true ? numbered(name, file.number) : name;
}

/** A name for a copy that nothing has yet. A run is called as it, so that a second copy of one migration is another run. */
export function nameOfCopy(collection: string, number: number, { collections, aliases }: ServerNames): string {
  const first = numbered(baseOf(collection), number);
  for (let at = 1; ; at++) {
    const name = at === 1 ? first : `${first}_${at}`;
    if (!collections.has(name) && !aliases.has(name)) return name;
  }
}

const numbered = (base: string, number: number): string => `${base}__${String(number).padStart(3, '0')}`;
