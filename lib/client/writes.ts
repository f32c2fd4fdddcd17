import { InvalidEvent, StoreUnavailable } from '../errors.ts';
import { makeLocks } from '../locks.ts';
import { boundWrites, type Stragglers } from './bounded.ts';
import type { Checks } from './checks.ts';
import type { About, Desk } from './desk.ts';
import type { KnownFlag } from './flag-cache.ts';
import type { Ledger } from './ledger.ts';
import type { Metrics } from './metrics.ts';
import type { Place, Places } from './places.ts';
import type { Settling } from './settling.ts';
import type { ClientSide, Identified } from './side.ts';

export interface WritesOptions<R extends Identified, Q, H extends Identified> {
  /** The flag not older than writes trust it; undefined when it cannot be read. */
  readonly fresh: () => Promise<KnownFlag | undefined>;
  /** The last known value, however old. */
  readonly last: () => KnownFlag | undefined;
  readonly placesOf: (known: KnownFlag | undefined) => Places<R, Q, H>;
  /** @throws InvalidEvent when the application has none. */
  readonly sideOf: (place: Place<R, Q, H>) => ClientSide<R, Q, H>;
  readonly ledger: Ledger | undefined;
  readonly desk: Desk;
  readonly checks: Checks<R>;
  readonly settling: Settling;
  readonly metrics: Metrics;
  readonly stragglers: Stragglers;
  readonly timeoutMs: number;
  readonly onError: (error: Error) => void;
}

/** An upsert or a delete. */
interface Write<R extends Identified> {
  readonly ids: readonly string[];
  /** Empty where it is a delete. */
  readonly records: readonly R[];
  readonly isDelete: boolean;
}

/** What the flag says to a write, and whether that is new enough to be relied on. */
interface Seen<R extends Identified, Q, H extends Identified> {
  readonly places: Places<R, Q, H>;
  readonly isStale: boolean;
}

/** How often a write goes on anew because the flag named another first place meanwhile. */
const maxMoves = 3;

/**
 * Writes, in an order that lets both sides end alike whoever else writes:
 * room among the repairs, tombstone of a delete, first place, second place, acknowledgement, and a look whether the first
 * place still holds it. Whoever touches the second place last has then seen the first one's last value, or noted the id.
 * It is taken for granted that a call to a side which fails has been applied when it fails, or never is.
 */
export function makeWrites<R extends Identified, Q, H extends Identified>(options: WritesOptions<R, Q, H>) {
  const { fresh, last, placesOf, sideOf, ledger, desk, checks, settling, metrics, stragglers, timeoutMs, onError } =
    options;
  const locks = makeLocks();

  const look = async (): Promise<Seen<R, Q, H>> => {
    const known = await fresh();
    return { places: placesOf(known ?? last()), isStale: known === undefined };
  };
  const bury = async (write: Write<R>, run: string | undefined): Promise<void> => {
    if (!write.isDelete || run === undefined) return;
    if (ledger === undefined) throw noLedger(run, write.ids);
    await ledger.addTombstones(run, write.ids);
  };

  /** The tombstones of a run that began while the first place was written to. */
  const buryLate = async (write: Write<R>, about: About): Promise<void> => {
    try {
      await bury(write, about.run);
    } catch (error) {
      await desk.noteInBackground(write.ids, about);
      throw error;
    }
  };

  /** @throws what the first place throws; the ids are noted then, since it may have taken some of them. */
  const writeFirst = async (write: Write<R>, { name }: Place<R, Q, H>, side: ClientSide<R, Q, H>): Promise<void> => {
    metrics.count('Writes', name);
    try {
      await apply(write, side);
    } catch (error) {
      metrics.count('WriteErrors', name);
      const { places, isStale } = await look();
      if (places.second !== undefined || isStale) {
        await desk.noteInBackground(write.ids, { place: name, run: places.flag.run, isStale });
      }
      throw error;
    }
  };

  /** True when the second place has it. */
  const writeSecond = async (write: Write<R>, second: Place<R, Q, H>): Promise<boolean> => {
    metrics.count('Writes', second.name);
    try {
      await apply(write, boundWrites<R>(sideOf(second), { place: second.name, timeoutMs, stragglers }).side);
      return true;
    } catch (cause) {
      metrics.count('SecondWriteErrors', second.name);
      onError(unwritten(second.name, write.ids, cause));
      return false;
    }
  };

  /** The write by what the flag says now. False when the flag has named another first place meanwhile: it has to go there. */
  const writeOnce = async (write: Write<R>): Promise<boolean> => {
    const before = await look();
    const { first } = before.places;
    const side = sideOf(first);
    const release = desk.reserve(write.ids.length);
    let isChecked = false;
    try {
      await bury(write, before.places.flag.run);
      await writeFirst(write, first, side);
      // The first place may have taken its time: what counts is what the flag says once it has the write. Otherwise a
      // write could slip past an export that began meanwhile.
      const { places, isStale } = await look();
      if (places.first.name !== first.name) return false;
      const { second, flag } = places;
      const about: About = { place: first.name, run: flag.run, isStale };
      if (flag.run !== before.places.flag.run) await buryLate(write, about);
      if (second !== undefined) settling.add(write.ids, first.name);
      if (isStale) await desk.note(write.ids, about);
      else if (second !== undefined && !(await writeSecond(write, second))) await desk.note(write.ids, about);
      else if (second !== undefined) {
        isChecked = true;
        checks.add({ ids: write.ids, written: write.records, place: first.name, side, release });
      }
      return true;
    } finally {
      if (!isChecked) release();
    }
  };

  const run = async (write: Write<R>): Promise<void> => {
    if (write.ids.length === 0) return;
    await locks.run(write.ids, async () => {
      for (let move = 0; move < maxMoves; move++) if (await writeOnce(write)) return;
      throw new StoreUnavailable(
        `the routing flag named another first place ${maxMoves} times during one write; repeat the write`,
        { ids: write.ids },
      );
    });
  };
  return {
    upsert: (records: readonly R[]): Promise<void> =>
      run({ ids: records.map(({ id }) => id), records, isDelete: false }),
    delete: (ids: readonly string[]): Promise<void> => run({ ids, records: [], isDelete: true }),
  };
}

async function apply<R extends Identified>(
  { ids, records, isDelete }: Write<R>,
  side: Pick<ClientSide<R, never, Identified>, 'upsert' | 'delete'>,
): Promise<void> {
  if (isDelete) await side.delete(ids);
  else await side.upsert(records);
}

function noLedger(run: string, ids: readonly string[]): Error {
  const text = `run '${run}' is under way, and its import could bring deleted records back`;
  return new InvalidEvent(
    `${text}; give createClient the ledger of the run (fileLedger, or s3Ledger on AWS), then delete them again`,
    {
      ids,
    },
  );
}

function unwritten(place: string, ids: readonly string[], cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new StoreUnavailable(`${place} did not take a write of ${ids.length} ids, which is mended later: ${reason}`, {
    ids,
    cause,
  });
}
