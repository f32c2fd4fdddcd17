import { runKeys } from '../../keys.ts';
import { getJson, type ObjectStore } from '../../objects.ts';
import { planSchema } from '../../run-files.ts';
import { listRuns } from '../../runs.ts';
import type { MigrateConfig, MigratedStore } from '../port.ts';
import { isWithin } from './scope.ts';

/**
 * A line for each collection that a run of this machine fills and has not ended, also where it goes on at another time: a backup holds no
 * more than what is there by then.
 * @param placeOf the server of a store, however it is named; undefined: it has none, or its secret is not there
 */
export async function collectionsFilled(
  { stores }: Pick<MigrateConfig, 'stores'>,
  objects: ObjectStore,
  placeOf: (store: MigratedStore) => Promise<string | undefined>,
): Promise<readonly string[]> {
  const kept = [...stores.values()].filter(({ store }) => store === 'qdrant' || store === 'chroma');
  if (kept.length === 0) return [];
  const lines: string[] = [];
  for (const { run, ended, source } of await listRuns(objects)) {
    // Without a source it has no plan yet, and has written nothing.
    if (ended !== null || source === null) continue;
    const plan = await getJson(objects, runKeys(run).plan, planSchema);
    if (plan === undefined || plan.event.mode !== 'migrate') continue;
    const { store, connection, options, collection } = plan.event.target;
    const place = connection && (await placeOf({ name: store, store, connection, options }));
    for (const { name, backup, ...own } of kept) {
      const isSame = place !== undefined && own.store === store && place === (await placeOf({ name, ...own }));
      if (isSame && isWithin(backup?.collections, collection)) lines.push(filledText(name, collection, run));
    }
  }
  return lines;
}

const filledText = (store: string, collection: string, run: string): string =>
  `collection ${collection} of ${store} is filled by run ${run}, which has not ended: a restore would take back what the run has noted as loaded, and what it writes meanwhile is not proven. Let it end first, or name the collections that are to be kept in vecferry.yaml, stores.${store}: backup: {collections: […]}`;
