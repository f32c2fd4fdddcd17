import type { BackupPart } from './folder.ts';

/** Names of collections, or of their aliases, that a backup of a server is of; undefined: of every collection. vecferry.yaml, `backup.collections`. */
export type Scope = readonly string[] | undefined;

/** @param aliases what each stands for */
export const isWithin = (scope: Scope, name: string, aliases: Readonly<Record<string, string>> = {}): boolean =>
  scope === undefined || scope.some((each) => each === name || aliases[each] === name);

/**
 * Of the backup that is made before a restore: what the settings name by now, and all that the restore may touch.
 * @param parts of the same store, in the backup that is brought back
 */
export function widened(scope: Scope, parts: readonly BackupPart[]): Scope {
  const held = parts.find(({ kind }) => kind === 'qdrant collections' || kind === 'records')?.only;
  if (scope === undefined || (parts.length > 0 && held === undefined)) return undefined;
  return [...new Set([...scope, ...(held ?? []), ...parts.flatMap(collectionsIn)])];
}

/** Told of a name that stands for nothing yet, as before the first `up`, or by a slip. */
export const absentText = (store: string, name: string): string =>
  `store '${store}' has no collection or alias '${name}', which its backup.collections names: nothing of it is kept`;

const snapshotWord = 'collection ';

/** `what` of a snapshot's part. */
export const snapshotOf = (collection: string): string => `${snapshotWord}${collection}`;

export function collectionsIn({ kind, what, counts }: BackupPart): readonly string[] {
  if (kind === 'records') return Object.keys(counts);
  return kind === 'qdrant snapshot' ? [what.slice(snapshotWord.length)] : [];
}
