import { Incompatible, InvalidEvent } from '../../errors.ts';
import { patiently } from '../../patiently.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore, MigrationFile, Step } from '../port.ts';
import { readCollectionFile, seedsOf } from './parse.ts';
import { type Action, type CollectionPlan, lineOf, type Planned, type Rollback, rollbackSchema } from './plan.ts';
import type { Hands, OpenPlanner, Planner, Wanted } from './planner.ts';
import type { Change } from './words.ts';

/**
 * Collection files as steps of the ordered migrations: what is to be done is worked out from what is there, as data, and so is what takes it
 * back, before anything is changed. docs/migrations.md.
 */

export interface CollectionStepInput {
  readonly file: MigrationFile;
  readonly config: MigrateConfig;
  /** Runs the main job for what cannot be changed in place, and returns once its readers have moved. @throws what the run failed with */
  readonly copy: (event: unknown, run: string) => Promise<void>;
  /** Takes the readers of such a run back, as `vecferry rollback` does. Left out: the alias alone is moved, and the run does not know. */
  readonly rollBack?: (run: string) => Promise<void>;
}

export interface CollectionUpInput extends CollectionStepInput {
  /** What `begun up` lines of this file hold as their rollback since it was last `up` or `down`, oldest first: it died half way. */
  readonly begun?: readonly string[];
}

/** Loads a store's planner only where a file is of that store: some bring native code that takes long to load. */
const planners: Readonly<Record<string, () => Promise<OpenPlanner>>> = {
  chroma: async () => (await import('./chroma.ts')).openChromaPlanner,
  lancedb: async () => (await import('./lancedb.ts')).openLancePlanner,
  pgvector: async () => (await import('./pgvector.ts')).openPgvectorPlanner,
  qdrant: async () => (await import('./qdrant.ts')).openQdrantPlanner,
};

/**
 * The step that brings a store to what a collection file says: creates what is missing, changes what can be, plans a copy for what cannot.
 * @throws InvalidEvent, Incompatible for what the store cannot have or be changed to: nothing was changed
 */
export async function collectionUp(input: CollectionUpInput): Promise<Step> {
  const { file, config, begun = [] } = input;
  const { store: name, up } = readCollectionFile(file);
  const earlier = begun.map((text) => parseRollback(text, file));
  const plan = await planChanges({
    file,
    store: storeOf(config, name, file),
    changes: up,
    earlier: earlier.flatMap(({ actions }) => actions),
  });
  const rollback = rollbackOf(name, plan, earlier);
  return stepOf({ ...input, store: name, plan, rollback });
}

/** The step that takes it back, by what was recorded as it was applied, or as the file itself says. */
export async function collectionDown(input: CollectionStepInput & { readonly applied: HistoryEntry }): Promise<Step> {
  const { file, config, applied } = input;
  // A file that was changed or lost since says nothing of what was applied: what was recorded does.
  const isAsApplied = file.text !== '' && file.checksum === applied.checksum;
  const { store: name = '', down } = isAsApplied ? readCollectionFile(file) : {};
  if (down !== undefined) {
    const plan = await planChanges({ file, store: storeOf(config, name, file), changes: down, earlier: [] });
    return stepOf({ ...input, store: name, plan, rollback: undefined });
  }
  if (applied.rollback === undefined)
    throw new Incompatible(
      `${file.path} cannot be taken back: it took something away that nothing but a backup brings back; restore the backup from before it`,
      { ids: [file.name] },
    );
  const { store, actions, notes } = parseRollback(applied.rollback, file);
  const steps = actions.map((action): Planned => ({ action, line: lineOf(action) }));
  return stepOf({ ...input, store, plan: { steps, inverse: [], notes, unvalidated: [] }, rollback: undefined });
}

/** Reads a collection file and asks no store. @throws InvalidEvent naming each field that is wrong, or a store that there is not. */
export function parseCollectionFile(file: MigrationFile, config: Pick<MigrateConfig, 'stores'>): void {
  loaderOf(storeOf(config, readCollectionFile(file).store, file));
}

function storeOf(config: Pick<MigrateConfig, 'stores'>, name: string, file: MigrationFile): MigratedStore {
  const store = config.stores.get(name);
  if (store !== undefined) return store;
  const known = [...config.stores.keys()].join(', ') || 'none';
  throw new InvalidEvent(`${file.path}: store is '${name}', and the configuration of the folder has ${known}`, {
    ids: [name],
  });
}

async function openPlanner(store: MigratedStore): Promise<Planner> {
  return await (await loaderOf(store)())(store);
}

function loaderOf({ name, store }: MigratedStore): () => Promise<OpenPlanner> {
  const load = planners[store];
  if (load !== undefined) return load;
  throw new InvalidEvent(
    `store '${name}' is ${store}, which collection files do not change; they change ${Object.keys(planners).join(', ')}`,
    { ids: [name] },
  );
}

interface ChangesInput {
  readonly file: MigrationFile;
  readonly store: MigratedStore;
  readonly changes: ReadonlyMap<string, Change>;
  readonly earlier: readonly Action[];
}

async function planChanges({ file, store, changes, earlier }: ChangesInput): Promise<CollectionPlan> {
  const planner = await openPlanner(store);
  try {
    const plans: CollectionPlan[] = [];
    for (const [name, change] of changes) {
      const wanted: Wanted = { name, change, seeds: await seedsOf(file, change), file, begun: earlier };
      plans.push(await patiently(() => planner.plan(wanted)));
    }
    const inverses = plans.map(({ inverse }) => inverse);
    return {
      steps: plans.flatMap(({ steps }) => steps),
      // Of several collections one that cannot be brought back makes all of it final.
      inverse: inverses.includes(undefined) ? undefined : inverses.toReversed().flatMap((each) => each ?? []),
      notes: plans.flatMap(({ notes }) => notes),
      unvalidated: plans.flatMap(({ unvalidated }) => unvalidated),
    };
  } finally {
    await planner.close();
  }
}

/**
 * What a step does to the store, then what takes it back. Of one that died half way the earlier tries are taken back after this one: each
 * sets what it found, so the first one's old values stand in the end.
 */
function rollbackOf(
  store: string,
  { inverse, notes }: CollectionPlan,
  earlier: readonly Rollback[],
): string | undefined {
  if (inverse === undefined) return undefined;
  const before = earlier.toReversed();
  const actions = [...inverse, ...before.flatMap((each) => each.actions)];
  const rollback: Rollback = {
    format: 1,
    store,
    actions: lastOfEach(actions),
    notes: [...new Set([...before.flatMap((each) => each.notes), ...notes])],
  };
  return JSON.stringify(rollback);
}

/** Of an action that is there twice the last: the others change nothing that it does not set. */
function lastOfEach(actions: readonly Action[]): Action[] {
  const texts = actions.map((action) => JSON.stringify(action));
  return actions.filter((_, at) => texts.indexOf(texts[at] ?? '', at + 1) === -1);
}

function parseRollback(text: string, file: MigrationFile): Rollback {
  const refuse = (why: string): never => {
    throw new InvalidEvent(`what the history holds to take ${file.path} back is not readable: ${why}`, {
      ids: [file.name],
    });
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return refuse(String(error));
  }
  const read = rollbackSchema.safeParse(parsed);
  return read.success ? read.data : refuse(read.error.message);
}

interface StepParts extends CollectionStepInput {
  readonly store: string;
  readonly plan: CollectionPlan;
  readonly rollback: string | undefined;
}

function stepOf({ file, config, copy, rollBack, store: name, plan, rollback }: StepParts): Step {
  const store = storeOf(config, name, file);
  const hands: Hands = { copy, rollBack };
  const lines = plan.steps.map(({ line }) => `${name}: ${line}`);
  const unvalidated = plan.unvalidated.map((note) => `${name}: ${note}`);
  const notes = [...plan.notes.map((note) => `${name}: ${note}`), ...unvalidated];
  return {
    file,
    isTransactional: false,
    lines: lines.length === 0 ? [`${name}: nothing to do, all of it is there`, ...notes] : [...lines, ...notes],
    ...(unvalidated.length > 0 && { unvalidated }),
    rollback,
    run: async (record) => {
      const planner = await openPlanner(store);
      try {
        for (const { action } of plan.steps) {
          // A run has its own patience, and is not to be started again by somebody else's.
          if (action.do === 'copy') await planner.carryOut(action, hands);
          else await patiently(() => planner.carryOut(action, hands));
        }
      } finally {
        await planner.close();
      }
      await record(rollback);
    },
  };
}
