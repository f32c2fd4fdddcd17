import { Incompatible } from '../../errors.ts';
import { optionsSchema } from '../../stores/lancedb/options.ts';
import { add } from './draft.ts';
import type { OpenPlanner } from './planner.ts';
import { indexOfWords, openPortPlanner } from './port.ts';

/** LanceDB: an index that is not there is built, where the table is large enough to have one. */
export const openLancePlanner: OpenPlanner = async (migrated) => {
  const { indexFrom } = optionsSchema.parse(migrated.options);
  return await openPortPlanner(migrated, async () => ({
    changesDistance: false,
    changes: async ({ draft, wanted, described, collection }) => {
      const { schema, count } = described;
      const vectors = schema.vectors.map((spec) => {
        const words = wanted.change.vectors?.[spec.name];
        const index = words === undefined ? undefined : indexOfWords(words);
        const there = spec.index?.kind ?? 'none';
        if (index === undefined || there === index.kind) return spec;
        if (there !== 'none')
          throw new Incompatible(
            `${wanted.file.path}: vector '${spec.name}' of '${collection}' has an index of kind ${there} instead of ${index.kind}; drop it with LanceDB's drop_index, and this file builds the other`,
            { ids: [spec.name] },
          );
        return { ...spec, index };
      });
      const isNew = vectors.some((spec, at) => spec !== schema.vectors[at]);
      const missing = Object.keys(wanted.change.vectors ?? {}).find(
        (name) => !vectors.some((spec) => spec.name === name),
      );
      if (missing !== undefined)
        throw new Incompatible(
          `table '${collection}' has no vector '${missing}', and its records cannot get it from nothing; make the table anew and load it`,
          { ids: [missing] },
        );
      if (!isNew) return;
      if (count < indexFrom) {
        draft.notes.push(
          `${collection} has ${count} records, and an index is built from ${indexFrom} on: it is searched exactly`,
        );
        return;
      }
      add(
        draft,
        { do: 'buildIndex', collection, schema: { ...schema, vectors } },
        [],
        'built beside searches; taken back, it stays',
      );
    },
    carryOutSql: async () => undefined,
    close: async () => undefined,
  }));
};
