import type { VectorIndex } from '../schema.ts';
import type { IndexForm } from '../stores/index-port.ts';

/** An index in words, for plans, reports and messages. */

/** `HNSW (m 16, efConstruction 64)` */
export function indexText(index: VectorIndex): string {
  if (index.kind === 'none') return 'no index';
  if (index.kind === 'other') return index.name;
  const { kind, ...settings } = index;
  const texts = Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`]));
  const name = kind === 'hnsw' ? 'HNSW' : 'IVFFlat';
  return texts.length === 0 ? name : `${name} (${texts.join(', ')})`;
}

/** With its quantization, where the store has such a thing. */
export function formText({ index, quantization }: IndexForm): string {
  if (quantization === undefined) return indexText(index);
  const kinds = quantization === null ? 'no quantization' : `quantization ${JSON.stringify(quantization)}`;
  return `${indexText(index)}, ${kinds}`;
}
