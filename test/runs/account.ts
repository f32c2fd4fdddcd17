import { column, denseVector } from '../../lib/batch.ts';
import type { Store } from '../../lib/stores/port.ts';
import { type Account, seedTag, vectorOf } from './application.ts';

/** Holds what two stores hold against what applications were told, record by record. */

export interface SideToRead {
  readonly store: Store;
  /** The vector's name on this side. */
  readonly vector: string;
}

/** The tag of every record of a side, by its id. @throws Error naming the first record that is not as its tag says, half written for instance */
export async function heldBy({ store, vector }: SideToRead): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const { batch } of store.read({ from: null, to: null }, { maxRecords: 1000, maxBytes: 1 << 24 })) {
    const vectors = column(batch, vector);
    if (vectors.kind !== 'dense') throw new Error(`${vector} is no dense vector`);
    for (const [at, id] of batch.ids.entries()) {
      const { tag, word, ...rest } = JSON.parse(batch.payloads[at] ?? '{}');
      if (found.has(id)) throw new Error(`record ${id} is there twice`);
      if (word !== `word ${id}` || Object.keys(rest).length > 0) {
        throw new Error(`record ${id} has the payload ${batch.payloads[at]}`);
      }
      const wanted = vectorOf(id, tag, vectors.dimension);
      const isOurs = denseVector(vectors, at).every((value, i) => Math.abs(value - (wanted[i] ?? 0)) <= 1e-6);
      if (!isOurs) throw new Error(`record ${id} has the tag '${tag}' and another vector than was written with it`);
      found.set(id, tag);
    }
  }
  return found;
}

/** What is not as it was acknowledged, a sentence each; empty when both sides hold every write exactly. */
export async function brokenPromises(
  accounts: readonly Account[],
  records: number,
  { source, target }: { readonly source: SideToRead; readonly target: SideToRead },
): Promise<readonly string[]> {
  const [inSource, inTarget] = await Promise.all([heldBy(source), heldBy(target)]);
  return [
    ...sideBySide(inSource, inTarget),
    ...accounts.flatMap((account) => kept(account, inSource)),
    ...untouched(accounts, records, inSource),
  ];
}

/** The same of one side alone, once it is the only one that is written to. */
export async function brokenPromisesOf(
  accounts: readonly Account[],
  records: number,
  side: SideToRead,
): Promise<readonly string[]> {
  const held = await heldBy(side);
  return [...accounts.flatMap((account) => kept(account, held)), ...untouched(accounts, records, held)];
}

/** Records that the two sides do not hold alike. */
export function sideBySide(inSource: ReadonlyMap<string, string>, inTarget: ReadonlyMap<string, string>): string[] {
  return [...new Set([...inSource.keys(), ...inTarget.keys()])]
    .filter((id) => inSource.get(id) !== inTarget.get(id))
    .map(
      (id) => `${id}: the source holds ${inSource.get(id) ?? 'nothing'}, the target ${inTarget.get(id) ?? 'nothing'}`,
    );
}

function kept({ name, acknowledged, uncertain, shared }: Account, held: ReadonlyMap<string, string>): string[] {
  const wrong = Object.entries(acknowledged)
    .filter(([id, tag]) => uncertain[id] === undefined && (held.get(id) ?? null) !== tag)
    .map(
      ([id, tag]) =>
        `${id}: ${name} was told ${tag ?? 'that it is deleted'}, and there is ${held.get(id) ?? 'nothing'}`,
    );
  const neither = Object.entries(uncertain)
    .filter(([id, tags]) => !tags.includes(held.get(id) ?? null))
    .map(([id, tags]) => `${id}: ${name} tried ${tags.join(', ')}, and there is ${held.get(id) ?? 'nothing'}`);
  // Whose write of a shared record came last nobody knows; that it was one of those that were tried is certain.
  const strange = Object.keys(shared)
    .filter((id) => held.get(id)?.startsWith(`${name} `) && !shared[id]?.includes(held.get(id) ?? null))
    .map((id) => `${id}: there is ${held.get(id)}, which ${name} never wrote`);
  return [...wrong, ...neither, ...strange];
}

/** Records that nobody wrote are as they were. */
function untouched(accounts: readonly Account[], records: number, held: ReadonlyMap<string, string>): string[] {
  const written = new Set(
    accounts.flatMap(({ acknowledged, uncertain, shared }) =>
      Object.keys({ ...acknowledged, ...uncertain, ...shared }),
    ),
  );
  return Array.from({ length: records }, (_, at) => String(at + 1))
    .filter((id) => !written.has(id) && held.get(id) !== seedTag)
    .map((id) => `${id}: nobody wrote it, and there is ${held.get(id) ?? 'nothing'}`);
}
