import { Incompatible, InvalidEvent, NotFound, StoreUnavailable } from '../errors.ts';
import { collectionDown, collectionUp, parseCollectionFile } from './collection/collection.ts';
import type { MigrateSettings } from './config.ts';
import type { MigrationFolder } from './files.ts';
import { followingFiles } from './following.ts';
import type { KeptHistory } from './history-lines.ts';
import type { HistoryEntry, MigrationFile, Step } from './port.ts';
import { type Problem, problemsOf } from './problems.ts';
import type { SqlSession } from './session.ts';
import { type SqlLimits, sqlStep, sqlUp } from './sql-step.ts';
import { nextSeq, type Standing, type Standings, standingsOf } from './standing.ts';

/** Applies migrations and takes them back, one after the other, each with its line in the history. */

export interface Migrator {
  readonly settings: MigrateSettings;
  readonly folder: MigrationFolder;
  readonly history: KeptHistory;
  /** undefined: there is no PostgreSQL, and a SQL file is refused. */
  readonly session: SqlSession | undefined;
  readonly by: string;
  readonly limits: SqlLimits;
  /** Runs the main job, for a collection that has to be copied. */
  readonly copy: (event: unknown, run: string) => Promise<void>;
  /** The history by another connection, when that of `session` is gone. */
  readonly reconnect: () => Promise<KeptHistory>;
  /** Takes the readers of such a run back. */
  readonly rollBack: (run: string) => Promise<void>;
  readonly tell: (news: MigrationNews) => void;
  readonly now: () => Date;
}

export type Direction = 'up' | 'down';

/** What the detail of a line of --baseline begins with, and no other. */
export const baselineMark = 'baseline ';

export type MigrationNews =
  | {
      readonly kind: 'begun' | 'planned';
      readonly number: number;
      readonly name: string;
      readonly direction: Direction;
      readonly lines: readonly string[];
    }
  | {
      readonly kind: 'done';
      readonly number: number;
      readonly name: string;
      readonly direction: Direction;
      readonly milliseconds: number;
      readonly unvalidated?: readonly string[];
    }
  /** Noted as applied, and not run. */
  | { readonly kind: 'baseline'; readonly number: number; readonly name: string }
  | { readonly kind: 'retry'; readonly message: string };

/** How things stand: read anew whenever somebody else may have changed them. */
export interface Overview {
  readonly entries: readonly HistoryEntry[];
  readonly standings: Standings;
  readonly problems: readonly Problem[];
  /** Files that are not applied, in order. */
  readonly pending: readonly MigrationFile[];
  /** Lines by which numbers are applied, the last one first. */
  readonly applied: readonly HistoryEntry[];
}

export async function overviewOf({ history, folder }: Pick<Migrator, 'history' | 'folder'>): Promise<Overview> {
  const entries = await history.entries();
  const standings = standingsOf(entries);
  const isPending = ({ number }: MigrationFile): boolean =>
    !['applied', 'forgotten'].includes(stateOf(standings, number));
  const following = await followingFiles(folder.files, standings);
  const problems = problemsOf({ folder, standings, following, faults: await history.faults() });
  // A step that did not end may be one of a process that is at it just now.
  const holder = problems.some(({ kind }) => kind === 'half') ? await history.holder?.() : undefined;
  return {
    entries,
    standings,
    problems: holder === undefined ? problems : problems.map((problem) => underWay(problem, holder)),
    pending: folder.files.filter(isPending),
    applied: takenBackFirst(standings),
  };
}

const underWay = (problem: Problem, holder: string): Problem =>
  problem.kind !== 'half'
    ? problem
    : {
        ...problem,
        message: `${problem.begun ?? problem.message}: it may be under way, for the lock of migrations is held by ${holder}; wait for that one to end, and look again`,
      };

/** What can be taken back, the last first: what is applied, and a collection's step that died half way. */
function takenBackFirst(standings: Standings): readonly HistoryEntry[] {
  // The reverse of the order in which they were applied, which is that of the numbers but for --out-of-order.
  const numbers = [...standings].sort(([a, one], [b, other]) => (other.since ?? 0) - (one.since ?? 0) || b - a);
  return numbers.flatMap(([, { state, entry, applied, begun }]) => {
    if (state === 'applied') return applied ?? [];
    return state === 'half' && entry.kind === 'collection' ? (applied ?? begun ?? []) : [];
  });
}

const stateOf = (standings: Standings, number: number): Standing['state'] => standings.get(number)?.state ?? 'pending';

/** The same without the lock: whether a step has died is known once the lock is ours, since it is held as long as anybody is at one. */
export function beforeTheLock(overview: Overview): Overview {
  return { ...overview, problems: overview.problems.filter(({ kind }) => kind !== 'half') };
}

/** Where to go. `to` 0 takes back everything; `upTo` never takes anything back. */
export type Goal =
  | { readonly up: number | undefined }
  | { readonly upTo: number }
  | { readonly down: number }
  | { readonly to: number };

export interface Move {
  readonly direction: Direction;
  readonly number: number;
  readonly file: MigrationFile;
  /** Of down: the line by which it was applied. */
  readonly applied?: HistoryEntry;
}

/**
 * What has to be done to get there, in order.
 * @throws Incompatible naming every problem. @throws NotFound when the number is no migration's.
 */
export function movesTo(goal: Goal, overview: Overview, { files }: MigrationFolder): readonly Move[] {
  const { problems, pending, applied } = overview;
  const highest = 'to' in goal ? goal.to : 'upTo' in goal ? goal.upTo : undefined;
  const isUp = !('down' in goal) && !('to' in goal && applied.some(({ number }) => number > goal.to));
  // A way back is open also where a file was changed or lost: the history holds what it takes.
  const inTheWay = isUp ? problems : problems.filter(({ kind }) => kind === 'half' || kind === 'history');
  refuseProblems(inTheWay);
  if (
    highest !== undefined &&
    highest !== 0 &&
    !files.some(({ number }) => number === highest) &&
    !applied.some(({ number }) => number === highest)
  )
    throw new NotFound(`there is no migration ${highest}; the highest is ${files.at(-1)?.number ?? 'none'}`);
  if (isUp) {
    const wanted =
      highest === undefined
        ? pending.slice(0, 'up' in goal ? goal.up : undefined)
        : pending.filter(({ number }) => number <= highest);
    return wanted.map((file) => ({ direction: 'up', number: file.number, file }));
  }
  const back = 'down' in goal ? applied.slice(0, goal.down) : applied.filter(({ number }) => number > (highest ?? 0));
  return back.map((line) => ({ direction: 'down', number: line.number, file: fileOf(line, files), applied: line }));
}

/** @throws Incompatible naming every one. */
export function refuseProblems(problems: readonly Problem[]): void {
  const [first, second] = problems;
  if (first === undefined) return;
  const all = `${problems.length} things do not fit:\n${problems.map(({ message }) => `- ${message}`).join('\n')}`;
  throw new Incompatible(second === undefined ? first.message : all, {
    ids: problems.map(({ number }) => String(number ?? '')),
  });
}

/** The file as it is, or what the history says of one that is gone. */
function fileOf(line: HistoryEntry, files: readonly MigrationFile[]): MigrationFile {
  const { number, name, checksum, kind = 'sql' } = line;
  const there = files.find((file) => file.number === number);
  return there ?? { number, name, path: `${name} (as it was applied)`, kind, text: '', checksum };
}

/**
 * Carries out the moves, and puts each into the history. Must be called with the lock. @returns how many, where `signal` ends it early
 * @throws what stopped it, with `failed` in the history
 */
export async function carryOut(migrator: Migrator, moves: readonly Move[], signal?: AbortSignal): Promise<number> {
  // A file that cannot be one is found before the first one runs.
  await mustBeSound(migrator, moves);
  // Read once: whoever has the lock is alone in adding lines, and a line that does not follow on the last one is refused.
  const entries = [...(await migrator.history.entries())];
  let done = 0;
  for (const move of moves) {
    // A step that is under way is brought to its end: half of one is what nobody wants.
    if (signal?.aborted === true) break;
    entries.push(...(await carryOutOne(migrator, move, entries)));
    done += 1;
  }
  return done;
}

/** @throws InvalidEvent naming file and line of what no migration can hold. */
export async function mustBeSound(migrator: Migrator, moves: readonly Move[]): Promise<void> {
  const entries = await migrator.history.entries();
  for (const move of moves) {
    refuseBaseline(move);
    if (move.file.kind === 'sql') await planMove(migrator, move, entries);
    else if (move.direction === 'up') parseCollectionFile(move.file, migrator.settings);
  }
}

/** @param entries all lines so far @returns those that it has added */
async function carryOutOne(
  migrator: Migrator,
  move: Move,
  entries: readonly HistoryEntry[],
): Promise<readonly HistoryEntry[]> {
  const { history, tell, now } = migrator;
  const { direction, file, number } = move;
  const { name } = file;
  const standing = standingsOf(entries).get(number);
  const began = now();
  const added: HistoryEntry[] = [];
  const line = (action: HistoryEntry['action'], more: Partial<HistoryEntry>): HistoryEntry => ({
    seq: nextSeq(entries) + added.length,
    number,
    name,
    // What goes down is what was applied, whatever became of the file.
    checksum: move.applied?.checksum ?? file.checksum,
    kind: file.kind,
    action,
    at: now().toISOString(),
    by: migrator.by,
    milliseconds: now().getTime() - began.getTime(),
    ...more,
  });
  const write = async (entry: HistoryEntry): Promise<void> => {
    await history.append(entry);
    added.push(entry);
  };
  let ended: HistoryEntry | undefined;
  let failure: { readonly statement?: number; readonly isClean: boolean } = { isClean: true };
  let rollbackOf: string | undefined;
  const step = await stepOf(
    migrator,
    move,
    standing,
    {
      begin: async (statement, detail, sql) => {
        failure = { statement, isClean: false };
        await write(
          line(`begun ${direction}`, {
            statement,
            detail,
            sql,
            ...(rollbackOf !== undefined && { rollback: rollbackOf }),
          }),
        );
      },
      failed: (statement, isClean) => {
        failure = { statement, isClean };
      },
    },
    entries,
  );
  rollbackOf = direction === 'up' ? step.rollback : undefined;
  tell({ kind: 'begun', number, name, direction, lines: step.lines });
  try {
    if (!step.isTransactional && file.kind === 'collection') {
      failure = { isClean: false };
      await write(line(`begun ${direction}`, { ...(step.rollback !== undefined && { rollback: step.rollback }) }));
    }
    await step.run(async (rollback) => {
      // Not counted: a transaction that is begun again writes the same line again.
      ended = line(direction, direction === 'up' && rollback !== undefined ? { rollback } : {});
      await history.append(ended);
    });
  } catch (error) {
    const isDone = await recordFailure(migrator, { ...failure, error, line, ended: line(direction, {}) }).catch(
      (cause: unknown) => {
        const why = cause instanceof Error ? cause.message : String(cause);
        tell({ kind: 'retry', message: `the history could not be told of the failure: ${why}` });
        return false;
      },
    );
    throw isDone ? lostAfterDone(name, error) : error;
  }
  const { unvalidated = [] } = step;
  const told = direction === 'up' && unvalidated.length > 0 ? { unvalidated } : {};
  tell({ kind: 'done', number, name, direction, milliseconds: now().getTime() - began.getTime(), ...told });
  return ended === undefined ? added : [...added, ended];
}

/** The connection ended between the commit and its answer: all is well, and the lock has to be taken anew. */
function lostAfterDone(name: string, cause: unknown): StoreUnavailable {
  return new StoreUnavailable(
    `${name} was committed, and the connection broke right after it; the same command goes on`,
    { cause },
  );
}

/** How long the dead connection's lock is waited for. */
const reconnectMs = 15_000;

interface Failure {
  readonly statement?: number;
  readonly isClean: boolean;
  readonly error: unknown;
  readonly line: (action: HistoryEntry['action'], more: Partial<HistoryEntry>) => HistoryEntry;
  /** The line that would say that it is done. */
  readonly ended: HistoryEntry;
}

/**
 * The history says what failed and why. Where the connection is gone, by another one: what was sent last may have been committed all the same.
 * @returns true where it was.
 */
async function recordFailure(
  { history, session, reconnect }: Migrator,
  { statement, isClean, error, line, ended }: Failure,
): Promise<boolean> {
  const detail = error instanceof Error ? error.message : String(error);
  const write = async (kept: KeptHistory): Promise<boolean> => {
    const entries = await kept.entries();
    const entry = line('failed', {
      detail,
      ...(statement !== undefined && { statement }),
      ...(isClean && { as: 'pending' }),
    });
    const { action, seq } = ended;
    if (entries.some((each) => each.seq >= seq && each.number === ended.number && each.action === action)) return true;
    await kept.append({ ...entry, seq: nextSeq(entries) });
    return false;
  };
  if (session?.isLost() !== true) return await write(history);
  const again = await reconnect();
  try {
    return await again.locked(() => write(again), { waitMs: reconnectMs, by: line('failed', {}).by });
  } finally {
    await again.close();
  }
}

/** What a move would do, touching nothing. @param entries all lines of the history */
export async function planMove(migrator: Migrator, move: Move, entries: readonly HistoryEntry[]): Promise<Step> {
  const nothing = { begin: async () => undefined, failed: () => undefined };
  return await stepOf(migrator, move, standingsOf(entries).get(move.number), nothing, entries);
}

interface Notes {
  begin(statement: number, detail: string, sql: string): Promise<void>;
  failed(statement: number, isClean: boolean): void;
}

async function stepOf(
  migrator: Migrator,
  move: Move,
  standing: Standing | undefined,
  notes: Notes,
  entries: readonly HistoryEntry[],
): Promise<Step> {
  const { settings: config, session, limits, copy, rollBack, tell } = migrator;
  const { file, applied, direction } = move;
  refuseBaseline(move);
  if (file.kind === 'collection') {
    if (applied !== undefined) return await collectionDown({ file, config, copy, rollBack, applied });
    return await collectionUp({ file, config, copy, rollBack, begun: begunRollbacks(entries, file.number) });
  }
  if (config.sql === undefined) {
    const how =
      'name a PostgreSQL store in it: {"stores": {"db": {"store": "pgvector", "connection": {"secret": "app/db"}}}}';
    throw new InvalidEvent(`${file.path} is SQL, and ${config.path} has no PostgreSQL store to run it on; ${how}`, {
      ids: [file.path],
    });
  }
  const onRetry = (message: string): void => tell({ kind: 'retry', message });
  const from = standing?.direction === direction ? standing.statement : 1;
  const shared = { file, session, limits, piecewise: { from, ...notes }, onRetry };
  if (applied === undefined) return await sqlUp(shared);
  if (applied.rollback === undefined) {
    const how = 'bring a backup back (vecferry migrate backups), or write a migration that undoes it';
    throw new Incompatible(`${applied.name} says that nothing takes it back (-- migrate:down irreversible); ${how}`, {
      ids: [applied.name],
    });
  }
  const where = `what takes ${applied.name} back (line ${applied.seq} of the history)`;
  return await sqlStep({ ...shared, sql: applied.rollback, where, rollback: undefined });
}

/** What stood before vecferry is not taken back, also where the file says how: it would take what nobody here has made. */
function refuseBaseline({ applied }: Move): void {
  if (applied?.action !== 'repaired' || applied.detail?.startsWith(baselineMark) !== true) return;
  const how = `where its down part is to count: vecferry migrate repair ${applied.number} --as applied`;
  throw new Incompatible(`${applied.name} was there before vecferry (--baseline), so it is not taken back; ${how}`, {
    ids: [applied.name],
  });
}

/** What `begun up` lines hold as their rollback since this number was last whole. */
function begunRollbacks(entries: readonly HistoryEntry[], number: number): readonly string[] {
  const own = entries.filter((entry) => entry.number === number);
  const last = own.findLastIndex(({ action }) => action === 'up' || action === 'down');
  return own
    .slice(last + 1)
    .flatMap(({ action, rollback }) => (action === 'begun up' && rollback !== undefined ? [rollback] : []));
}
