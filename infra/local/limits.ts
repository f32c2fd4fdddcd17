/**
 * AWS's limits that the embedded engine enforces, so that what passes on one machine does not fail when deployed.
 * Each figure with its source; the page is named from docs.aws.amazon.com on.
 */
export const limits = {
  /** Bytes of UTF-8 a state takes or gives. step-functions/latest/dg/service-quotas.html, "Maximum input or output size for a task, state, or execution". */
  stateBytes: 256 * 1024,
  /** Bytes of a synchronous invocation's request and of its answer. lambda/latest/dg/gettingstarted-limits.html, "Invocation payload". */
  invocationBytes: 6 * 1024 * 1024,
  /** Milliseconds an invocation may take. lambda/latest/dg/gettingstarted-limits.html, "Function timeout". */
  invocationMs: 15 * 60 * 1000,
  /** Bytes of a message, and of a batch of them: 1 MiB since August 2025. AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
  messageBytes: 1024 * 1024,
  /** Messages a request. The same page, "Message batch". */
  messagesPerBatch: 10,
} as const;

/** Bytes of `text` on the wire. */
export function utf8Bytes(text: string): number {
  return Buffer.byteLength(text, 'utf8');
}

/**
 * An execution fails with `name`, as Step Functions names it. Neither Retry nor Catch with States.ALL sees one that is
 * terminal (step-functions/latest/dg/concepts-error-handling.html, "Error names"); the two flags are how
 * aws-local-stepfunctions is told so.
 */
export class StateFailure extends Error {
  readonly isRetryable: boolean;
  readonly isCatchable: boolean;

  constructor(name: string, cause: string, { terminal = false }: { terminal?: boolean } = {}) {
    super(cause);
    this.name = name;
    this.isRetryable = !terminal;
    this.isCatchable = !terminal;
  }
}

/**
 * A hand-over as AWS makes it: through JSON text of at most `stateBytes`.
 * @throws StateFailure States.DataLimitExceeded when the text is longer; States.Runtime when `value` is not JSON.
 */
export function handOver(value: unknown, what: string): unknown {
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw new StateFailure('States.Runtime', `${what} is not JSON`, { terminal: true });
  const bytes = utf8Bytes(text);
  if (bytes > limits.stateBytes) {
    throw new StateFailure(
      'States.DataLimitExceeded',
      `${what} has ${bytes} bytes; Step Functions takes at most ${limits.stateBytes}: hand over a key of an object instead`,
      { terminal: true },
    );
  }
  return JSON.parse(text);
}
