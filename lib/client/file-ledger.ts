import { tombstoneKey } from '../keys.ts';
import { openFileObjects } from '../objects-files.ts';
import type { Ledger } from './ledger.ts';

/** The ledger of runs on this machine: an object a delete below the directory of runs (VECFERRY_RUNS). */
export function fileLedger(directory: string): Ledger {
  const objects = openFileObjects(directory);
  return {
    addTombstones: async (run, ids) => {
      const at = new Date().toISOString();
      await objects.put(tombstoneKey(run, at), JSON.stringify({ at, ids }));
    },
  };
}
