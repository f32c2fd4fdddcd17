import { QdrantClient } from '@qdrant/js-client-rest';
import { z } from 'zod';
import { AccessDenied, Incompatible, InvalidEvent, NotFound, StoreUnavailable } from '../../errors.ts';
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
  /** What the optimizer has left to do; undefined: the server does not tell, being older than 1.17. */
  optimizations(): Promise<Optimizations | undefined>;
  /** Makes a payload index, and returns once it is there. */
  indexPayload(field: string, schema: unknown): Promise<void>;
  /** One that is not there is no error. */
  dropPayloadIndex(field: string): Promise<void>;
  /** Every collection of the server, and what each alias stands for. */
  names(): Promise<ServerNames>;
  /** Moves aliases as one change; undefined removes one, and one that is not there is no error. */
  moveAliases(moves: readonly { readonly alias: string; readonly to: string | undefined }[]): Promise<void>;
  readonly pointer: Pointer;
  /** Deletes the collection itself, never what an alias of that name stands for. @throws Incompatible while aliases stand for it. */
  drop(options: DropOptions): Promise<Dropping>;
}

export interface ServerNames {
  readonly collections: ReadonlySet<string>;
  readonly aliases: ReadonlyMap<string, string>;
}

export interface Optimizations {
  /** Records in segments that wait to be rebuilt, and the share that is left of those being rebuilt. */
  readonly left: number;
}

/** @see https://api.qdrant.tech/api-reference/collections/get-optimizations */
const optimizationsSchema = z.looseObject({
  summary: z.looseObject({ queued_points: z.number() }),
  running: z.array(
    z.looseObject({
      segments: z.array(z.looseObject({ points_count: z.number() })),
      progress: z.looseObject({ done: z.number().nullish(), total: z.number().nullish() }),
    }),
  ),
});

const serviceSchema = z.looseObject({ version: z.string() });

export interface AdminOptions {
  /**
   * Milliseconds an answer is waited for; left out: the client's own 300,000. PATCH waits until optimizations under way have ended (before
   * github.com/qdrant/qdrant/pull/9121), and a payload index until every record was read, which may take hours.
   */
  readonly waitMs?: number;
}

export function openAdmin(
  url: string,
  apiKey: string | undefined,
  collection: string,
  { waitMs }: AdminOptions = {},
): Admin {
  const { origin, pathname } = new URL(url);
  const client = new QdrantClient({
    url: origin,
    ...(pathname === '/' ? {} : { prefix: pathname }),
    // As a header: given as apiKey, the client prints a warning on every plain http connection.
    ...(apiKey === undefined ? {} : { headers: { 'api-key': apiKey } }),
    // We look at the version ourselves; the client's own look prints to the console.
    checkCompatibility: false,
    ...(waitMs === undefined ? {} : { timeout: waitMs }),
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
      // The client's own method leaves out the metadata.
      const args = { ...createArguments.parse(body), collection_name: collection };
      await call(about('create'), () => client.api().createCollection(args));
    },
    update: async (body) => {
      await call(about('update'), () => client.updateCollection(collection, updateArguments.parse(body)));
    },
    optimizations: async () => {
      try {
        const found: unknown = await call(about('the optimizations of'), () => client.getOptimizations(collection));
        const parsed = optimizationsSchema.safeParse(found);
        return parsed.success ? leftOf(parsed.data) : undefined;
      } catch (error) {
        // What is left is for people to read; whether it is over is told by the collection's status.
        if (error instanceof NotFound || error instanceof InvalidEvent || error instanceof AccessDenied)
          return undefined;
        throw error;
      }
    },
    indexPayload: async (field, schema) => {
      const args = indexArguments.parse({ wait: true, field_name: field, field_schema: schema });
      await call(about(`index field ${field} of`), () => client.createPayloadIndex(collection, args));
    },
    dropPayloadIndex: async (field) => {
      await call(about(`drop the index of field ${field} of`), () =>
        client.deletePayloadIndex(collection, field, { wait: true }),
      );
    },
    names: async () => {
      const [{ collections }, { aliases }] = await call('the collections and aliases', () =>
        Promise.all([client.getCollections(), client.getAliases()]),
      );
      return {
        collections: new Set(collections.map(({ name }) => name)),
        aliases: new Map(aliases.map(({ alias_name, collection_name }) => [alias_name, collection_name])),
      };
    },
    moveAliases: async (moves) => {
      const actions = moves.map(({ alias, to }) => aliasAction(alias, to));
      if (actions.length > 0)
        await call(
          `move ${moves.length === 1 ? 'alias' : 'aliases'} ${moves.map(({ alias }) => alias).join(', ')}`,
          () => client.updateCollectionAliases({ actions }),
        );
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
        await call(`move alias ${name}`, () => client.updateCollectionAliases({ actions: [aliasAction(name, to)] }));
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

/**
 * Points an alias at a collection, whatever it stood for before; undefined takes it away, and one that is not there is no error. Never a
 * delete and a create: Qdrant shows readers all actions of a request at once, but keeps those before one that it refuses
 * (TableOfContent::update_aliases in its source), so a create that fails would leave readers without their alias.
 */
export const aliasAction = (alias: string, to: string | undefined) =>
  to === undefined
    ? { delete_alias: { alias_name: alias } }
    : { create_alias: { collection_name: to, alias_name: alias } };

function leftOf({ summary, running }: z.infer<typeof optimizationsSchema>): Optimizations {
  const under = running.map(({ segments, progress: { done, total } }) => {
    const points = segments.reduce((sum, { points_count }) => sum + points_count, 0);
    const share = done && total ? Math.min(1, done / total) : 0;
    // Something at least while it runs.
    return Math.max(1, points * (1 - share));
  });
  return { left: under.reduce((sum, each) => sum + each, summary.queued_points) };
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
