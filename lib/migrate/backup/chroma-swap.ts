import { Incompatible, InvalidEvent } from '../../errors.ts';
import type { ChromaApi } from '../../stores/chroma/http.ts';

/**
 * A Chroma collection that is made anew by a restore: filled under a name of its own, then put in the old one's place by two renames. At
 * every moment the old one or the new one is whole, and what a killed process leaves says by its name what it is.
 */

export interface NamedCollection {
  readonly id: string;
  readonly name: string;
}

const madeEnd = '--vecferry-restored';
const oldEnd = '--vecferry-replaced';

/** The name that readers know, of one that a restore has made or put aside. */
export const nameOfReaders = (name: string): string =>
  [madeEnd, oldEnd].reduce((left, end) => (left.endsWith(end) ? left.slice(0, -end.length) : left), name);

/** Of the one that is being filled. Chroma's names are letters, digits, `.`, `_` and `-`, 512 at most (chromadb 1.5.9). */
export const underWay = (name: string): string => `${name}${madeEnd}`;
const replaced = (name: string): string => `${name}${oldEnd}`;

/**
 * Ends what a killed restore has left: one that was being filled goes, one that was being replaced gets its name back, or goes where the
 * new one has its place.
 *
 * @param tell gets a line for each
 * @throws Incompatible where somebody has made a collection under the name meanwhile
 */
export async function settleCollections(
  api: ChromaApi,
  all: readonly NamedCollection[],
  tell: (line: string) => void,
): Promise<void> {
  const names = new Set(all.map(({ name }) => name));
  for (const { id, name: old } of all.filter(({ name }) => name.endsWith(oldEnd))) {
    const name = old.slice(0, -oldEnd.length);
    if (!names.has(name)) {
      await rename(api, id, old, name);
      tell(`collection ${name} has its name back, which a restore that was killed had taken from it`);
    } else if (names.has(underWay(name))) throw takenMeanwhile(name);
    else {
      await drop(api, old);
      tell(`collection ${old} is dropped: a restore that was killed had put the restored one in its place`);
    }
  }
  for (const { name } of all.filter((each) => each.name.endsWith(madeEnd))) {
    await drop(api, name);
    tell(`collection ${name} is dropped, which a restore that was killed had begun to fill`);
  }
}

/** Puts the new one in the old one's place. @throws Incompatible where somebody has made a collection under the name between the two renames */
export async function swapIn(api: ChromaApi, name: string, all: readonly NamedCollection[]): Promise<void> {
  const made = all.find((each) => each.name === underWay(name));
  const old = all.find((each) => each.name === name);
  if (old !== undefined) await rename(api, old.id, name, replaced(name));
  if (made !== undefined) {
    await rename(api, made.id, underWay(name), name).catch((error: unknown) => {
      throw error instanceof InvalidEvent ? takenMeanwhile(name) : error;
    });
  }
  if (old !== undefined) await drop(api, replaced(name));
}

const takenMeanwhile = (name: string): Incompatible =>
  new Incompatible(
    `collection ${name} was made by somebody else while it was being replaced, as get_or_create_collection does: what was there before is ${replaced(name)}, what was restored ${underWay(name)}; stop its writers, drop ${name}, and restore again`,
    { ids: [name] },
  );

const rename = async (api: ChromaApi, id: string, from: string, to: string): Promise<unknown> =>
  await api.call(
    `renaming collection '${from}' to '${to}'`,
    'PUT',
    `/collections/${id}`,
    JSON.stringify({ new_name: to }),
  );

export const drop = async (api: ChromaApi, name: string): Promise<unknown> =>
  await api.call(`dropping collection '${name}'`, 'DELETE', `/collections/${encodeURIComponent(name)}`);
