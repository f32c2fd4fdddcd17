import { AccessDenied, Incompatible, NotFound, StoreUnavailable, VecferryError } from '../../errors.ts';

/** Runs a call of the client and gives its failures our names. The client has one class of error, so texts are matched. */
export async function guard<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw cause instanceof VecferryError ? cause : namedError(what, cause);
  }
}

function namedError(what: string, cause: unknown): Error {
  const text = String(cause).replace(/^Error: /, '');
  // A table's 403rd version is no status of HTTP.
  const told = text.replace(/\bversion:? \d+/gi, 'version');
  // What follows the first comma before a path is where in Lance's own sources it happened.
  const reason = text.split(/, \/|\n| {2}Caused by/)[0] ?? text;
  const message = `${what} failed: ${reason}`;
  if (/was not found|not found:|does not exist/i.test(text)) return new NotFound(message, { cause });
  if (/permission denied|access ?denied|forbidden|\b40[13]\b|InvalidAccessKeyId|SignatureDoesNotMatch/i.test(told))
    return new AccessDenied(message, { cause });
  if (/LanceError\(Schema\)|schema error|cannot (be )?cast|type mismatch/i.test(text))
    return new Incompatible(message, { cause });
  return new StoreUnavailable(message, { cause });
}
