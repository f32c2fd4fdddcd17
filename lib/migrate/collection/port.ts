import { Incompatible, InvalidEvent, NotFound } from '../../errors.ts';
import type { CollectionSchema, VectorIndex, VectorSpec } from '../../schema.ts';
import { resolveConnection, secretsOf } from '../../secrets.ts';
import type { Description, ResolvedConnection, Store, StoreKind } from '../../stores/port.ts';
import { storeKind } from '../../stores/registry.ts';
import type { MigratedStore } from '../port.ts';
import { copyEvent, reasonsToCopy } from './copy.ts';
import { add, type Draft, finish, newDraft } from './draft.ts';
import type { Action, CollectionPlan } from './plan.ts';
import { copiesOf, mustBeOurs, type Planner, type Wanted } from './planner.ts';
import { carryOutByPort } from './port-actions.ts';
import { refuseWhatIsNot } from './port-words.ts';
import { baseOf, nameOfCopy, nameToCreate } from './qdrant-names.ts';
import { recordChanges, recordsOfSeeds } from './seeds.ts';
import type { Change, VectorWords } from './words.ts';

/** Collection files on stores that are changed through their port alone: Chroma, LanceDB, and pgvector with SQL of its own beside it. */

/** What a store adds to what every port can. */
export interface Extra {
  /** True: vectors are kept as they are, and compared by whatever an index says. False: another distance is another collection. */
  readonly changesDistance: boolean;
  /** Changes of a collection that is there, beside its records and pointers. @throws Incompatible for what it cannot be changed to */
  changes(input: ExtraInput): Promise<void>;
  carryOutSql(statements: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

export interface ExtraInput {
  readonly draft: Draft;
  readonly collection: string;
  readonly wanted: Wanted;
  readonly described: Description;
}

export type OpenExtra = (connection: ResolvedConnection, migrated: MigratedStore) => Promise<Extra>;

export async function openPortPlanner(migrated: MigratedStore, openExtra: OpenExtra): Promise<Planner> {
  const kind = await storeKind(migrated.store);
  const connection = await resolveConnection(migrated.connection, secretsOf.environment);
  const extra = await openExtra(connection, migrated);
  const stores = new Map<string, Store>();
  const open = async (collection: string): Promise<Store> => {
    const there = stores.get(collection) ?? (await kind.open({ connection, collection, options: migrated.options }));
    stores.set(collection, there);
    return there;
  };
  return {
    plan: async (wanted) => {
      refuseWhatIsNot(kind, wanted);
      return await planByPort({ wanted: withNames(wanted, kind, migrated), kind, migrated, open, extra });
    },
    carryOut: async (action, hands) => {
      if (action.do === 'sql') await extra.carryOutSql(action.statements);
      else await carryOutByPort(action, hands, open);
    },
    close: async () => {
      for (const store of stores.values()) await store.close();
      stores.clear();
      await extra.close();
    },
  };
}

/** The only vector may be said without its name, which the store then gives. */
function withNames(wanted: Wanted, { capabilities }: StoreKind, { options }: MigratedStore): Wanted {
  const { vectors } = wanted.change;
  const only = vectors?.[''];
  if (vectors === undefined || only === undefined) return wanted;
  const own = options['vector'];
  const name = typeof own === 'string' ? own : (capabilities.defaultVectorName ?? '');
  const { '': _, ...others } = vectors;
  return { ...wanted, change: { ...wanted.change, vectors: { ...others, [name]: only } } };
}

interface Around {
  readonly wanted: Wanted;
  readonly kind: StoreKind;
  readonly migrated: MigratedStore;
  readonly open: (collection: string) => Promise<Store>;
  readonly extra: Extra;
}

async function planByPort(around: Around): Promise<CollectionPlan> {
  const { wanted, open, extra } = around;
  const { change } = wanted;
  const draft = newDraft();
  const collection = await findByPort(around);
  const described = await describedOrNone(await open(collection));
  if (change.drop?.collection === true) return await planDrop(around, draft, collection, described);
  if (described === undefined) return await planCreate(around, draft);
  if (collection !== wanted.name) draft.notes.push(`${wanted.name} is ${collection}`);
  const reasons = reasonsToCopy(comparable(change, described.schema.vectors, extra), described.schema.vectors);
  if (reasons.length > 0) return await planCopy({ ...around, draft, collection, described, reasons });
  await planViewsThatGo(around, draft, collection);
  await extra.changes({ draft, collection, wanted, described });
  await planRecords(around, draft, collection, described.schema.vectors, await open(collection));
  await planViews(around, draft, collection);
  return finish(draft);
}

/** A distance or a size that the store does not tell is taken for the one that is wanted; a vector that is not there is the store's own affair. */
function comparable(change: Change, there: CollectionSchema['vectors'], { changesDistance }: Extra): Change {
  const vectors = Object.entries(change.vectors ?? {}).flatMap(([name, words]): [string, VectorWords][] => {
    const spec = there.find((each) => each.name === name);
    if (spec === undefined) return [];
    const { distance: _d, size: _s, ...others } = words;
    return [
      [
        name,
        {
          ...others,
          ...(words.size !== undefined && spec.dimension !== undefined && { size: words.size }),
          ...(words.distance !== undefined &&
            spec.distance !== undefined &&
            !changesDistance && { distance: words.distance }),
        },
      ],
    ];
  });
  return { ...change, vectors: Object.fromEntries(vectors) };
}

/** What a name stands for: a view's table, or the copy that a view of the file stands for by now. */
async function findByPort({ wanted, kind, open }: Around): Promise<string> {
  const { name, change } = wanted;
  if (kind.capabilities.pointer === false) return name;
  const { pointer } = await open(name);
  const read = async (view: string): Promise<string | undefined> => {
    try {
      return await pointer?.read(view);
    } catch (error) {
      // A table of that name.
      if (error instanceof Incompatible) return undefined;
      throw error;
    }
  };
  const own = await read(name);
  if (own !== undefined) return own;
  for (const view of new Set([...(change.aliases ?? []), ...copiesOf(wanted).map((each) => each.pointer)])) {
    const to = await read(view);
    if (to !== undefined && to !== name && baseOf(to) === name) return to;
  }
  const made = nameToCreate(wanted);
  if (made === name || (await describedOrNone(await open(made))) === undefined) return name;
  mustBeOurs(wanted, made);
  return made;
}

async function describedOrNone(store: Store): Promise<Description | undefined> {
  try {
    return await store.describe();
  } catch (error) {
    if (error instanceof NotFound) return undefined;
    throw error;
  }
}

/** The index of a vector in the words of a schema; undefined: the file says nothing of it. */
export function indexOfWords({ index, hnsw }: VectorWords): VectorIndex | undefined {
  if (index !== undefined || hnsw === undefined) return index;
  const { m, efConstruction, efSearch } = hnsw;
  if (m === 0) return { kind: 'none' };
  return {
    kind: 'hnsw',
    ...(m !== undefined && { m }),
    ...(efConstruction !== undefined && { efConstruction }),
    ...(efSearch !== undefined && { efSearch }),
  };
}

async function planCreate(around: Around, draft: Draft): Promise<CollectionPlan> {
  const { wanted, kind } = around;
  const { change, name, file } = wanted;
  const entries = Object.entries(change.vectors ?? {});
  const unsized = entries.find(([, { size }]) => size === undefined);
  if (entries.length === 0 || unsized !== undefined) {
    const lacking = unsized === undefined ? 'vectors' : `size of vector '${unsized[0]}'`;
    throw new InvalidEvent(`there is no '${name}', and ${file.path} does not say how it is made: ${lacking}`, {
      ids: [name],
    });
  }
  const collection = nameToCreate(wanted);
  const vectors = entries.map(([vector, words]): VectorSpec => {
    const { size, distance = kind.capabilities.defaultDistance, precision = 'float32' } = words;
    // What is not named is not made: an index is.
    const index = indexOfWords(words) ?? (kind.name === 'chroma' ? undefined : { kind: 'none' as const });
    return { name: vector, kind: 'dense', dimension: size, distance, precision, ...(index && { index }) };
  });
  const fields = Object.entries(change.columns ?? {}).map(([field, { type, nullable }]) => ({
    name: field,
    type: 'text' as const,
    native: type,
    nullable,
  }));
  const schema: CollectionSchema = {
    store: kind.name,
    idType: kind.name === 'chroma' ? 'string' : (change.idType ?? 'integer'),
    key: [],
    vectors,
    ...(change.columns !== undefined && { fields }),
    payloadIndexes: [],
    native: {},
  };
  add(draft, { do: 'prepare', collection, schema }, [{ do: 'dropCollection', collection }]);
  await planRecords(around, draft, collection, vectors, undefined);
  if (vectors.some(({ index }) => index !== undefined && index.kind !== 'none'))
    add(draft, { do: 'buildIndex', collection, schema }, []);
  await around.extra.changes({
    draft,
    collection,
    wanted: { ...wanted, change: onlyIndexes(change) },
    described: { schema, count: 0, payloadBytes: 0 },
  });
  await planViews(around, draft, collection);
  return finish(draft);
}

/** Of a table that is made: its columns and vectors are there with it. */
const onlyIndexes = ({ payloadIndexes, columns }: Change): Change =>
  payloadIndexes === undefined ? {} : { payloadIndexes, ...(columns && { columns }) };

async function planRecords(
  { wanted, kind }: Around,
  draft: Draft,
  collection: string,
  vectors: CollectionSchema['vectors'],
  store: Store | undefined,
): Promise<void> {
  const drop = (wanted.change.drop?.records ?? []).map(String);
  const seeds = recordsOfSeeds(wanted.seeds, vectors, wanted.file.path);
  if (seeds.length + drop.length === 0) return;
  const { capabilities } = kind;
  const { steps, inverse } = await recordChanges({ store, collection, vectors, capabilities, seeds, drop });
  for (const [at, action] of steps.entries()) add(draft, action, store !== undefined && at === 0 ? inverse : []);
}

/**
 * Views that go: first, since a column that goes, or comes back, may not be one of theirs. Each is moved in a transaction of its own.
 * @throws Incompatible where one stands for another table
 */
async function planViewsThatGo({ wanted, kind, open }: Around, draft: Draft, collection: string): Promise<void> {
  if (kind.capabilities.pointer === false) return;
  const { pointer } = await open(collection);
  for (const alias of wanted.change.drop?.aliases ?? []) {
    const was = await pointer?.read(alias);
    if (was === undefined) continue;
    if (was !== collection)
      throw new Incompatible(
        `view '${alias}' stands for '${was}', not for '${collection}'; drop it in a file of that one`,
        { ids: [alias] },
      );
    const moves = [{ alias, to: null }];
    add(draft, { do: 'moveAliases', moves }, [{ do: 'moveAliases', moves: [{ alias, to: was }] }]);
  }
}

async function planViews({ wanted, kind, open }: Around, draft: Draft, collection: string): Promise<void> {
  if (kind.capabilities.pointer === false) return;
  const { pointer } = await open(collection);
  for (const alias of wanted.change.aliases ?? []) {
    const was = (await pointer?.read(alias)) ?? null;
    if (was === collection) continue;
    const moves = [{ alias, to: collection }];
    add(draft, { do: 'moveAliases', moves }, [{ do: 'moveAliases', moves: [{ alias, to: was }] }]);
  }
}

async function planDrop(
  { wanted, open }: Around,
  draft: Draft,
  collection: string,
  described: Description | undefined,
): Promise<CollectionPlan> {
  if (described === undefined) return finish(draft);
  await (await open(collection)).drop?.({ dryRun: true });
  const why = `with its ${described.count} records, which only a backup brings back`;
  const { vectors, seed, aliases } = wanted.change;
  if (vectors !== undefined || seed !== undefined || aliases !== undefined)
    throw new InvalidEvent(
      `${wanted.file.path}: drop.collection takes '${wanted.name}' away, and other fields change it; say one of the two`,
      { ids: [wanted.name] },
    );
  add(draft, { do: 'dropCollection', collection }, [], why);
  return { ...finish(draft), inverse: undefined };
}

/** @throws Incompatible where readers have no view to follow, or the store has none */
async function planCopy(
  input: Around & {
    readonly draft: Draft;
    readonly collection: string;
    readonly described: Description;
    readonly reasons: readonly string[];
  },
): Promise<CollectionPlan> {
  const { wanted, kind, migrated, open, extra, draft, collection, described, reasons } = input;
  const { change, file, name } = wanted;
  const why = reasons.join('; ');
  if (kind.capabilities.pointer === false)
    throw new Incompatible(
      `${file.path}: ${why}. That needs a copy, and ${kind.title} has no alias that readers could follow there: run an event from '${collection}' to a new collection with a routing flag (docs/cutover.md), and name the new one in files from then on`,
      { ids: [name] },
    );
  const { pointer } = await open(collection);
  const begun = copiesOf(wanted).find(({ to }) => to === collection);
  const views: string[] = [];
  for (const view of new Set([name, ...(change.aliases ?? [])]))
    if (view !== collection && (await pointer?.read(view)) === collection) views.push(view);
  const [view] = begun === undefined ? views : [begun.pointer];
  if (view === undefined)
    throw new Incompatible(
      `${file.path}: ${why}. That needs a copy of '${collection}', which takes over under a view: first a migration with "aliases: [NAME]" of it; then have every reader use NAME; then this one again, with that line in it`,
      { ids: [collection] },
    );
  const taken = new Set<string>();
  let to = begun?.from ?? '';
  while (to === '') {
    const next = nameOfCopy(collection, file.number, { collections: taken, aliases: new Map() });
    if ((await describedOrNone(await open(next))) === undefined) to = next;
    taken.add(next);
  }
  const run = begun?.run ?? `migrate-${to}`.replace(/[^A-Za-z0-9_-]/g, '-').slice(0, 80);
  const { vectors } = described.schema;
  const event = copyEvent({
    store: migrated,
    change: comparable(change, vectors, extra),
    vectors,
    from: collection,
    to,
    pointer: view,
    options: migrated.options,
  });
  const back: Action = { do: 'takeBack', run, pointer: view, from: to, to: collection };
  add(draft, { do: 'copy', collection, to, pointer: view, run, event }, [back], why);
  draft.notes.push(
    `${collection} stays until run ${run} is retired; taken back, ${to} stays with what was written to it`,
  );
  const others = views.filter((each) => each !== view);
  if (others.length > 0) {
    const moves = others.map((alias) => ({ alias, to }));
    const inverse = others.map((alias) => ({ alias, to: collection }));
    add(draft, { do: 'moveAliases', moves }, [{ do: 'moveAliases', moves: inverse }]);
  }
  const { columns, payloadIndexes, seed, drop } = change;
  if (columns !== undefined || payloadIndexes !== undefined || seed !== undefined || drop !== undefined)
    draft.notes.push('columns, payloadIndexes, seed and drop of this file wait: say them in the next one, of the copy');
  return finish(draft);
}
