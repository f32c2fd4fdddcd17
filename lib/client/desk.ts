import { RepairQueueFull, StoreUnavailable } from '../errors.ts';
import { memoryRepairs } from './memory-repairs.ts';
import type { RepairQueue, RepairSink, Repairs } from './repairs.ts';

/** Where writers note what the second place may lack. */
export interface Desk {
  /** What waits in this process. With a sink: what could not be handed over yet. */
  readonly queue: RepairQueue;
  readonly sink: RepairSink | undefined;
  /**
   * Keeps room for so many ids, before anything is written; gives what frees it again.
   * @throws RepairQueueFull when there is none.
   */
  reserve(ids: number): () => void;
  /** Notes the ids, durably where the repairs are. @throws what the queue or the sink throws: then they are in memory at best. */
  note(ids: readonly string[], about: About): Promise<void>;
  /** The same in the background: what cannot be noted is reported, with the ids. */
  noteInBackground(ids: readonly string[], about: About): Promise<void>;
}

export interface About {
  /** Where the write went. */
  readonly place: string;
  /** The run that the flag names. */
  readonly run: string | undefined;
  /** True when the flag is older than writes trust it: the ids also wait here until it can be read. */
  readonly isStale: boolean;
}

export interface DeskOptions {
  readonly repairs: Repairs | undefined;
  readonly onNoted: () => void;
  readonly onError: (error: Error) => void;
}

/** Ids in one message: repairMessage (states.ts). */
export const idsPerMessage = 1000;

export function makeDesk({ repairs, onNoted, onError }: DeskOptions): Desk {
  const sink = repairs?.kind === 'sink' ? repairs : undefined;
  const queue = repairs === undefined || repairs.kind === 'sink' ? memoryRepairs() : repairs;
  let reserved = 0;

  const note = async (ids: readonly string[], { place, run, isStale }: About): Promise<void> => {
    const isHandedOver = sink !== undefined && run !== undefined;
    const keep = async (): Promise<void> => {
      await queue.add(ids, place);
      onNoted();
    };
    if (!isHandedOver) return await keep();
    try {
      await sendAll(sink, run, ids);
    } catch (error) {
      // The process's own memory is no promise to a caller, but better than nothing: they are handed over from there.
      await keep();
      throw error;
    }
    if (isStale) await keep();
  };
  return {
    queue,
    sink,
    reserve: (ids) => {
      if (queue.size + reserved + ids > queue.capacity) {
        const text = `${queue.size + reserved} of ${queue.capacity} ids wait for repair already, so a write of ${ids} more could not be noted`;
        throw new RepairQueueFull(
          `${text}, and nothing was written; repeat it once the second place is back, or finish the run that writes to it`,
        );
      }
      reserved += ids;
      let isHeld = true;
      return () => {
        if (isHeld) reserved -= ids;
        isHeld = false;
      };
    },
    note,
    noteInBackground: async (ids, about) => {
      try {
        await note(ids, about);
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        const kept = sink === undefined ? 'they are in no queue: write them again' : 'they wait in memory';
        onError(
          new StoreUnavailable(`${ids.length} ids could not be noted for repair, and ${kept}: ${reason}`, {
            ids,
            cause,
          }),
        );
      }
    },
  };
}

export async function sendAll(sink: RepairSink, run: string, ids: readonly string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += idsPerMessage) await sink.send(run, ids.slice(at, at + idsPerMessage));
}
