/**
 * Where a test file gets its servers: each function starts the server on first use, one for the whole test run, or
 * takes the URL in the environment. Files share the servers, so each uses names of its own for what it creates.
 * @throws Error when the server cannot be started: a missing server fails, it never skips.
 */
import type { Addresses, AddressName, ServerName } from './start.ts';

/** `postgresql://postgres@127.0.0.1:PORT/postgres`, a superuser; PostgreSQL 18 with pgvector available. */
export function postgresUrl(): Promise<string> {
  return address('postgres', 'POSTGRES_URL');
}

/** Qdrant's REST, `http://127.0.0.1:PORT`. */
export function qdrantUrl(): Promise<string> {
  return address('qdrant', 'QDRANT_URL');
}

/** Qdrant's gRPC, `http://127.0.0.1:PORT`. For a server from the environment: the port above REST's, if it names none. */
export function qdrantGrpcUrl(): Promise<string> {
  return address('qdrant', 'QDRANT_GRPC_URL');
}

/** Our own front, for tests that make it fail or are about it: never the server that the environment names. */
export function frontUrl(): Promise<string> {
  return address('qdrant-front', 'QDRANT_URL');
}

export function frontGrpcUrl(): Promise<string> {
  return address('qdrant-front', 'QDRANT_GRPC_URL');
}

/** Chroma's HTTP, `http://127.0.0.1:PORT`. */
export function chromaUrl(): Promise<string> {
  return address('chroma', 'CHROMA_URL');
}

async function address(server: ServerName | 'qdrant-front', name: AddressName): Promise<string> {
  const supervisor = process.env['VECFERRY_TEST_SERVERS'];
  if (supervisor === undefined)
    throw new Error('no supervisor of test servers; run the tests through jest with jest.config.json');
  const answer = await fetch(`${supervisor}/${server}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`test server ${server}: ${text}`);
  const addresses: Addresses = JSON.parse(text);
  const url = addresses[name] ?? (name === 'QDRANT_GRPC_URL' ? portAbove(addresses.QDRANT_URL) : undefined);
  if (url === undefined)
    throw new Error(`${server} is taken from the environment, but ${name} is not set; set it too, or none`);
  return url;
}

/** Qdrant's own habit: 6333 and 6334. */
function portAbove(rest: string | undefined): string | undefined {
  if (rest === undefined) return undefined;
  const url = new URL(rest);
  url.port = String(Number(url.port || 6333) + 1);
  return url.origin;
}
