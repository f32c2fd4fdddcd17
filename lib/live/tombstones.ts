import { split } from '../compare/fetch-records.ts';
import type { FlagStore } from '../cutover/flag.ts';
import { nameOfKey, runKeys } from '../keys.ts';
import { type Deadline, isNear } from '../log.ts';
import { readEach } from '../manifest.ts';
import { getJson, type ObjectStore, putJson } from '../objects.ts';
import type { Plan } from '../run-files.ts';
import type { Store } from '../stores/port.ts';
import { bothSides, mirrorIds } from './both-sides.ts';
import { type Applied, appliedSchema, tombstoneSchema } from './live-files.ts';

/** Tombstones read at once: a client writes one for each call of its delete. */
const readAtOnce = 256;
/** How often the ledger is listed again for those that came meanwhile. */
const maxListings = 4;

export interface TombstoneOptions {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly source: Store;
  readonly target: Store;
  /** Left out: that writes still go to both sides is not looked at before something is mended. */
  readonly flags?: FlagStore;
  readonly deadline: Deadline;
}

/**
 * Makes the target hold of every id that was deleted during the run what the source holds: an old shard may have brought
 * it back, or the application may have written it again since. `done` is false when the deadline came first.
 *
 * A record that one of the sides refuses stays as it is here: the sweep looks at the same ids and names it.
 */
export async function applyTombstones(options: TombstoneOptions): Promise<{ done: boolean }> {
  const { plan, objects, deadline } = options;
  const key = runKeys(plan.run).tombstonesApplied;
  const earlier = await getJson(objects, key, appliedSchema);
  const state =
    earlier?.attempt === plan.attempt ? earlier : { attempt: plan.attempt, done: false, applied: [], ids: 0 };
  if (state.done) return { done: true };
  const applied = new Set(state.applied);
  const sides = await bothSides(options);
  let ids = state.ids;
  const save = async (done: boolean): Promise<{ done: boolean }> => {
    const next: Applied = { attempt: plan.attempt, done, applied: [...applied], ids };
    await putJson(objects, key, next);
    return { done };
  };
  for await (const part of newTombstones(objects, plan.run, applied)) {
    await mirrorIds(sides, part.ids);
    for (const name of part.names) applied.add(name);
    ids += part.ids.length;
    if (isNear(deadline)) return await save(false);
  }
  return await save(true);
}

export interface SomeTombstones {
  /** Names of their objects. */
  readonly names: readonly string[];
  /** Ids of the source, each once. */
  readonly ids: readonly string[];
}

/**
 * The run's tombstones that are not in `applied`, to which the caller adds those that are done; a thousand ids or a single
 * tombstone at a time.
 *
 * The client writes a tombstone before it deletes from the source, so the first listing after the import has every
 * record that an old shard may have brought back. Later ones are listed too, but not for ever: who deletes now deletes
 * from both sides. Names are kept rather than a time to go on from, since clients' clocks differ.
 * @throws ShardDamaged when one is not of our form.
 */
export async function* newTombstones(
  objects: ObjectStore,
  run: string,
  applied: ReadonlySet<string>,
): AsyncGenerator<SomeTombstones, void, undefined> {
  for (let listing = 0; listing < maxListings; listing++) {
    const keys = (await objects.list(runKeys(run).tombstones)).filter((key) => !applied.has(nameOfKey(key)));
    if (keys.length === 0) return;
    for (const part of split(keys, readAtOnce)) {
      const read = await readEach(part, async (key) => ({
        name: nameOfKey(key),
        ids: (await getJson(objects, key, tombstoneSchema))?.ids ?? [],
      }));
      yield* grouped(read);
    }
  }
}

/** As many tombstones together as name a thousand ids: one at a time would be a round trip a delete. */
function* grouped(read: readonly { readonly name: string; readonly ids: readonly string[] }[]) {
  let names: string[] = [];
  let ids = new Set<string>();
  for (const tombstone of read) {
    if (names.length > 0 && ids.size + tombstone.ids.length > 1000) {
      yield { names, ids: [...ids] };
      names = [];
      ids = new Set();
    }
    names.push(tombstone.name);
    for (const id of tombstone.ids) ids.add(id);
  }
  if (names.length > 0) yield { names, ids: [...ids] };
}
