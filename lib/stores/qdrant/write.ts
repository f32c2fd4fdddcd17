import { type Batch, column, hasVector } from '../../batch.ts';
import { RecordRefused } from '../../errors.ts';
import type { DataPath, Sent, UpsertLimits } from './data.ts';
import { TooLarge } from './errors.ts';

/** Requests under way for one batch: enough to hide the round trip, few enough to bound memory and the server's queue. */
const requestsInFlight = 4;
/** Requests that may be spent on finding which records of a refused batch the server does not take. */
const maxProbes = 64;

/**
 * gRPC servers take 4 MiB a message unless told otherwise, Qdrant more; REST takes 32 MiB. Small requests overlap
 * better, and 1,000 records amortise a request.
 */
const limits = {
  grpc: { maxBytes: 2 * 1024 * 1024, maxRecords: 1000 },
  rest: { maxBytes: 8 * 1024 * 1024, maxRecords: 1000 },
} as const;

export interface WritePaths {
  readonly data: DataPath;
  /** For what gRPC cannot hold: integers between 2^63 and 2^64, very deep nesting, a record above its message limit. */
  readonly rest: DataPath;
  /** Records that one upsert may have: strict mode's upsert_max_batchsize. */
  readonly maxUpsert: number;
}

/**
 * Upserts the batch and returns once every record is applied.
 * @throws RecordRefused naming the records that Qdrant does not take; the others may be written
 */
export async function writeAll(batch: Batch, paths: WritePaths, insertOnly: boolean): Promise<void> {
  refuseNonFinite(batch);
  const restOnly: number[] = [];
  const positions = Array.from({ length: batch.count }, (_, at) => at);
  const limited = ({ name }: DataPath): UpsertLimits => {
    const { maxBytes, maxRecords } = limits[name];
    return { insertOnly, maxBytes, maxRecords: Math.max(1, Math.min(maxRecords, paths.maxUpsert)) };
  };
  await sendAll(batch, positions, paths.data, limited(paths.data), restOnly);
  await sendAll(batch, restOnly, paths.rest, limited(paths.rest), []);
}

async function sendAll(
  batch: Batch,
  positions: readonly number[],
  data: DataPath,
  options: UpsertLimits,
  restOnly: number[],
): Promise<void> {
  const share = Math.ceil(positions.length / requestsInFlight);
  const failures = await Promise.allSettled(
    Array.from({ length: requestsInFlight }, (_, worker) =>
      send(batch, positions.slice(worker * share, (worker + 1) * share), data, options, restOnly),
    ),
  );
  const reasons = failures.flatMap((each): unknown[] => (each.status === 'rejected' ? [each.reason] : []));
  const other = reasons.find((reason) => !(reason instanceof RecordRefused));
  if (other !== undefined) throw other;
  const refused = reasons.filter((reason) => reason instanceof RecordRefused);
  const [first] = refused;
  if (first === undefined) return;
  throw new RecordRefused(first.message, { ids: refused.flatMap(({ ids }) => ids), cause: first });
}

/** Sends the records one request after the other; a request that is too large or refused is halved. */
async function send(
  batch: Batch,
  positions: readonly number[],
  data: DataPath,
  options: UpsertLimits,
  restOnly: number[],
): Promise<void> {
  let left = positions;
  while (left.length > 0) {
    const sent = await sendNext(batch, left, data, options);
    restOnly.push(...sent.restOnly);
    left = left.slice(sent.taken);
  }
}

async function sendNext(batch: Batch, left: readonly number[], data: DataPath, options: UpsertLimits): Promise<Sent> {
  try {
    return await data.upsert(batch, left, options);
  } catch (error) {
    const first = left[0] ?? 0;
    if (error instanceof TooLarge) {
      const half = Math.floor(options.maxBytes / 2);
      if (half >= 64 * 1024) return await sendNext(batch, left, data, { ...options, maxBytes: half });
      // One record alone is too large for gRPC as the server is set up; REST takes 32 MiB.
      if (data.name === 'grpc') return { taken: 1, restOnly: [first] };
      const id = batch.ids[first] ?? '';
      throw new RecordRefused(`record '${id}' is too large for the server: ${error.message}`, {
        ids: [id],
        cause: error,
      });
    }
    // With ids it is our own refusal, which names the record already.
    if (!(error instanceof RecordRefused) || error.ids.length > 0) throw error;
    return await findRefused(batch, left.slice(0, options.maxRecords), data, options, error);
  }
}

/** Sends ever smaller parts of a refused request, so that only the records at fault are left out and named. */
async function findRefused(
  batch: Batch,
  positions: readonly number[],
  data: DataPath,
  options: UpsertLimits,
  refusal: RecordRefused,
): Promise<never> {
  const refused: string[] = [];
  let message = refusal.message;
  let probes = 0;
  const idsAt = (some: readonly number[]): string[] => some.map((at) => batch.ids[at] ?? '');
  const probe = async (some: readonly number[]): Promise<void> => {
    if (some.length === 0) return;
    if (probes++ >= maxProbes) {
      refused.push(...idsAt(some));
      return;
    }
    try {
      const { taken } = await data.upsert(batch, some, options);
      await probe(some.slice(taken));
    } catch (error) {
      if (!(error instanceof RecordRefused)) throw error;
      message = error.message;
      if (some.length === 1) refused.push(...idsAt(some));
      else await halve(some);
    }
  };
  const halve = async (some: readonly number[]): Promise<void> => {
    const middle = Math.ceil(some.length / 2);
    await probe(some.slice(0, middle));
    await probe(some.slice(middle));
  };
  if (positions.length === 1) refused.push(...idsAt(positions));
  else await halve(positions);
  if (refused.length === 0) refused.push(...idsAt(positions));
  throw new RecordRefused(`Qdrant refuses ${refused.length} of ${batch.count} records: ${message}`, {
    ids: refused,
    cause: refusal,
  });
}

/** gRPC would carry NaN and infinity into the index, where they spoil every search. */
function refuseNonFinite(batch: Batch): void {
  for (const name of batch.vectors.keys()) {
    const found = column(batch, name);
    const { values } = found;
    // One pass without a branch a float: the sum of x - x is 0, or NaN when any x is not finite.
    let sum = 0;
    for (let at = 0; at < values.length; at++) sum += (values[at] ?? 0) - (values[at] ?? 0);
    if (sum === 0) continue;
    const ids = batch.ids.filter((_, at) => hasVector(found, at) && !vectorOf(found, at).every(Number.isFinite));
    throw new RecordRefused(`vector '${name}' of record '${ids[0]}' holds NaN or infinity, which cannot be searched`, {
      ids,
    });
  }
}

function vectorOf(found: ReturnType<typeof column>, at: number): Float32Array {
  if (found.kind === 'dense') return found.values.subarray(at * found.dimension, (at + 1) * found.dimension);
  const unit = found.kind === 'multi' ? found.dimension : 1;
  return found.values.subarray((found.offsets[at] ?? 0) * unit, (found.offsets[at + 1] ?? 0) * unit);
}
