import { z } from 'zod';

/** The part of an event that says which names stay, and under which ones the same was known before. docs/names.md. */

const name = z.string().min(1);
/** Stable name -> its old ones. */
const oldNames = z.record(z.string(), z.array(z.string()).min(1)).default({});

const shape = z.strictObject({
  /** The collection's stable name: what its routing flag is called, too. */
  collection: name.optional(),
  /** Its old names. */
  aliases: z.array(name).default([]),
  /** Payload fields: stable name -> old ones. */
  fields: oldNames,
  /** Vectors: stable name -> old ones; '' is Qdrant's unnamed vector. */
  vectors: oldNames,
  /** True: a name in a shard or a file that is no stable name, no alias and not in the run's schema is refused. False: it is skipped and counted. */
  strict: z.boolean().default(true),
});
export type Names = z.infer<typeof shape>;

export const namesSchema = shape.superRefine((given, { addIssue }) => {
  for (const { path, message } of problemsOf(given)) addIssue({ code: 'custom', path: [...path], message });
});

interface Problem {
  readonly path: readonly string[];
  readonly message: string;
}

function problemsOf({ collection, aliases, fields, vectors }: Names): Problem[] {
  const problems = [...clashes('fields', fields), ...clashes('vectors', vectors)];
  if (collection !== undefined) return [...problems, ...clashes('aliases', { [collection]: aliases })];
  if (aliases.length > 0)
    problems.push({ path: ['aliases'], message: 'are old names of a collection: give its stable name as collection' });
  return problems;
}

/** An alias stands for one thing, and a stable name for itself. */
function clashes(what: string, names: Readonly<Record<string, readonly string[]>>): Problem[] {
  const claimed = new Map<string, string>();
  return Object.entries(names).flatMap(([stable, old]) =>
    old.flatMap((alias): Problem[] => {
      const path = what === 'aliases' ? [what] : [what, stable];
      if (Object.hasOwn(names, alias)) {
        const which = alias === stable ? 'the stable name itself' : 'a stable name of its own';
        return [{ path, message: `hold '${alias}', which is ${which}; an alias is an old name of one thing` }];
      }
      const other = claimed.get(alias);
      claimed.set(alias, stable);
      if (other === undefined) return [];
      return [
        { path, message: `hold '${alias}', which '${other}' claims already; an alias is an old name of one thing` },
      ];
    }),
  );
}
