import { Incompatible, InvalidEvent, NotFound, ValidationFailed } from './errors.ts';
import type { FlagStore } from './flag.ts';
import { runKeys } from './keys.ts';
import { getJson, type ObjectStore, putJson } from './objects.ts';
import { type CutoverEntry, cutoverLogSchema, type Plan } from './run-files.ts';
import type { StoreKind, Target } from './stores/port.ts';

/**
 * Moves the pointer that readers follow, never the data. What it stood for is written to the run's log before it is
 * moved, so rollback needs nothing but that log.
 */

export interface CutoverInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly target: Target;
  readonly targetKind: StoreKind;
  /** Whether the run's report passed. */
  readonly passed: boolean;
  readonly now: () => Date;
}

/**
 * Makes readers use the target. Repeatable: a pointer that is already there stays, and the log gets no second entry.
 * @throws InvalidEvent when the run only validates. @throws ValidationFailed when the run has not passed validation. @throws Incompatible when the store has no pointers.
 */
export async function cutOver(input: CutoverInput): Promise<CutoverEntry> {
  const { plan, objects, now, passed } = input;
  if (plan.event.mode === 'validate') {
    const text = `run '${plan.run}' held two collections against each other and moved nothing, so it cuts nothing over`;
    throw new InvalidEvent(`${text}; move the readers' pointer where it is kept`, { ids: [plan.run] });
  }
  if (!passed) {
    throw new ValidationFailed(
      `run '${plan.run}' has not passed validation: ${objects.locate(runKeys(plan.run).report)} says why; nothing was moved`,
      {
        ids: [plan.run],
      },
    );
  }
  const pointer = pointerOf(input);
  const from = await pointer.read();
  const log = await readLog(objects, plan.run);
  const last = log.at(-1);
  const isLogged = last?.action === 'cutover' && last.name === pointer.name && last.to === pointer.to;
  if (isLogged && from === pointer.to) return last;
  const entry: CutoverEntry = {
    at: now().toISOString(),
    action: 'cutover',
    kind: pointer.kind,
    name: pointer.name,
    from: from ?? null,
    to: pointer.to,
  };
  // A crash between log and move leaves an entry whose move is made up for here, with the `from` of the first try.
  if (!isLogged) await putJson(objects, runKeys(plan.run).cutoverLog, [...log, entry]);
  await pointer.move(pointer.to);
  return isLogged ? last : entry;
}

/**
 * Makes readers use again what they used before the last cutover of this run. Repeatable.
 * @throws NotFound when the run was never cut over.
 */
export async function rollBack(input: Omit<CutoverInput, 'passed'>): Promise<CutoverEntry> {
  const { plan, objects, now } = input;
  const log = await readLog(objects, plan.run);
  const last = log.at(-1);
  if (last === undefined)
    throw new NotFound(`run '${plan.run}' was never cut over, so there is nothing to take back`, { ids: [plan.run] });
  const pointer = pointerOf(input, last.name);
  if (last.action === 'rollback') {
    await pointer.move(last.to ?? undefined);
    return last;
  }
  const entry: CutoverEntry = {
    at: now().toISOString(),
    action: 'rollback',
    kind: last.kind,
    name: last.name,
    from: last.to,
    to: last.from,
  };
  await putJson(objects, runKeys(plan.run).cutoverLog, [...log, entry]);
  await pointer.move(last.from ?? undefined);
  return entry;
}

/** What this run has moved, oldest first. */
export async function readLog(objects: ObjectStore, run: string): Promise<readonly CutoverEntry[]> {
  return (await getJson(objects, runKeys(run).cutoverLog, cutoverLogSchema)) ?? [];
}

interface NamedPointer {
  readonly kind: CutoverEntry['kind'];
  readonly name: string;
  /** What it stands for after the cutover. */
  readonly to: string;
  read(): Promise<string | undefined>;
  move(to: string | undefined): Promise<void>;
}

/** The store's own pointer when the event names one, else the routing flag. */
function pointerOf(
  { plan, flags, target, targetKind }: Omit<CutoverInput, 'passed' | 'now' | 'objects'>,
  named?: string,
): NamedPointer {
  const { cutover, source, target: endpoint } = plan.event;
  const place = ({ store, collection }: { store: string; collection: string }): string => `${store}:${collection}`;
  if (cutover?.pointer === undefined) {
    const name = named ?? cutover?.flag ?? endpoint.collection.replace(/[^A-Za-z0-9_.-]/g, '_');
    return {
      kind: 'flag',
      name,
      to: place(endpoint),
      // A flag that was never set means what it meant before vecferry: the source.
      read: async () => (await flags.read(name))?.active ?? place(source),
      move: async (to = place(source)) => await flags.write(name, { active: to, candidate: to, weight: 0 }),
    };
  }
  const name = named ?? cutover.pointer;
  const { pointer } = target;
  const kind = targetKind.capabilities.pointer;
  if (pointer === undefined || kind === false) {
    throw new Incompatible(
      `${targetKind.title} has no aliases or views, so cutover.pointer '${name}' cannot be moved; leave it out to use the routing flag`,
      {
        ids: [name],
      },
    );
  }
  return { kind, name, to: endpoint.collection, read: () => pointer.read(name), move: (to) => pointer.move(name, to) };
}
