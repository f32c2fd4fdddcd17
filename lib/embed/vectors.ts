import { InvalidEvent } from '../errors.ts';

/** A vector as an answer holds it: numbers, or float32 in base64, little-endian; undefined when it is neither or has a value that is no finite number. */
export function readVector(value: unknown): Float32Array | undefined {
  if (typeof value === 'string') return readBase64(value);
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const vector = new Float32Array(value.length);
  for (let i = 0; i < value.length; i++) {
    const float: unknown = value[i];
    // Python writes NaN, which some servers send on as null.
    if (typeof float !== 'number') return undefined;
    vector[i] = float;
  }
  return vector.every(Number.isFinite) ? vector : undefined;
}

function readBase64(text: string): Float32Array | undefined {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length === 0 || bytes.length % 4 !== 0) return undefined;
  const vector = new Float32Array(bytes.length / 4);
  for (let i = 0; i < vector.length; i++) vector[i] = bytes.readFloatLE(i * 4);
  return vector.every(Number.isFinite) ? vector : undefined;
}

/** Lets through vectors of the model's length alone. */
export type CheckLengths = (vectors: readonly (Float32Array | undefined)[]) => readonly (Float32Array | undefined)[];

/**
 * A vector of another length is no answer. Where every vector is of one other length, and none was right before, the event
 * is wrong, not the answer: nothing more is to be spent.
 * @throws InvalidEvent then
 */
export function checkLengths(model: string, dimensions: number): CheckLengths {
  let wasRight = false;
  return (vectors) => {
    const lengths = new Set(vectors.filter((each) => each !== undefined).map((each) => each.length));
    const [only] = lengths;
    if (lengths.has(dimensions)) wasRight = true;
    else if (!wasRight && lengths.size === 1 && only !== undefined) {
      throw new InvalidEvent(
        `the model '${model}' gives vectors of ${only} floats, and the event says ${dimensions}; write "dimensions": ${only}`,
        { ids: ['embed.model.dimensions'] },
      );
    }
    return vectors.map((each) => (each?.length === dimensions ? each : undefined));
  };
}
