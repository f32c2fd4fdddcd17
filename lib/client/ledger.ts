/** The run's ledger as the client uses it: it takes the ids that are about to be deleted, so that no import brings them back. */
export interface Ledger {
  /** Durable when it returns. */
  addTombstones(run: string, ids: readonly string[]): Promise<void>;
}
