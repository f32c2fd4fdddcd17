import type { Estimate } from './run-files.ts';
import type { CollectionSchema } from './schema.ts';

/**
 * What a run will take, worked out before it starts. Rates are those of one worker as `npm run bench` measured them on two
 * cores, halved, so that the estimate errs on the late side; prices are AWS's list prices in us-east-1.
 */

/** Bytes a second that one exporter writes into shards, and one importer writes into a store. */
const exportBytesPerSecond = 40_000_000;
const importBytesPerSecond = 15_000_000;
/** Bytes a second that one validator reads back and compares. */
const compareBytesPerSecond = 15_000_000;
/** Planning, preparing, waiting loops and the report. */
const fixedSeconds = 20;
/** GiB of memory of the functions that move data, 1,769 MiB or one vCPU: infra/function-settings.ts. */
const functionGiB = 1.73;
/** Importers at once: the default of `vecferry:importers` in cdk.json. */
const importers = 16;

/** aws.amazon.com/lambda/pricing (arm64), step-functions/pricing, s3/pricing, sqs/pricing; us-east-1. */
const usd = {
  gibSecond: 0.0000133334,
  millionInvocations: 0.2,
  transition: 0.000025,
  put: 0.000005,
  get: 0.0000004,
  message: 0.0000004,
} as const;

export interface EstimateInput {
  readonly records: number;
  readonly bytesPerRecord: number;
  readonly shardBytes: number;
  readonly ranges: number;
  readonly exporters: number;
  /** False where the run only validates: nothing is imported. */
  readonly isMoved: boolean;
  /** Where texts are embedded: how long that takes, and what the model's provider takes for it; null: not known. */
  readonly embed?: { readonly seconds: number; readonly usd: number | null } | undefined;
}

export function estimateRun({
  records,
  bytesPerRecord,
  shardBytes,
  ranges,
  exporters,
  isMoved,
  embed,
}: EstimateInput): Estimate {
  const bytes = Math.ceil(records * bytesPerRecord);
  const shards = Math.max(ranges, Math.ceil(bytes / shardBytes));
  const imported = isMoved ? bytes : 0;
  const embedSeconds = embed?.seconds ?? 0;
  const workSeconds =
    bytes / exportBytesPerSecond + imported / importBytesPerSecond + bytes / compareBytesPerSecond + embedSeconds;
  const seconds =
    fixedSeconds +
    embedSeconds +
    bytes / exportBytesPerSecond / Math.min(exporters, shards) +
    imported / importBytesPerSecond / Math.min(importers, shards) +
    bytes / compareBytesPerSecond / Math.min(exporters, shards);
  const { invocations, transitions, price } = priceOf({ workSeconds, ranges, shards, seconds, isMoved });
  const importing = isMoved
    ? `bytes / (${importBytesPerSecond} B/s x ${Math.min(importers, shards)} importers) + `
    : '';
  return {
    records,
    bytes,
    shards,
    seconds: Math.ceil(seconds),
    invocations,
    usd: price + Math.ceil((embed?.usd ?? 0) * 100) / 100,
    formula: [
      `bytes = ${records} records x ${Math.ceil(bytesPerRecord)} bytes (vectors as float32, payload as sampled)`,
      `shards = the larger of ${ranges} ranges and bytes / ${shardBytes}`,
      `seconds = ${fixedSeconds} + bytes / (${exportBytesPerSecond} B/s x ${Math.min(exporters, shards)} exporters) + ${importing}bytes / (${compareBytesPerSecond} B/s x ${Math.min(exporters, shards)} validators); rates are half of what \`npm run bench\` shows for one worker${isMoved ? '; building the index comes on top' : ''}${embed === undefined ? '' : `; + ${embedSeconds} s of embedding`}`,
      `USD = ${Math.ceil(workSeconds)} s x ${functionGiB} GiB x ${usd.gibSecond} (Lambda, arm64) + ${invocations} invocations x 0.20 per million + ${transitions} state transitions x 0.025 per thousand + S3 and SQS requests; list prices of us-east-1, aws.amazon.com/lambda/pricing, /step-functions/pricing, /s3/pricing, /sqs/pricing; without the stores themselves, data transfer and storage${embedPrice(embed)}`,
    ],
  };
}

function embedPrice(embed: EstimateInput['embed']): string {
  if (embed === undefined) return '';
  return embed.usd === null
    ? '; and without the model, whose price is not known'
    : `; + ${embed.usd.toFixed(2)} USD of the model`;
}

export interface Work {
  /** Seconds that functions with a shard in hand worked, all together. */
  readonly workSeconds: number;
  readonly ranges: number;
  readonly shards: number;
  /** From the plan to the report: the state machine looks every ten seconds. */
  readonly seconds: number;
  /** False where the run only validates: nothing is imported. */
  readonly isMoved: boolean;
}

/** What that much work costs, in cents rounded up: the estimate's own arithmetic, for what a run was seen to do as well. */
export function priceOf({ workSeconds, ranges, shards, seconds, isMoved }: Work) {
  const looks = Math.ceil(seconds / 10);
  const invocations = 12 + ranges + (isMoved ? 3 : 2) * shards + looks;
  const transitions = 30 + 3 * ranges + 5 * shards + 3 * looks;
  const price =
    workSeconds * functionGiB * usd.gibSecond +
    (invocations * usd.millionInvocations) / 1e6 +
    transitions * usd.transition +
    shards * (6 * usd.put + 8 * usd.get + 4 * usd.message);
  return { invocations, transitions, price: Math.ceil(price * 100) / 100 };
}

/** Bytes of one record in memory: its floats as float32, and its payload text. Sparse and multi vectors are taken as 32 entries. */
export function bytesPerRecord(schema: CollectionSchema, payloadBytes: number): number {
  const vectors = schema.vectors.reduce((sum, { kind, dimension = 1 }) => {
    if (kind === 'sparse') return sum + 32 * 8;
    return sum + dimension * 4 * (kind === 'multi' ? 32 : 1);
  }, 0);
  return Math.max(1, vectors + payloadBytes);
}
