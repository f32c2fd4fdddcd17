import { QdrantClient } from '@qdrant/js-client-rest';
import { z } from 'zod';
import { Incompatible, InvalidEvent, NotFound, StoreUnavailable } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import type { DropOptions, Dropping, Pointer } from '../port.ts';
import { fromClient, TooLarge } from './errors.ts';
import { type CollectionInfo, infoSchema } from './settings.ts';

/** Everything about a collection but its records, over Qdrant's REST client. */
export interface Admin {
  readonly collection: string;
  /** `1.18.3` */
  version(): Promise<string>;
  /** @throws NotFound when there is no collection or alias of this name. */
  info(): Promise<CollectionInfo>;
  /** Records, exact. */
  count(): Promise<number>;
  /** Records without each vector, by name, of those that any record lacks. */
  countWithoutVector(names: readonly string[]): Promise<Readonly<Record<string, number>>>;
  create(body: Record<string, unknown>): Promise<void>;
  update(body: Record<string, unknown>): Promise<void>;
  /** Makes a payload index, and returns once it is there. */
  indexPayload(field: string, schema: unknown): Promise<void>;
  readonly pointer: Pointer;
  /** Deletes the collection itself, never what an alias of that name stands for. @throws Incompatible while aliases stand for it. */
  drop(options: DropOptions): Promise<Dropping>;
}

const serviceSchema = z.looseObject({ version: z.string() });

export function openAdmin(url: string, apiKey: string | undefined, collection: string): Admin {
  const { origin, pathname } = new URL(url);
  const client = new QdrantClient({
    url: origin,
    ...(pathname === '/' ? {} : { prefix: pathname }),
    // As a header: given as apiKey, the client prints a warning on every plain http connection.
    ...(apiKey === undefined ? {} : { headers: { 'api-key': apiKey } }),
    // We look at the version ourselves; the client's own look prints to the console.
    checkCompatibility: false,
  });
  const call = async <T>(what: string, run: () => Promise<T>): Promise<T> => {
    try {
      return await run();
    } catch (error) {
      const said = fromClient(error, { where: url, what, isWrite: false });
      throw said instanceof TooLarge ? new InvalidEvent(said.message, { cause: said }) : said;
    }
  };
  const about = (what: string): string => `${what} collection ${collection}`;
  return {
    collection,
    version: () =>
      call('the version', async () => {
        const { data } = await client.api().root({});
        return parseAs(serviceSchema, data, `${url} is not a Qdrant server: its answer`, StoreUnavailable).version;
      }),
    info: () =>
      call(about('describe'), async () => {
        const info: unknown = await client.getCollection(collection);
        return parseAs(infoSchema, info, `the description of collection ${collection}`, StoreUnavailable);
      }),
    count: () => call(about('count'), async () => (await client.count(collection, { exact: true })).count),
    countWithoutVector: (names) =>
      call(about('count'), async () => {
        const counts = await Promise.all(
          names.map(async (name) => {
            const filter = { must_not: [{ has_vector: name }] };
            return [name, (await client.count(collection, { exact: true, filter })).count] as const;
          }),
        );
        return Object.fromEntries(counts.filter(([, count]) => count > 0));
      }),
    create: async (body) => {
      await call(about('create'), () => client.createCollection(collection, createArguments.parse(body)));
    },
    update: async (body) => {
      await call(about('update'), () => client.updateCollection(collection, updateArguments.parse(body)));
    },
    indexPayload: async (field, schema) => {
      const args = indexArguments.parse({ wait: true, field_name: field, field_schema: schema });
      await call(about(`index field ${field} of`), () => client.createPayloadIndex(collection, args));
    },
    pointer: {
      read: (name) =>
        call(`alias ${name}`, async () => {
          const { aliases } = await client.getAliases();
          return aliases.find(({ alias_name }) => alias_name === name)?.collection_name;
        }),
      move: async (name, to) => {
        const { collections } = await call('the collections', () => client.getCollections());
        if (collections.some((each) => each.name === name))
          throw new InvalidEvent(
            `'${name}' is the name of a collection, so it cannot be an alias; name another cutover.pointer`,
            { ids: [name] },
          );
        if (to !== undefined && !collections.some((each) => each.name === to))
          throw new NotFound(`there is no collection '${to}' to point at`, { ids: [to] });
        // Deleting an alias that is not there is no error; both actions are applied as one change.
        const remove = { delete_alias: { alias_name: name } };
        const create = { create_alias: { collection_name: to ?? '', alias_name: name } };
        const actions = to === undefined ? [remove] : [remove, create];
        await call(`move alias ${name}`, () => client.updateCollectionAliases({ actions }));
      },
    },
    drop: async ({ dryRun = false }) => {
      const [{ collections }, { aliases }] = await call(about('look for'), () =>
        Promise.all([client.getCollections(), client.getAliases()]),
      );
      refuseAliased(collection, aliases);
      const isThere = collections.some(({ name }) => name === collection);
      if (isThere && !dryRun) await call(about('delete'), () => client.deleteCollection(collection));
      return { name: collection, what: `collection '${collection}' of ${url}`, isThere };
    },
  };
}

/** Qdrant would delete a collection's aliases with it, and their readers would find nothing. */
function refuseAliased(
  collection: string,
  aliases: readonly { readonly alias_name: string; readonly collection_name: string }[],
): void {
  const own = aliases.find(({ alias_name }) => alias_name === collection);
  if (own !== undefined)
    throw new Incompatible(`'${collection}' is an alias, which stands for collection '${own.collection_name}'`, {
      ids: [collection],
    });
  const names = aliases.filter(({ collection_name }) => collection_name === collection).map((each) => each.alias_name);
  if (names.length === 0) return;
  const text = `${names.length === 1 ? 'the alias' : 'the aliases'} ${names.join(', ')} of collection '${collection}'`;
  throw new Incompatible(`${text} would go with it; move or delete what readers may still use first`, { ids: names });
}

/** Bodies are made of settings that the server wrote or the user gave, and it is the server that judges them. */
const isBody = (body: unknown): boolean => typeof body === 'object' && body !== null;
const createArguments = z.custom<Parameters<QdrantClient['createCollection']>[1]>(isBody);
const updateArguments = z.custom<Parameters<QdrantClient['updateCollection']>[1]>(isBody);
const indexArguments = z.custom<Parameters<QdrantClient['createPayloadIndex']>[1]>(isBody);
