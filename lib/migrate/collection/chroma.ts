import { Incompatible } from '../../errors.ts';
import type { OpenPlanner } from './planner.ts';
import { indexOfWords, openPortPlanner } from './port.ts';

/** Chroma's graph is made with the collection, and keeps its settings: docs.trychroma.com, configure collections. */
export const openChromaPlanner: OpenPlanner = async (migrated) =>
  await openPortPlanner(migrated, async () => ({
    changesDistance: false,
    changes: async ({ wanted, described, collection }) => {
      for (const [name, words] of Object.entries(wanted.change.vectors ?? {})) {
        const there = described.schema.vectors.find((each) => each.name === name);
        if (there === undefined)
          throw new Incompatible(
            `Chroma collection '${collection}' has the vector '${described.schema.vectors[0]?.name}' and no '${name}'`,
            { ids: [name] },
          );
        const found: Readonly<Record<string, unknown>> = { ...there.index };
        const other = Object.entries(indexOfWords(words) ?? {}).find(([key, value]) => found[key] !== value);
        if (other === undefined) continue;
        const [key, value] = other;
        throw new Incompatible(
          `${wanted.file.path}: '${collection}' has ${key} ${found[key]} instead of ${value}, which Chroma sets when a collection is made; run an event to a new collection with it (docs/cutover.md)`,
          { ids: [key] },
        );
      }
    },
    carryOutSql: async () => undefined,
    close: async () => undefined,
  }));
