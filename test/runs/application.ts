import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientRecord, ClientSide, Identified } from '../../lib/client/side.ts';
import { seededRandom } from '../../lib/sample.ts';

/**
 * An application that reads and writes through the client for as long as it is let, and keeps account of both: which
 * writes were acknowledged, and which side answered each read. It runs in the test's process and in others' alike.
 */

/** What the application searches with: `request` and `key` are its own, for its account. */
export interface ApplicationQuery {
  readonly request: number;
  readonly key: string;
  readonly vector: Float32Array;
  readonly k: number;
}
export type Side = ClientSide<ClientRecord, ApplicationQuery, Identified>;

/** What the application needs of a client. */
export interface Client {
  search(key: string, query: ApplicationQuery): Promise<readonly Identified[]>;
  upsert(records: readonly ClientRecord[]): Promise<void>;
  delete(ids: readonly string[]): Promise<void>;
  fetch(key: string, ids: readonly string[]): Promise<readonly ClientRecord[]>;
  /** Milliseconds since it read the flag; undefined before the first time. */
  flagAgeMs(): number | undefined;
}

export interface ApplicationOptions {
  /** Names the application in its records; no two may share it. */
  readonly name: string;
  readonly seed: number;
  /** Name and length of the vector searched. */
  readonly vector: { readonly name: string; readonly dimension: number };
  /** Records 1 to `records` are there from the begin; those with id % writers = writer are this application's alone. */
  readonly records: number;
  readonly writers: number;
  readonly writer: number;
  /** The last so many of `records` belong to nobody: every application writes them, at the same time as others. */
  readonly shared: number;
  /** Milliseconds between two writes, and between two reads of each reader. */
  readonly writeEveryMs: number;
  readonly readEveryMs: number;
  readonly readers: number;
}

/** One read as the application saw it. Times are milliseconds since the epoch. */
export interface Read {
  readonly key: string;
  readonly at: number;
  readonly ms: number;
  /** How old the flag was that the client went by; null where it had to read it first. */
  readonly flagAgeMs: number | null;
  /** Places in the order in which they were asked on the caller's behalf, up to its answer. */
  readonly asked: readonly string[];
  readonly error?: string;
  readonly hits: number;
}

export interface Account {
  readonly name: string;
  /** Of the ids that are this application's alone: the tag of the last acknowledged write, null for a delete. */
  readonly acknowledged: Readonly<Record<string, string | null>>;
  /** Ids whose last write was not acknowledged: with the tags that they may have. */
  readonly uncertain: Readonly<Record<string, readonly (string | null)[]>>;
  /** Every tag this application has tried to give to shared ids. */
  readonly shared: Readonly<Record<string, readonly (string | null)[]>>;
  readonly writes: { readonly upserts: number; readonly deletes: number; readonly records: number };
  readonly failedWrites: readonly string[];
  /** Acknowledged writes that were read again at once and were not there, by whichever side; a sentence each. */
  readonly staleReads: readonly string[];
  readonly reads: readonly Read[];
}

export interface Application {
  readonly reads: readonly Read[];
  /** Writes acknowledged so far. */
  readonly written: () => number;
  /** Messages of writes that failed so far. */
  readonly failedWrites: readonly string[];
  /** Lets what is under way end, and gives the account. */
  stop(): Promise<Account>;
}

/** The tag of the records that were there before any application. */
export const seedTag = 'seed';

/** The vector of a record is made from its id and its tag, so each record says by itself whether it is whole. */
export function vectorOf(id: string, tag: string, dimension: number): Float32Array {
  const random = seededRandom(createHash('sha256').update(`${id} ${tag}`).digest().readUInt32BE(0));
  const values = Float32Array.from({ length: dimension }, () => random() * 2 - 1 || 0.5);
  // Length 1, so that a store which normalises changes nothing that shows.
  const norm = Math.hypot(...values);
  return values.map((value) => value / norm);
}

export function recordOf(id: string, tag: string, { name, dimension }: ApplicationOptions['vector']): ClientRecord {
  return { id, vectors: { [name]: vectorOf(id, tag, dimension) }, payload: { tag, word: `word ${id}` } };
}

/** The side, which notes in `asked` that it was asked for a request. */
export function noting(side: Side, place: string, asked: Map<number, string[]>): Side {
  return {
    ...side,
    search: (query) => {
      asked.get(query.request)?.push(place);
      return side.search(query);
    },
  };
}

/** Starts writing and reading. @param asked filled by the sides that `noting` made for this application's client */
export function startApplication(
  options: ApplicationOptions,
  client: Client,
  asked: Map<number, string[]>,
): Application {
  const stopping = { now: false };
  const reads: Read[] = [];
  const writer = startWriter(options, client, stopping);
  const readers = Array.from({ length: options.readers }, (_, at) =>
    startReader(options, client, { asked, reads, stopping, reader: at }),
  );
  return {
    reads,
    written: writer.written,
    failedWrites: writer.failedWrites,
    stop: async () => {
      stopping.now = true;
      await Promise.all([writer.ended, ...readers]);
      return { name: options.name, reads, ...writer.account() };
    },
  };
}

interface ReaderParts {
  readonly asked: Map<number, string[]>;
  readonly reads: Read[];
  readonly stopping: { readonly now: boolean };
  readonly reader: number;
}

async function startReader(
  { name, seed, vector, readEveryMs, readers }: ApplicationOptions,
  client: Client,
  { asked, reads, stopping, reader }: ReaderParts,
): Promise<void> {
  const random = seededRandom(seed + 1000 + reader);
  for (let request = reader; !stopping.now; request += readers) {
    const key = `user-${Math.floor(random() * 400)}`;
    const query = { request, key, vector: vectorOf(key, `${name} ${request}`, vector.dimension), k: 5 };
    const places: string[] = [];
    asked.set(request, places);
    const at = Date.now();
    const began = performance.now();
    const flagAgeMs = client.flagAgeMs() ?? null;
    const noted = (rest: { hits: number; error?: string }): void => {
      // What comes later is a shadow read, which is not the caller's.
      reads.push({ key, at, ms: performance.now() - began, flagAgeMs, asked: [...places], ...rest });
    };
    await client.search(key, query).then(
      (hits) => noted({ hits: hits.length }),
      (error: unknown) => noted({ hits: 0, error: String(error) }),
    );
    await sleep(readEveryMs);
  }
}

function startWriter(options: ApplicationOptions, client: Client, stopping: { readonly now: boolean }) {
  const { name, seed, records, writers, writer, shared, writeEveryMs, vector } = options;
  const random = seededRandom(seed);
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)];
  const own = Array.from({ length: records - shared }, (_, at) => at + 1)
    .filter((id) => id % writers === writer)
    .map(String);
  const contested = Array.from({ length: shared }, (_, at) => String(records - at));
  const there = new Set(own);
  const gone = new Set<string>();
  const acknowledged = new Map<string, string | null>();
  const uncertain = new Map<string, (string | null)[]>();
  const tried = new Map<string, (string | null)[]>();
  const failedWrites: string[] = [];
  const staleReads: string[] = [];
  const counts = { upserts: 0, deletes: 0, records: 0 };
  let made = 0;
  let tags = 0;

  /** Ids of the next write, with their new tags. */
  const next = (): readonly (readonly [string, string | null])[] => {
    const tag = (): string => `${name} ${++tags}`;
    const several = (from: readonly string[], count: number): string[] => [
      ...new Set(Array.from({ length: count }, () => pick(from)).filter((id) => id !== undefined)),
    ];
    const kind = random();
    const count = 1 + Math.floor(random() * 4);
    if (kind < 0.2) {
      const isDelete = random() < 0.3;
      return several(contested, count).map((id) => [id, isDelete ? null : tag()]);
    }
    if (kind < 0.35) return several([...gone], count).map((id) => [id, tag()]);
    if (kind < 0.55) return several([...there], count).map((id) => [id, null]);
    if (kind < 0.75) {
      // Above all that was there: new ids lie in no shard.
      return Array.from({ length: count }, () => [String(records + 1 + writer + writers * made++), tag()]);
    }
    return several([...there], count).map((id) => [id, tag()]);
  };

  const lastOf = (id: string): string | null => {
    const last = acknowledged.get(id);
    return last === undefined ? (Number(id) <= records ? seedTag : null) : last;
  };

  const write = async (change: readonly (readonly [string, string | null])[]): Promise<void> => {
    const isDelete = change.some(([, tag]) => tag === null);
    const ids = change.map(([id]) => id);
    for (const [id, tag] of change) {
      if (contested.includes(id)) tried.set(id, [...(tried.get(id) ?? []), tag]);
      else uncertain.set(id, [...(uncertain.get(id) ?? [lastOf(id)]), tag]);
    }
    if (isDelete) await client.delete(ids);
    else await client.upsert(change.map(([id, tag]) => recordOf(id, tag ?? '', vector)));
    counts[isDelete ? 'deletes' : 'upserts'] += 1;
    counts.records += ids.length;
    for (const [id, tag] of change) {
      if (contested.includes(id)) continue;
      uncertain.delete(id);
      acknowledged.set(id, tag);
      if (tag === null) there.delete(id);
      else there.add(id);
      if (tag === null) gone.add(id);
      else gone.delete(id);
    }
    if (random() < 0.3) await readAgain(change.filter(([id]) => !contested.includes(id)));
  };

  /** What a user does who looks at what they have just saved. */
  const readAgain = async (change: readonly (readonly [string, string | null])[]): Promise<void> => {
    const key = `user-${Math.floor(random() * 400)}`;
    const found = await client.fetch(
      key,
      change.map(([id]) => id),
    );
    const tags = new Map(found.map(({ id, payload }) => [id, payload['tag']]));
    for (const [id, tag] of change) {
      const there = tags.get(id) ?? null;
      if (there !== tag) staleReads.push(`${key} wrote ${tag} to ${id} and read ${there}`);
    }
  };

  const run = async (): Promise<void> => {
    while (!stopping.now) {
      const change = next();
      // A write that failed is repeated until it is acknowledged, as an application would: nothing else touches its ids.
      for (let done = change.length === 0; !done && !stopping.now; ) {
        try {
          await write(change);
          done = true;
        } catch (error) {
          failedWrites.push(String(error));
          await sleep(50);
        }
      }
      await sleep(writeEveryMs);
    }
  };
  return {
    ended: run(),
    failedWrites,
    written: () => counts.upserts + counts.deletes,
    account: () => ({
      acknowledged: Object.fromEntries(acknowledged),
      uncertain: Object.fromEntries(uncertain),
      shared: Object.fromEntries(tried),
      writes: { ...counts },
      failedWrites,
      staleReads,
    }),
  };
}
