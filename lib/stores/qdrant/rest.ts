import { type Batch, hasVector, type VectorColumn } from '../../batch.ts';
import { RecordRefused, StoreUnavailable } from '../../errors.ts';
import type { VectorSpec } from '../../schema.ts';
import type { Hit } from '../port.ts';
import type { DecodedPoints } from './answers.ts';
import { type BatchBuilder, makeBatchBuilder } from './columns.ts';
import { type DataPath, requestTimeoutMs, type UpsertLimits } from './data.ts';
import { fromClient, fromHttp } from './errors.ts';
import { isInteger, isUuid } from './ids.ts';
import { afterSpace, eachField, eachItem, endOfValue } from './json.ts';
import { checkRestPayload } from './payload.ts';
import type { QdrantSearch } from './search.ts';

/**
 * Records over REST, where only HTTP is open. JSON is written by hand and read by a scanner: integers above 2^53, in ids
 * and payloads, would not survive JSON.parse. Nine significant digits hold a float32 exactly, and print faster than
 * the shortest form.
 */
export function openRest({ url, apiKey, collection }: RestEndpoint): DataPath {
  const points = `/collections/${encodeURIComponent(collection)}/points`;
  const call = async (method: string, path: string, body: string): Promise<string> => {
    const asked = { where: url, what: `${method} ${path}`, isWrite: method === 'PUT' };
    try {
      const answer = await fetch(`${url}${path}`, {
        method,
        body,
        headers: { 'content-type': 'application/json', ...(apiKey === undefined ? {} : { 'api-key': apiKey }) },
        signal: AbortSignal.timeout(requestTimeoutMs),
      });
      const text = await answer.text();
      if (answer.ok) return text;
      throw fromHttp(answer.status, text, answer.headers.get('retry-after'), asked);
    } catch (error) {
      throw fromClient(error, asked);
    }
  };
  const post = (path: string, body: string): Promise<string> => call('POST', `${points}${path}`, body);
  const offset = (from: string | null): string => (from === null ? '' : `,"offset":${idJson(from)}`);
  return {
    name: 'rest',
    async upsert(batch, positions, limits) {
      const { body, taken } = encodeRestUpsert(batch, positions, limits);
      const answer = await call('PUT', `${points}?wait=true`, body);
      if (!answer.includes('"completed"'))
        throw new StoreUnavailable(`${url} did not apply an upsert into ${collection} in time; it will be sent again`);
      return { taken, restOnly: [] };
    },
    async delete(ids) {
      const answer = await post('/delete?wait=true', `{"points":[${ids.map(idJson).join(',')}]}`);
      if (!answer.includes('"completed"'))
        throw new StoreUnavailable(`${url} did not apply a delete in ${collection} in time; it can be sent again`);
    },
    scroll: async (vectors, from, limit) =>
      decodeRestPoints(
        await post('/scroll', `{"limit":${limit},"with_payload":true,"with_vector":true${offset(from)}}`),
        vectors,
      ),
    async scrollIds(from, limit) {
      const body = `{"limit":${limit},"with_payload":false,"with_vector":false${offset(from)}}`;
      const { batch, next } = decodeRestPoints(await post('/scroll', body), []);
      return { ids: batch.ids, next };
    },
    get: async (vectors, ids) =>
      decodeRestPoints(
        await post('', `{"ids":[${ids.map(idJson).join(',')}],"with_payload":true,"with_vector":true}`),
        vectors,
      ),
    search: async (request) => decodeRestHits(await post('/query', encodeRestSearch(request))),
    sample: async (limit) =>
      decodeRestHits(await post('/query', `{"query":{"sample":"random"},"limit":${limit}}`)).map(({ id }) => id),
    close: () => {},
  };
}

export interface RestEndpoint {
  /** `http://host:6333`, without a slash at its end. */
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly collection: string;
}

/** The next request for the records at `positions`, as many as fit. @throws RecordRefused for an id or a value that Qdrant cannot keep. */
export function encodeRestUpsert(
  batch: Batch,
  positions: readonly number[],
  { insertOnly, maxBytes, maxRecords }: UpsertLimits,
): { readonly body: string; readonly taken: number } {
  const records: string[] = [];
  let bytes = 0;
  for (const at of positions) {
    const id = batch.ids[at] ?? '';
    const payload = batch.payloads[at] ?? '{}';
    checkRestPayload(payload, id);
    const record = `{"id":${checkedIdJson(id)},"vector":${vectorsJson(batch.vectors, at)},"payload":${payload}}`;
    const size = Buffer.byteLength(record);
    if (records.length > 0 && (bytes + size > maxBytes || records.length >= maxRecords)) break;
    records.push(record);
    bytes += size;
  }
  const mode = insertOnly ? ',"update_mode":"insert_only"' : '';
  return { body: `{"points":[${records.join(',')}]${mode}}`, taken: records.length };
}

/** A nearest-neighbour search by a dense vector, ids and scores only. */
export function encodeRestSearch({ vector, values, k, must, params }: QdrantSearch): string {
  const using = vector === '' ? '' : `,"using":${JSON.stringify(vector)}`;
  const filter = must.length === 0 ? '' : `,"filter":${JSON.stringify({ must })}`;
  const asked = Object.keys(params).length === 0 ? '' : `,"params":${JSON.stringify(params)}`;
  return `{"query":${floatsJson(values)},"limit":${k}${using}${filter}${asked}}`;
}

/** The answer to a scroll, or to a get by ids. */
export function decodeRestPoints(text: string, vectors: readonly VectorSpec[]): DecodedPoints {
  const spots: number[] = [];
  let next: string | null = null;
  const collect = (at: number) => eachItem(text, at, (from) => spots.push(from));
  eachField(text, afterSpace(text, 0), (key, from) => {
    if (key !== 'result') return;
    if (text[from] === '[') collect(from);
    else
      eachField(text, from, (field, begin, end) => {
        if (field === 'points') collect(begin);
        else if (field === 'next_page_offset') next = idIn(text, begin, end);
      });
  });
  const builder = makeBatchBuilder(vectors, spots.length);
  for (const at of spots) readPoint(text, at, builder);
  return { batch: builder.finish(), next, doubtful: [] };
}

/** The answer to a query. */
export function decodeRestHits(text: string): Hit[] {
  const hits: Hit[] = [];
  const readHit = (at: number): void => {
    let id = '';
    let score = 0;
    eachField(text, at, (key, from, to) => {
      if (key === 'id') id = idIn(text, from, to) ?? '';
      else if (key === 'score') score = Number(text.slice(from, to));
    });
    hits.push({ id, score });
  };
  eachField(text, afterSpace(text, 0), (key, from) => {
    if (key !== 'result') return;
    eachField(text, from, (field, begin) => {
      if (field === 'points') eachItem(text, begin, readHit);
    });
  });
  return hits;
}

function readPoint(text: string, at: number, builder: BatchBuilder): void {
  let id = '';
  let payload = '{}';
  let vectorAt = -1;
  eachField(text, at, (key, from, to) => {
    if (key === 'id') id = idIn(text, from, to) ?? '';
    else if (key === 'payload' && text[from] === '{') payload = text.slice(from, to);
    else if (key === 'vector') vectorAt = from;
  });
  builder.record(id, payload);
  if (vectorAt === -1 || text[vectorAt] === 'n') return;
  if (text[vectorAt] === '{')
    eachField(text, vectorAt, (name, from, to) => readVector(text.slice(from, to), name, id, builder));
  else readVector(text.slice(vectorAt, endOfValue(text, vectorAt)), '', id, builder);
}

/** JSON.parse gives the nearest double, of which Float32Array takes the nearest float: the one that Qdrant printed. */
function readVector(json: string, name: string, id: string, builder: BatchBuilder): void {
  const { kind } = builder.spec(name);
  // serde_json prints NaN and infinity as null, which a Float32Array would take for 0.
  if (json.includes('null'))
    throw new RecordRefused(
      `vector '${name}' of record '${id}' holds NaN or infinity, which REST cannot tell apart; read it over gRPC (options.transport), or write it anew`,
      { ids: [id] },
    );
  if (kind === 'sparse') {
    const { indices, values }: { indices: readonly number[]; values: readonly number[] } = JSON.parse(json);
    builder.sparse(name, Uint32Array.from(indices), Float32Array.from(values));
    return;
  }
  const parsed: readonly number[] | readonly (readonly number[])[] = JSON.parse(json);
  const floats = Float32Array.from(parsed.flat());
  builder.floats(name, new Uint8Array(floats.buffer));
}

function idIn(text: string, from: number, to: number): string | null {
  if (text[from] === '"') return text.slice(from + 1, to - 1);
  return text[from] === 'n' ? null : text.slice(from, to);
}

function idJson(id: string): string {
  return isUuid(id) ? `"${id}"` : id;
}

function checkedIdJson(id: string): string {
  if (isUuid(id) || isInteger(id)) return idJson(id);
  throw new RecordRefused(`Qdrant cannot hold the id '${id}'; it takes integers from 0 to 2^64-1 and UUIDs`, {
    ids: [id],
  });
}

function vectorsJson(vectors: ReadonlyMap<string, VectorColumn>, at: number): string {
  const there = [...vectors].filter(([, column]) => hasVector(column, at));
  const [only] = there;
  if (only !== undefined && vectors.size === 1 && only[0] === '') return vectorJson(only[1], at);
  return `{${there.map(([name, column]) => `${JSON.stringify(name)}:${vectorJson(column, at)}`).join(',')}}`;
}

function vectorJson(column: VectorColumn, at: number): string {
  if (column.kind === 'dense')
    return floatsJson(column.values.subarray(at * column.dimension, (at + 1) * column.dimension));
  const from = column.offsets[at] ?? 0;
  const to = column.offsets[at + 1] ?? from;
  if (column.kind === 'sparse')
    return `{"indices":[${column.indices.subarray(from, to).join(',')}],"values":${floatsJson(column.values.subarray(from, to))}}`;
  const { dimension, values } = column;
  const parts = Array.from({ length: to - from }, (_, each) =>
    floatsJson(values.subarray((from + each) * dimension, (from + each + 1) * dimension)),
  );
  return `[${parts.join(',')}]`;
}

function floatsJson(values: Float32Array): string {
  let text = '[';
  for (let at = 0; at < values.length; at++) text += `${at === 0 ? '' : ','}${(values[at] ?? 0).toPrecision(9)}`;
  return `${text}]`;
}
