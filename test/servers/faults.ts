/** Makes the Qdrant test server fail for a while. It is always our own front, since a real server has no such endpoint. */
import { frontUrl } from './urls.ts';

export interface Fault {
  /** 429 and 503 over REST; RESOURCE_EXHAUSTED and UNAVAILABLE over gRPC. Left out: the requests are only slow. */
  readonly status?: number;
  /** How many matching requests fail; one by default. */
  readonly times?: number;
  /** Seconds, sent as Retry-After and as trailing metadata. */
  readonly retryAfter?: number;
  /** A part of `METHOD /path`, or of `/qdrant.Service/Method collection`: name your own collection, the server is shared. */
  readonly path?: string;
  readonly protocol?: 'rest' | 'grpc';
  readonly delayMs?: number;
}

/** Adds a fault; those asked for earlier are met first. @throws Error when the server does not take it. */
export async function failQdrant(fault: Fault, server?: string): Promise<void> {
  await change('POST', fault, server);
}

/** The faults whose requests have not all come yet, with how often each is still to be met. */
export async function pendingFaults(server?: string): Promise<readonly (Fault & { readonly times: number })[]> {
  const answer = await change('GET', undefined, server);
  return answer.faults;
}

interface Answer {
  readonly faults: readonly (Fault & { readonly times: number })[];
}

async function change(method: string, body: Fault | undefined, server: string | undefined): Promise<Answer> {
  const url = `${server ?? (await frontUrl())}/_test/faults`;
  const answer = await fetch(url, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  if (!answer.ok) throw new Error(`the Qdrant server refuses the fault: ${answer.status} ${await answer.text()}`);
  return await answer.json();
}
