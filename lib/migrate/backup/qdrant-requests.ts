import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { z } from 'zod';
import { StoreUnavailable } from '../../errors.ts';
import { parseAs } from '../../event.ts';
import type { ResolvedConnection } from '../../stores/port.ts';
import { fromClient, fromHttp, TooLarge } from '../../stores/qdrant/errors.ts';

/**
 * Requests to Qdrant that may take as long as a collection is large: fetch gives a server five minutes to begin its answer, and a snapshot
 * of many gigabytes takes more. Files stream; nothing of them is held in memory.
 */

export interface QdrantServer {
  /** The store's name in the team's files. */
  readonly name: string;
  /** `http://host:6333`, without a slash at its end. */
  readonly url: string;
  readonly apiKey: string | undefined;
}

/** A server whose records are read, too. */
export interface QdrantPlace extends QdrantServer {
  /** For records, which go over gRPC where that answers. */
  readonly connection: ResolvedConnection;
  /** The store's own option, as its migrations go. */
  readonly transport?: unknown;
}

/** @returns `result` of the answer */
export async function ask<T>(
  place: QdrantServer,
  method: string,
  path: string,
  schema: z.ZodType<T>,
  body?: unknown,
): Promise<T> {
  const text = await send(place, method, path, async (out) => {
    if (body !== undefined) out.write(JSON.stringify(body));
  });
  const parsed: unknown = JSON.parse(text);
  const result: unknown = typeof parsed === 'object' && parsed !== null && 'result' in parsed ? parsed.result : parsed;
  return parseAs(schema, result, `${place.url} ${method} ${path}: its answer`, StoreUnavailable);
}

type Fill = (out: NodeJS.WritableStream) => Promise<void>;

async function open(
  { url, apiKey }: QdrantServer,
  method: string,
  path: string,
  fill: Fill,
  headers: Readonly<Record<string, string>> = {},
): Promise<IncomingMessage> {
  const make = url.startsWith('https:') ? httpsRequest : httpRequest;
  return await new Promise<IncomingMessage>((resolve, reject) => {
    const out = make(`${url}${path}`, {
      method,
      headers: {
        'content-type': 'application/json',
        ...(apiKey === undefined ? {} : { 'api-key': apiKey }),
        ...headers,
      },
    });
    out.once('error', reject);
    out.once('response', resolve);
    // A server that has died silently is found by the system's own probes.
    out.setSocketKeepAlive(true, 30_000);
    fill(out).then(
      () => out.end(),
      (error: unknown) => out.destroy(error instanceof Error ? error : new Error(String(error))),
    );
  });
}

async function send(
  place: QdrantServer,
  method: string,
  path: string,
  fill: Fill,
  headers?: Readonly<Record<string, string>>,
): Promise<string> {
  const asked = { where: place.url, what: `${method} ${path}`, isWrite: false };
  try {
    const answer = await open(place, method, path, fill, headers);
    const text = await textOf(answer);
    if (answer.statusCode !== undefined && answer.statusCode < 300) return text;
    throw fromHttp(answer.statusCode ?? 0, text, answer.headers['retry-after'] ?? null, asked);
  } catch (error) {
    throw told(error, asked);
  }
}

function told(error: unknown, asked: Parameters<typeof fromClient>[1]): Error {
  const said = fromClient(error, asked);
  return said instanceof TooLarge ? new StoreUnavailable(said.message, { cause: said }) : said;
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Writes what the server gives into a file. @returns its size and SHA-256 */
export async function download(
  place: QdrantServer,
  path: string,
  file: string,
): Promise<{ readonly bytes: number; readonly checksum: string }> {
  const asked = { where: place.url, what: `GET ${path}`, isWrite: false };
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    const answer = await open(place, 'GET', path, async () => undefined);
    if (answer.statusCode !== 200)
      throw fromHttp(answer.statusCode ?? 0, await textOf(answer), answer.headers['retry-after'] ?? null, asked);
    const count = new Transform({
      transform: (chunk: Buffer, _, done) => {
        hash.update(chunk);
        bytes += chunk.length;
        done(null, chunk);
      },
    });
    await pipeline(answer, count, createWriteStream(file, { mode: 0o600 }));
  } catch (error) {
    // The disk's own troubles are not the server's.
    if (Object(error).code === 'ENOSPC') throw error;
    throw told(error, asked);
  }
  return { bytes, checksum: hash.digest('hex') };
}

/** Sends a file as the form field `snapshot`, as the server's documentation has it. @param name what the server keeps it as */
export async function upload(place: QdrantServer, path: string, file: string, name: string): Promise<void> {
  const boundary = 'vecferry-snapshot-0e9a1c7d5b';
  const head = `--${boundary}\r\ncontent-disposition: form-data; name="snapshot"; filename="${name}"\r\ncontent-type: application/octet-stream\r\n\r\n`;
  const tail = `\r\n--${boundary}--\r\n`;
  const { size } = await stat(file);
  const headers = {
    'content-type': `multipart/form-data; boundary=${boundary}`,
    'content-length': String(head.length + size + tail.length),
  };
  const fill: Fill = async (out) => {
    out.write(head);
    await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), out, { end: false });
    out.write(tail);
  };
  await send(place, 'POST', path, fill, headers);
}
