import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { AccessDenied, StoreUnavailable } from '../../errors.ts';
import { decodeGet, decodeHits, decodeScroll, isCompleted } from './answers.ts';
import { type DataPath, requestTimeoutMs } from './data.ts';
import { type Asked, fromGrpc } from './errors.ts';
import { encodeDelete, encodeGet, encodeSample, encodeScroll, encodeSearch, encodeUpsert } from './points.ts';

/** Records over gRPC, in messages of our own making: no object a record, no copy of a vector but into the message. */
export function openGrpc({ url, apiKey, collection }: GrpcEndpoint): DataPath {
  const call = connect(url, apiKey);
  const all = { payload: true, vectors: true };
  const idsOnly = { payload: false, vectors: false };
  const ask = (method: string, message: Buffer) => call.unary(`/qdrant.Points/${method}`, message, collection);
  return {
    name: 'grpc',
    async upsert(batch, positions, limits) {
      const { message, positions: held, restOnly, taken } = encodeUpsert(batch, positions, { collection, ...limits });
      if (held.length > 0 && !isCompleted(await ask('Upsert', message)))
        throw new StoreUnavailable(`${url} did not apply an upsert into ${collection} in time; it will be sent again`);
      return { restOnly, taken };
    },
    async delete(ids) {
      if (!isCompleted(await ask('Delete', encodeDelete(collection, ids))))
        throw new StoreUnavailable(`${url} did not apply a delete in ${collection} in time; it can be sent again`);
    },
    scroll: async (vectors, from, limit) =>
      decodeScroll(await ask('Scroll', encodeScroll(collection, from, limit, all)), vectors),
    async scrollIds(from, limit) {
      const { batch, next } = decodeScroll(await ask('Scroll', encodeScroll(collection, from, limit, idsOnly)), []);
      return { ids: batch.ids, next };
    },
    get: async (vectors, ids) => decodeGet(await ask('Get', encodeGet(collection, ids, all)), vectors),
    search: async (request) => decodeHits(await ask('Query', encodeSearch(collection, request))),
    sample: async (limit) => decodeHits(await ask('Query', encodeSample(collection, limit))).map(({ id }) => id),
    close: call.close,
  };
}

export interface GrpcEndpoint {
  /** `http://host:6334`, or https for TLS. */
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly collection: string;
}

/**
 * True when Qdrant's gRPC answers at `url`, within three seconds: a port that a firewall drops gives no answer at all.
 * @throws AccessDenied when it answers that the key is wrong
 */
export async function answersGrpc(url: string, apiKey: string | undefined): Promise<boolean> {
  const call = connect(url, apiKey, 3000);
  try {
    await call.unary('/qdrant.Qdrant/HealthCheck', Buffer.alloc(0), 'the service');
    return true;
  } catch (error) {
    if (error instanceof AccessDenied) throw error;
    return false;
  } finally {
    call.close();
  }
}

function connect(url: string, apiKey: string | undefined, timeoutMs = requestTimeoutMs) {
  const { protocol, hostname, port } = new URL(url);
  const secure = protocol === 'https:';
  const client = new Client(
    `${hostname}:${port || (secure ? 443 : 80)}`,
    secure ? credentials.createSsl() : credentials.createInsecure(),
    {
      // Our requests and pages are bounded by bytes; a single record may be larger than grpc-js's 4 MiB.
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.keepalive_time_ms': 30_000,
    },
  );
  const metadata = new Metadata();
  if (apiKey !== undefined) metadata.set('api-key', apiKey);
  const asIs = (message: Buffer): Buffer => message;
  return {
    unary: (path: string, message: Buffer, about: string): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        const verb = path.slice(path.lastIndexOf('/') + 1);
        const asked: Asked = { where: url, what: `${verb} of ${about}`, isWrite: verb === 'Upsert' };
        const options = { deadline: Date.now() + timeoutMs };
        client.makeUnaryRequest(path, asIs, asIs, message, metadata, options, (error, answer) => {
          if (error !== null) reject(fromGrpc(error, asked));
          else if (answer === undefined) reject(new StoreUnavailable(`${url} gave no answer to ${asked.what}`));
          else resolve(answer);
        });
      }),
    close: () => client.close(),
  };
}
