import { Incompatible, InvalidEvent, NotFound, ValidationFailed } from '../errors.ts';
import { replacesIndex } from '../index-change/index-change.ts';
import { runKeys } from '../keys.ts';
import { createJson, getJson, type ObjectStore } from '../objects.ts';
import { isInPlace } from '../place.ts';
import { reportSchema } from '../report/report-schema.ts';
import type { Plan } from '../run-files.ts';
import type { OpenStore } from '../services.ts';
import type { RetireOutput } from '../states.ts';
import type { Dropping, Store } from '../stores/port.ts';
import { bytes as bytesText, count, plural } from '../words.ts';
import { type Move, retiredSchema } from './cutover-files.ts';
import { type FlagStore, placeOf } from './flag.ts';
import { finishOf, logMoveAfter, readMoves, retireOf, standingOf } from './moves.ts';
import { type NamedPointer, pointerOf } from './pointer.ts';
import { refuseUsers } from './retire-users.ts';

/**
 * The one step that cannot be taken back, by its own command: drops what a run has replaced, once nothing and nobody needs it.
 * Everything that could need it is looked at before, each time: readers, writers, other runs, and what the target holds.
 */

export interface RetireInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly flags: FlagStore;
  readonly openSource: () => Promise<OpenStore>;
  readonly openTarget: () => Promise<OpenStore>;
  /** What `name` of an answer without it says. */
  readonly confirm: string | undefined;
  readonly now: () => Date;
}

/**
 * Without `confirm` only says what would be dropped. Repeatable: a call that died between its log and the drop is finished by the
 * next; once it is dropped, a collection that somebody makes under the old name is left alone.
 * @throws ValidationFailed when the run has not passed, or the target holds fewer records than then. @throws InvalidEvent
 * while readers, writers or another run use what would be dropped, or when `confirm` is another name. @throws Incompatible
 * when the store cannot drop it, or something depends on it.
 */
export async function retire(input: RetireInput): Promise<RetireOutput> {
  const { plan, objects, confirm, now } = input;
  const { run } = plan;
  refuseUnmovable(plan);
  for (;;) {
    const done = await getJson(objects, runKeys(run).retired, retiredSchema);
    if (done !== undefined) {
      const { at, name, what, records, bytes } = done;
      return { dropped: true, what: `${what} was dropped at ${at}`, name, records, bytes };
    }
    const moves = await readMoves(objects, run);
    const pointer = await pointerOf({ plan, flags: input.flags, openTarget: input.openTarget });
    refuseUnlessOnTarget(plan, moves);
    await refuseReaders(input, pointer, moves);
    await refuseUsers(input);
    await refuseFewer(input);

    const { drop, count: countRecords } = await dropper(input);
    const asked = await drop(true);
    const records = asked.isThere ? await countRecords() : null;
    const { name, what, bytes = null } = asked;
    const answer = { name, records, bytes };
    if (confirm === undefined) return { dropped: false, what: textOf(asked, records), ...answer };
    refuseOtherName(plan, name, confirm);

    const { kind, name: pointerName } = pointer;
    const [from, to] = [placeToDrop(plan, name), placeOf(plan.event.target)];
    const move: Move = { at: now().toISOString(), action: 'retire', kind, name: pointerName, from, to };
    // Before the drop: from here on nobody goes back. Where somebody did so first, all is looked at anew.
    const logged = retireOf(moves) ?? (await logMoveAfter(objects, run, move, moves));
    if (logged === undefined) continue;
    await drop(false);
    await createJson(objects, runKeys(run).retired, { at: now().toISOString(), what, ...answer });
    return { dropped: true, what: `${what} was dropped`, ...answer };
  }
}

/** Of a run in place the old vector or index, which its target knows; else the source. @throws Incompatible when the store drops nothing */
async function dropper({ plan, openSource, openTarget }: RetireInput): Promise<{
  readonly drop: (dryRun: boolean) => Promise<Dropping>;
  readonly count: () => Promise<number | null>;
}> {
  const { store, kind } = isInPlace(plan.event) ? await openTarget() : await openSource();
  const drop: Store['drop'] = store.drop?.bind(store);
  if (drop === undefined || !kind.capabilities.drops) {
    const text = `${kind.title} cannot drop ${plan.event.source.collection} for you`;
    throw new Incompatible(`${text}; drop it by hand`, { ids: [plan.event.source.collection] });
  }
  // An index holds none of its own.
  const counting = plan.index === undefined ? () => store.count() : async () => null;
  return { drop: (dryRun) => drop({ dryRun }), count: counting };
}

const placeToDrop = ({ event }: Plan, name: string): string => placeOf({ store: event.source.store, collection: name });

function refuseUnmovable({ run, event, index }: Plan): void {
  if (replacesIndex({ index })) {
    const text = `run '${run}' replaced the old index as it built the new one, so there is nothing left to drop`;
    throw new InvalidEvent(`${text}; vecferry rollback ${run} rebuilds the old one`, { ids: [run] });
  }
  if (event.mode === 'validate') {
    const text = `run '${run}' held two collections against each other and moved nothing`;
    throw new InvalidEvent(`${text}, so it has replaced nothing that could be dropped`, { ids: [run] });
  }
  if (event.dryRun) throw new InvalidEvent(`run '${run}' was planned and not started`, { ids: [run] });
}

/** By the log. @throws InvalidEvent */
function refuseUnlessOnTarget({ run, event, index }: Plan, moves: readonly Move[]): void {
  const [source, target] = [placeOf(event.source), placeOf(event.target)];
  const finished = finishOf(moves);
  const { readers, move } = standingOf(moves);
  const last = finished ?? move;
  if (last?.kind === 'flag' && source === target) {
    const text = `source and target of run '${run}' are both '${source}' to the routing flag, so it cannot say which of them is read`;
    throw new InvalidEvent(`${text}; drop by hand the one that nobody reads`, { ids: [run] });
  }
  if (finished !== undefined) {
    if (finished.to === target) return;
    const text = `run '${run}' was taken back and finished at ${finished.at}: ${source} is what is read and written`;
    throw new InvalidEvent(`${text}; drop ${target} by hand if nobody needs it`, { ids: [run] });
  }
  if (readers !== 'target') {
    const where = readers === 'share' ? 'some of the readers' : 'the readers';
    // The table itself stays, and after a rollback its new index is gone.
    const [dropped, next] =
      index === undefined
        ? [source, 'moves them']
        : ['the old index', 'moves them; a run that was taken back is started again under its id'];
    const text = `${where} of run '${run}' use ${dropped}, which would be dropped`;
    throw new InvalidEvent(`${text}; vecferry cutover ${run} ${next}`, { ids: [run] });
  }
  if (move?.kind !== 'flag') return;
  const text = `writes of run '${run}' go to both sides, and ${source} is what a rollback goes back to`;
  throw new InvalidEvent(`${text}; end that first: vecferry finish ${run}`, { ids: [run] });
}

/** By what they follow itself: somebody else may have moved it. @throws InvalidEvent */
async function refuseReaders(
  { plan, flags }: RetireInput,
  pointer: NamedPointer,
  moves: readonly Move[],
): Promise<void> {
  const { kind, name, to } = pointer;
  if (kind === 'flag') {
    if ((await flags.read(name)) !== undefined) return;
    const text = `the flag ${flags.locate(name)} is gone, which means the source to applications`;
    throw new InvalidEvent(`${text}; set it to {"active": "${to}", "candidate": "${to}", "weight": 0}`, {
      ids: [name],
    });
  }
  // A column that is half gone stands for nothing, and nobody could have switched it back since.
  if (isInPlace(plan.event) && retireOf(moves) !== undefined) return;
  const now = await pointer.read();
  if (now === to) return;
  // A later run may have moved them on; then neither of this run's sides is read by that name.
  const before = standingOf(moves).first?.from ?? null;
  if (!isInPlace(plan.event) && now !== null && now !== before && now !== plan.event.source.collection) return;
  const text = `the ${kind} '${name}' stands for ${now ?? 'nothing'} and not for ${to}`;
  throw new InvalidEvent(`${text}; vecferry cutover ${plan.run} moves it`, { ids: [name] });
}

/** The target may have been emptied, or dropped, since it was validated. @throws ValidationFailed, InvalidEvent */
async function refuseFewer({ plan, objects, openTarget }: RetireInput): Promise<void> {
  const { run, event } = plan;
  const report = await getJson(objects, runKeys(run).report, reportSchema);
  const where = objects.locate(runKeys(run).report);
  if (report?.verdict !== 'validated' || report.counts === null) {
    const text = `run '${run}' has not passed validation, by ${where}`;
    throw new ValidationFailed(`${text}; nothing is dropped: vecferry validate ${run}`, { ids: [run] });
  }
  // One table: what was deleted is gone from both sides, and applications delete.
  if (isInPlace(event)) return;
  const { store } = await openTarget();
  const now = await store.count().catch((error: unknown) => {
    if (error instanceof NotFound) return undefined;
    throw error;
  });
  if (now !== undefined && now >= report.counts.target) return;
  const text = `${placeOf(event.target)} ${now === undefined ? 'is not there any more' : `holds ${plural(now, 'record')}`}`;
  const then = `its validation counted ${count(report.counts.target)} (${where})`;
  const next = `the source is what is left of them. If they were deleted on purpose, vecferry validate ${run} counts anew`;
  throw new ValidationFailed(`${text}, and ${then}; ${next}`, { ids: [run] });
}

function refuseOtherName({ run }: Plan, name: string, confirm: string): void {
  if (confirm === name) return;
  const text = `'${confirm}' is not the name of what run '${run}' would drop, which is '${name}'`;
  throw new InvalidEvent(`${text}; nothing was dropped`, { ids: [name] });
}

function textOf({ what, name, isThere, bytes }: Dropping, records: number | null): string {
  if (!isThere) return `${what} is not there any more; confirm with its name, ${name}, to have that noted`;
  const size = bytes === undefined ? '' : `, ${bytesText(bytes)}`;
  const held = records === null ? size.replace(', ', ': ') : `: ${plural(records, 'record')}${size}`;
  return `would drop ${what}${held}; confirm with its name, ${name}, to have it dropped for good`;
}
