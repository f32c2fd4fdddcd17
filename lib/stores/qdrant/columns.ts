import type { Batch, VectorColumn } from '../../batch.ts';
import { RecordRefused } from '../../errors.ts';
import type { VectorSpec } from '../../schema.ts';

/** Collects records that arrive one by one, from gRPC or REST, into the columns of a batch. */
export interface BatchBuilder {
  /** Begins the next record. */
  record(id: string, payload: string): void;
  /** What the collection says about the current record's vector `name`. @throws RecordRefused when it has no such vector. */
  spec(name: string): VectorSpec;
  /** A vector of the current record as the bytes of its float32s: dense, or the vectors of a multivector one after the other. */
  floats(name: string, bytes: Uint8Array): void;
  /** A sparse vector of the current record, in any order of its indices. */
  sparse(name: string, indices: Uint32Array, values: Float32Array): void;
  finish(): Batch;
}

interface Part {
  readonly spec: VectorSpec;
  /** One byte a record. */
  readonly present: Uint8Array;
  /** Bytes of float32s, in order of the records; grows. */
  bytes: Uint8Array;
  used: number;
  /** Floats behind each record, for sparse and multi. */
  readonly ends: Uint32Array;
  readonly indices: Uint32Array[];
}

/** A builder for at most `capacity` records of a collection with these vectors. */
export function makeBatchBuilder(vectors: readonly VectorSpec[], capacity: number): BatchBuilder {
  const ids: string[] = [];
  const payloads: string[] = [];
  const parts = new Map(vectors.map((spec) => [spec.name, makePart(spec, capacity)]));

  const part = (name: string): Part => {
    const found = parts.get(name);
    if (found !== undefined) return found;
    const id = ids.at(-1) ?? '';
    throw new RecordRefused(
      `record '${id}' has a vector '${name}', which the collection had not when the run was planned; start a new run`,
      { ids: [id] },
    );
  };

  return {
    record(id, payload) {
      ids.push(id);
      payloads.push(payload);
    },
    spec: (name) => part(name).spec,
    floats(name, bytes) {
      const to = part(name);
      const at = ids.length - 1;
      if (to.spec.kind === 'dense') {
        const size = (to.spec.dimension ?? 0) * 4;
        if (bytes.length !== size)
          throw new RangeError(`vector '${name}' has ${bytes.length} bytes instead of ${size}`);
        to.bytes.set(bytes, at * size);
      } else {
        append(to, bytes);
      }
      to.present[at] = 1;
      to.ends[at] = to.used / 4;
    },
    sparse(name, indices, values) {
      const to = part(name);
      const at = ids.length - 1;
      const [sorted, moved] = sortByIndex(indices, values);
      append(to, new Uint8Array(moved.buffer, moved.byteOffset, moved.byteLength));
      to.indices.push(sorted);
      to.present[at] = 1;
      to.ends[at] = to.used / 4;
    },
    finish: () => ({
      count: ids.length,
      ids,
      payloads,
      vectors: new Map([...parts].map(([name, each]) => [name, columnOf(each, ids.length)])),
    }),
  };
}

function makePart(spec: VectorSpec, capacity: number): Part {
  const size = spec.kind === 'dense' ? (spec.dimension ?? 0) * 4 * capacity : 0;
  return {
    spec,
    present: new Uint8Array(capacity),
    bytes: new Uint8Array(size),
    used: 0,
    ends: new Uint32Array(capacity),
    indices: [],
  };
}

function append(part: Part, bytes: Uint8Array): void {
  const end = part.used + bytes.length;
  if (end > part.bytes.length) {
    const grown = new Uint8Array(Math.max(end, part.bytes.length * 2, 1024));
    grown.set(part.bytes);
    part.bytes = grown;
  }
  part.bytes.set(bytes, part.used);
  part.used = end;
}

function columnOf({ spec, present, bytes, used, ends, indices }: Part, count: number): VectorColumn {
  const { kind, dimension = 0 } = spec;
  const flags = present.subarray(0, count);
  const missing = flags.includes(0) ? { present: flags } : {};
  if (kind === 'dense')
    return { kind, dimension, values: new Float32Array(bytes.buffer, 0, count * dimension), ...missing };
  const values = new Float32Array(bytes.buffer, 0, used / 4);
  const offsets = new Uint32Array(count + 1);
  const unit = kind === 'multi' ? dimension : 1;
  for (let at = 0; at < count; at++) offsets[at + 1] = present[at] === 1 ? (ends[at] ?? 0) / unit : (offsets[at] ?? 0);
  if (kind === 'multi') return { kind, dimension, offsets, values, ...missing };
  const joined = new Uint32Array(values.length);
  let at = 0;
  for (const each of indices) {
    joined.set(each, at);
    at += each.length;
  }
  return { kind, offsets, indices: joined, values, ...missing };
}

/** A batch has the indices of a sparse vector in ascending order; Qdrant sends them so, but does not promise it. */
function sortByIndex(indices: Uint32Array, values: Float32Array): readonly [Uint32Array, Float32Array] {
  if (indices.every((index, at) => at === 0 || index > (indices[at - 1] ?? 0))) return [indices, values];
  const order = [...indices.keys()].sort((a, b) => (indices[a] ?? 0) - (indices[b] ?? 0));
  return [Uint32Array.from(order, (at) => indices[at] ?? 0), Float32Array.from(order, (at) => values[at] ?? 0)];
}
