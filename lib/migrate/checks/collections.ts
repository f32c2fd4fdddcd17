import { z } from 'zod';
import { type Batch, denseVector, hasVector } from '../../batch.ts';
import { InvalidEvent, NotFound, VecferryError } from '../../errors.ts';
import { resolveConnection, secretsOf } from '../../secrets.ts';
import type { Store } from '../../stores/port.ts';
import { openAdmin } from '../../stores/qdrant/admin.ts';
import { failureOf } from '../../stores/qdrant/settings.ts';
import { addressesOf } from '../../stores/qdrant.ts';
import { storeKind } from '../../stores/registry.ts';
import { ask } from '../backup/qdrant-requests.ts';
import { readCollectionFile } from '../collection/parse.ts';
import type { Change } from '../collection/words.ts';
import type { MigratedStore } from '../port.ts';
import { judgeCount } from './declared.ts';
import type { ExpectedCount } from './expect.ts';
import { ok, unchecked, wrong } from './look.ts';
import type { About, CheckResult } from './result.ts';

/** What a vector store holds, held against what the collection files that stand have asked for and what expect.yaml declares. */

interface Expected {
  from: string;
  /** By vector: what is to be so; undefined: whatever it is. */
  readonly vectors: Map<string, { size: number | undefined; distance: string | undefined; from: string }>;
  /** Field -> who made it. */
  readonly indexes: Map<string, string>;
  readonly aliases: Map<string, string>;
  count: ExpectedCount | undefined;
}

export async function checkCollections(store: MigratedStore, about: About): Promise<readonly CheckResult[]> {
  const expected = expectedOf(store.name, about);
  const results: CheckResult[] = about.gone.map((number) =>
    unchecked(`migration ${number}: its file is gone`, 'what it made is not known; declare it in expect.yaml'),
  );
  for (const [name, each] of expected) results.push(...(await checkCollection(store, name, each, about)));
  results.push(...(await checkAliases(store, expected, about)));
  return results;
}

/** What the files come to, one after the other. */
function expectedOf(store: string, { files, declared }: About): ReadonlyMap<string, Expected> {
  const all = new Map<string, Expected>();
  const of = (name: string, from: string): Expected => {
    const made = all.get(name) ?? {
      from,
      vectors: new Map(),
      indexes: new Map(),
      aliases: new Map(),
      count: undefined,
    };
    all.set(name, made);
    return made;
  };
  for (const file of files) {
    if (file.kind !== 'collection') continue;
    const read = readCollectionFile(file);
    if (read.store !== store) continue;
    for (const [name, change] of read.up) {
      if (change.drop?.collection === true) all.delete(name);
      else addChange(of(name, file.name), change, file.name, all);
    }
  }
  for (const [name, { vectors, payloadIndexes, count }] of Object.entries(declared.collections)) {
    const each = of(name, 'expect.yaml');
    for (const [vector, words] of Object.entries(vectors))
      each.vectors.set(vector, { size: words.size, distance: words.distance, from: 'expect.yaml' });
    for (const field of payloadIndexes) each.indexes.set(field, 'expect.yaml');
    each.count = count;
  }
  return all;
}

function addChange(each: Expected, change: Change, from: string, all: ReadonlyMap<string, Expected>): void {
  for (const [vector, { size, distance }] of Object.entries(change.vectors ?? {})) {
    const before = each.vectors.get(vector);
    each.vectors.set(vector, { size: size ?? before?.size, distance: distance ?? before?.distance, from });
  }
  for (const field of Object.keys(change.payloadIndexes ?? {})) each.indexes.set(field, from);
  for (const field of change.drop?.payloadIndexes ?? []) each.indexes.delete(field);
  for (const alias of change.aliases ?? []) {
    // An alias stands for one collection: the file that says so last.
    for (const other of all.values()) other.aliases.delete(alias);
    each.aliases.set(alias, from);
  }
  for (const alias of change.drop?.aliases ?? []) each.aliases.delete(alias);
}

async function opened<T>(
  { store, connection, options }: MigratedStore,
  collection: string,
  work: (opened: Store) => Promise<T>,
): Promise<T> {
  const kind = await storeKind(store);
  const resolved = await resolveConnection(connection, secretsOf.environment);
  const handle = await kind.open({ connection: resolved, collection, options, omitFields: [] });
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}

async function checkCollection(
  store: MigratedStore,
  name: string,
  expected: Expected,
  { countOf, timeoutMs }: About,
): Promise<readonly CheckResult[]> {
  const what = `collection ${name}`;
  try {
    return await within(timeoutMs, what, () =>
      opened(store, name, async (handle) => {
        const { schema, count } = await handle.describe();
        const results = [ok(what, `${count} records`), ...checkVectors(name, expected, schema)];
        const indexed = new Set(schema.payloadIndexes.map(({ field }) => field));
        for (const [field, from] of expected.indexes) {
          const about = `${what}: payload index ${field}`;
          const mend = 'make it again in a migration: without it a filter reads every record';
          results.push(indexed.has(field) ? ok(about) : wrong(about, `it is not there, and ${from} made it; ${mend}`));
        }
        if (expected.count !== undefined)
          results.push(await judgeCount(`${what}: its records`, count, expected.count, countOf));
        if (store.store === 'qdrant') results.push(...(await checkState(store, name)));
        // Of PostgreSQL each index is searched by itself.
        const searched = store.store === 'pgvector' ? [] : schema.vectors.filter(({ kind }) => kind === 'dense');
        for (const { name: vector } of searched) results.push(await checkSearch(handle, name, vector, count));
        return results;
      }),
    );
  } catch (error) {
    if (error instanceof NotFound)
      return [
        wrong(what, `it is not there, and ${expected.from} made it; restore a backup, or make it in a migration`),
      ];
    throw error;
  }
}

/** What takes too long is unchecked; what was asked goes on in the store, and changes nothing there. */
async function within(
  timeoutMs: number,
  what: string,
  work: () => Promise<readonly CheckResult[]>,
): Promise<readonly CheckResult[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly CheckResult[]>((resolve) => {
    const said = unchecked(what, `it took longer than ${timeoutMs / 1000} s; give it more with --timeout`);
    timer = setTimeout(() => resolve([said]), timeoutMs);
  });
  return await Promise.race([work(), late]).finally(() => clearTimeout(timer));
}

type Schema = Awaited<ReturnType<Store['describe']>>['schema'];

function checkVectors(collection: string, { vectors }: Expected, schema: Schema): readonly CheckResult[] {
  return [...vectors].map(([name, { size, distance, from }]) => {
    const what = `collection ${collection}: vector '${name}'`;
    // A store with one vector has its own name for it.
    const found = schema.vectors.find((each) => each.name === name) ?? (name === '' ? schema.vectors[0] : undefined);
    if (found === undefined) return wrong(what, `it is not there, and ${from} made it`);
    const copy = 'copy the records into a collection of the right kind: a migration plans that';
    if (size !== undefined && found.dimension !== undefined && found.dimension !== size)
      return wrong(what, `it has ${found.dimension} floats, and ${from} says ${size}; ${copy}`);
    if (distance !== undefined && found.distance !== undefined && found.distance !== distance)
      return wrong(what, `its distance is ${found.distance}, and ${from} says ${distance}; ${copy}`);
    return ok(what, `${found.dimension ?? 'any'} floats, ${found.distance ?? 'any distance'}`);
  });
}

/** red: an optimization failed; yellow: one is under way; grey: one waits for the next write. qdrant.tech/documentation/concepts/collections */
async function checkState({ connection }: MigratedStore, name: string): Promise<readonly CheckResult[]> {
  const { url, apiKey } = addressesOf(await resolveConnection(connection, secretsOf.environment));
  const info = await openAdmin(url, apiKey, name).info();
  const { status, payload_schema } = info;
  const what = `collection ${name}: its status`;
  const fields: CheckResult[] = [];
  for (const [field, { points, data_type: type }] of Object.entries(payload_schema)) {
    const about = `collection ${name}: payload index ${field} covers its records`;
    const filter = { must_not: [{ is_empty: { key: field } }] };
    const path = `/collections/${encodeURIComponent(name)}/points/count`;
    let held: number;
    try {
      held = (await ask({ name, url, apiKey }, 'POST', path, countSchema, { exact: true, filter })).count;
    } catch (error) {
      // Strict mode may allow no exact count, nor such a filter.
      if (!(error instanceof InvalidEvent)) throw error;
      fields.push(unchecked(about, `the server does not count them: ${error.message}`));
      continue;
    }
    const covered = points ?? held;
    if (covered < held && status !== 'green') {
      fields.push(
        unchecked(about, `${covered} of ${held} by now, and the collection is ${status}; check again once it is green`),
      );
      continue;
    }
    fields.push(
      covered >= held
        ? ok(about, `${covered} as ${type}`)
        : wrong(
            about,
            `${held} records have the field, and the index holds ${covered}: the values of the others are no ${type}; make the index of their type, or mend them`,
          ),
    );
  }
  const why = failureOf(info);
  if (why !== undefined) {
    return [
      ...fields,
      wrong(
        what,
        `it is red: ${why}; look at the server's log and disk, then write to it or change a setting to start it again`,
      ),
    ];
  }
  if (status === 'green') return [...fields, ok(what, status)];
  const how = status === 'grey' ? 'an optimization waits for the next write' : 'its index is being built';
  return [...fields, unchecked(what, `${status}: ${how}; check again once it is green`)];
}

const countSchema = z.looseObject({ count: z.int().nonnegative() });
const k = 10;

/** A stored record is looked for by its own vector: it is found, among as many hits as there can be. */
async function checkSearch(store: Store, collection: string, vector: string, count: number): Promise<CheckResult> {
  const what = `collection ${collection}: a search by vector '${vector}'`;
  if (count === 0) return ok(what, 'no record yet');
  const sample = await firstWith(store, vector);
  if (sample === undefined) return unchecked(what, 'of the first hundred records none has this vector');
  const hits = await store.search({ vector, query: sample.query, k });
  const wanted = Math.min(k, sample.isOnly ? count : 1);
  if (hits.length < wanted)
    return wrong(what, `it found ${hits.length} records of at least ${wanted}; build its index again`);
  const { schema } = await store.describe();
  const distance = schema.vectors.find(({ name }) => name === vector)?.distance;
  // By inner product a longer vector may be nearer than the vector itself; duplicates may be before it.
  const isFound =
    hits.some(({ id }) => id === sample.id) || new Set(hits.map(({ score }) => score.toFixed(5))).size === 1;
  if (!isFound && distance !== 'dot')
    return wrong(what, `record ${sample.id} is not found by its own vector; build its index again`);
  return ok(what, `${hits.length} hits, record ${sample.id} by its own vector`);
}

async function firstWith(
  store: Store,
  vector: string,
): Promise<{ readonly id: string; readonly query: Float32Array; readonly isOnly: boolean } | undefined> {
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 100, maxBytes: 32 << 20 })) {
    const found = denseIn(batch, vector);
    // Every record of the first hundred has it, so it is taken that all have.
    return found === undefined ? undefined : { ...found, isOnly: found.isWhole };
  }
  return undefined;
}

function denseIn(batch: Batch, vector: string) {
  const column = batch.vectors.get(vector);
  if (column === undefined || column.kind !== 'dense') return undefined;
  const isWhole = batch.ids.every((_, index) => hasVector(column, index));
  for (const [index, id] of batch.ids.entries()) {
    if (!hasVector(column, index)) continue;
    const query = denseVector(column, index);
    // Of a zero vector there is no cosine.
    if (query.some((value) => value !== 0)) return { id, query: query.slice(), isWhole };
  }
  return undefined;
}

async function checkAliases(
  store: MigratedStore,
  expected: ReadonlyMap<string, Expected>,
  { declared }: About,
): Promise<readonly CheckResult[]> {
  const wanted = [
    ...[...expected].flatMap(([name, { aliases }]) => [...aliases].map(([alias, from]) => ({ alias, to: name, from }))),
    ...Object.entries(declared.aliases).map(([alias, to]) => ({ alias, to, from: 'expect.yaml' })),
  ];
  const results: CheckResult[] = [];
  for (const { alias, to, from } of wanted) {
    const what = `alias ${alias}`;
    results.push(
      await opened(store, to, async ({ pointer }) => {
        const at = await pointer?.read(alias);
        const target = at === undefined || at === to ? to : await pointer?.read(to);
        if (at === to || at === target) return ok(what, `stands for ${at}`);
        const now = at === undefined ? 'it is not there' : `it stands for ${at}`;
        return wrong(what, `${now}, and ${from} says ${to}; move it in a migration, or say there where it stands`);
      }).catch((error: unknown) => {
        if (!(error instanceof VecferryError)) throw error;
        return unchecked(what, error.message);
      }),
    );
  }
  return results;
}
