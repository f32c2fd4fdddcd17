/**
 * Every error that a user or the state machine meets. `name` is a literal, because bundlers rename classes and Step
 * Functions matches strings; the state machine takes the names from `errorNames`.
 */
export abstract class VecferryError extends Error {
  abstract override readonly name: ErrorName;
  /** True when the same call may succeed later without anyone changing anything. */
  readonly retryable: boolean = false;
  /** Ids of the records, shards or fields concerned, the first hundred. */
  readonly ids: readonly string[];

  constructor(message: string, details: { ids?: readonly string[]; cause?: unknown } = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.ids = (details.ids ?? []).slice(0, 100);
  }
}

export const errorNames = {
  invalidEvent: 'InvalidEvent',
  incompatible: 'Incompatible',
  targetNotEmpty: 'TargetNotEmpty',
  notFound: 'NotFound',
  runMismatch: 'RunMismatch',
  accessDenied: 'AccessDenied',
  throttled: 'Throttled',
  storeUnavailable: 'StoreUnavailable',
  recordRefused: 'RecordRefused',
  shardDamaged: 'ShardDamaged',
  unsupportedFormat: 'UnsupportedFormat',
  importFailed: 'ImportFailed',
  validationFailed: 'ValidationFailed',
  takenBack: 'TakenBack',
  repairQueueFull: 'RepairQueueFull',
  budgetExceeded: 'BudgetExceeded',
  schemaMismatch: 'SchemaMismatch',
} as const;
export type ErrorName = (typeof errorNames)[keyof typeof errorNames];

/** The event, a setting or a command's argument is wrong; the message names the field, the value and what is accepted. */
export class InvalidEvent extends VecferryError {
  override readonly name = errorNames.invalidEvent;
}

/** The target cannot hold what the source has; found by the plan, before anything is written. */
export class Incompatible extends VecferryError {
  override readonly name = errorNames.incompatible;
}

/** The target already holds records that this run did not write. */
export class TargetNotEmpty extends VecferryError {
  override readonly name = errorNames.targetNotEmpty;
}

/** A collection, run, secret or object that was named does not exist. */
export class NotFound extends VecferryError {
  override readonly name = errorNames.notFound;
}

/** A run is started again under its id with another source, target, mapping or plan. */
export class RunMismatch extends VecferryError {
  override readonly name = errorNames.runMismatch;
}

/** A store or AWS refused our credentials. Waiting does not mend it. */
export class AccessDenied extends VecferryError {
  override readonly name = errorNames.accessDenied;
}

/** The store asks for fewer requests (429, 503 with Retry-After, connection slots used up). */
export class Throttled extends VecferryError {
  override readonly name = errorNames.throttled;
  override readonly retryable = true;
  /** Milliseconds the store asks to wait; undefined where it does not say. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, details: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(message, details);
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** The store cannot be reached or answers with a fault of its own. */
export class StoreUnavailable extends VecferryError {
  override readonly name = errorNames.storeUnavailable;
  override readonly retryable = true;
}

/** One or more records cannot be read or written as they are; `ids` names them where the store tells. */
export class RecordRefused extends VecferryError {
  override readonly name = errorNames.recordRefused;
}

/** A shard object is cut short or altered. */
export class ShardDamaged extends VecferryError {
  override readonly name = errorNames.shardDamaged;
}

/** A shard object is whole, and of a format that this release does not read: an older one, which `vecferry upgrade` brings up, or a newer one. */
export class UnsupportedFormat extends VecferryError {
  override readonly name = errorNames.unsupportedFormat;
}

/** Shards could not be loaded; `ids` names them. */
export class ImportFailed extends VecferryError {
  override readonly name = errorNames.importFailed;
}

/** The target is not the same as the source, or finds less; the report says what. */
export class ValidationFailed extends VecferryError {
  override readonly name = errorNames.validationFailed;
}

/** Readers were taken back to the source while they were moved: a bound was breached, or somebody rolled back. */
export class TakenBack extends VecferryError {
  override readonly name = errorNames.takenBack;
}

/** A client cannot note what the other side lacks, so it writes nothing: the write may be repeated once the other side is back. */
export class RepairQueueFull extends VecferryError {
  override readonly name = errorNames.repairQueueFull;
  override readonly retryable = true;
}

/** Embedding would cost more than the event allows; nothing was asked for that would have passed it. */
export class BudgetExceeded extends VecferryError {
  override readonly name = errorNames.budgetExceeded;
}

/** A shard has another schema than the run, or a name that the run does not know, and no rule says what becomes of it. */
export class SchemaMismatch extends VecferryError {
  override readonly name = errorNames.schemaMismatch;
}
