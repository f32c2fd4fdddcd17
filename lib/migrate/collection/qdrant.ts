import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { Incompatible, InvalidEvent, StoreUnavailable } from '../../errors.ts';
import { resolveConnection, secretsOf } from '../../secrets.ts';
import type { Store } from '../../stores/port.ts';
import { type Admin, openAdmin } from '../../stores/qdrant/admin.ts';
import { failureOf, vectorsOf } from '../../stores/qdrant/settings.ts';
import { minVersion, requireVersion } from '../../stores/qdrant/version.ts';
import { addressesOf, qdrant } from '../../stores/qdrant.ts';
import type { MigratedStore } from '../port.ts';
import type { Action } from './plan.ts';
import type { Hands, Planner, Wanted } from './planner.ts';
import { planCollection } from './qdrant-plan.ts';
import { batchOfRecords, deleteRecords } from './seeds.ts';

/**
 * A change waits for the server's work: nothing else stands behind it that could ask again, as a run has. A day, since timers of Node end
 * at 25 of them; a server that has died is found by its connection.
 */
const maxWaitMs = 24 * 3600 * 1000;

/** Collection files on Qdrant: everything by its documented REST API, records as a run's go. */
export async function openQdrantPlanner(migrated: MigratedStore): Promise<Planner> {
  const connection = await resolveConnection(migrated.connection, secretsOf.environment);
  const { url, apiKey } = addressesOf(connection);
  const stores = new Map<string, Store>();
  const open = async (collection: string): Promise<Store> => {
    const { transport } = migrated.options;
    const there =
      stores.get(collection) ??
      (await qdrant.open({ connection, collection, options: transport === undefined ? {} : { transport } }));
    stores.set(collection, there);
    return there;
  };
  const admin = (collection: string): Admin => openAdmin(url, apiKey, collection, { waitMs: maxWaitMs });
  return {
    plan: async (wanted) => {
      refuseOthers(wanted);
      requireVersion(await admin(wanted.name).version(), minVersion, url);
      const names = await admin(wanted.name).names();
      return await planCollection({ wanted, names, migrated, admin, open });
    },
    carryOut: (action, hands) => carryOut(action, hands, admin, open),
    close: async () => {
      for (const store of stores.values()) await store.close();
      stores.clear();
    },
  };
}

/** @throws InvalidEvent for what other stores have */
function refuseOthers({ name, change: { columns, idType, vectors = {} } }: Wanted): void {
  const refuse = (field: string, instead: string): never => {
    throw new InvalidEvent(`collection '${name}': ${field} is not of Qdrant; ${instead}`, { ids: [field] });
  };
  if (columns !== undefined) refuse('columns', 'a payload is any JSON, and payloadIndexes index its fields');
  if (idType !== undefined) refuse('idType', 'ids are unsigned integers and UUIDs in any collection');
  for (const [vector, { index, hnsw }] of Object.entries(vectors)) {
    if (index !== undefined) refuse(`vectors.${vector}.index`, 'say hnsw: {m, efConstruction}; m 0 is no graph');
    if (hnsw?.efSearch !== undefined) refuse(`vectors.${vector}.hnsw.efSearch`, 'a search says it');
  }
}

async function carryOut(
  action: Action,
  hands: Hands,
  admin: (collection: string) => Admin,
  open: (collection: string) => Promise<Store>,
): Promise<void> {
  switch (action.do) {
    case 'create':
      return await create(admin(action.collection), action.body);
    case 'change':
      return await admin(action.collection).update(action.body);
    case 'indexPayload':
      return await admin(action.collection).indexPayload(action.field, action.schema);
    case 'dropPayloadIndex':
      return await admin(action.collection).dropPayloadIndex(action.field);
    case 'moveAliases':
      return await admin('').moveAliases(action.moves.map(({ alias, to }) => ({ alias, to: to ?? undefined })));
    case 'upsert': {
      const vectors = [...vectorsOf(await admin(action.collection).info())];
      await (await open(action.collection)).write(batchOfRecords(action.records, vectors), { mode: 'upsert' });
      return;
    }
    case 'delete':
      return await deleteRecords(await open(action.collection), action.ids);
    case 'dropCollection':
      await admin(action.collection).drop({});
      return;
    case 'copy':
      return await hands.copy(action.event, action.run);
    case 'takeBack':
      return await takeBack(action, hands, admin(action.to));
    case 'wait':
      return await waitForGreen(admin(action.collection));
    default:
      throw new InvalidEvent(`the history holds '${action.do}', which is no action of Qdrant`);
  }
}

/** @throws Incompatible when a collection of that name is there with other vectors */
async function create(admin: Admin, body: Record<string, unknown>): Promise<void> {
  try {
    await admin.create(body);
  } catch (error) {
    // Made by an earlier try whose answer was lost: it is what was asked for, or it is not ours.
    if (!(error instanceof InvalidEvent)) throw error;
    const { collections } = await admin.names();
    if (!collections.has(admin.collection)) throw error;
    const there = (await admin.info()).config.params.vectors ?? {};
    if (isDeepStrictEqual(there, body['vectors'] ?? {})) return;
    throw new Incompatible(
      `collection '${admin.collection}' was made by somebody else meanwhile, with other vectors: ${JSON.stringify(there)}`,
      { ids: [admin.collection], cause: error },
    );
  }
}

/** @throws Incompatible when a later change has moved the readers on */
async function takeBack(
  { run, pointer, from, to }: Extract<Action, { do: 'takeBack' }>,
  hands: Hands,
  admin: Admin,
): Promise<void> {
  const { aliases } = await admin.names();
  const now = aliases.get(pointer);
  // The copy never came to its cutover, or was taken back already.
  if (now === to || now === undefined) return;
  if (now !== from)
    throw new Incompatible(
      `alias '${pointer}' stands for '${now}' by now, and not for '${from}'; take back first what moved it there`,
      {
        ids: [pointer],
      },
    );
  if (hands.rollBack !== undefined) await hands.rollBack(run);
  else await admin.moveAliases([{ alias: pointer, to }]);
}

const pollMs = 1000;

/** An optimizer may take hours over a large collection: whoever asks for it waits. One that is off is not waited for. */
export async function waitForGreen(admin: Admin, everyMs = pollMs): Promise<void> {
  for (let seen = 0; seen < 2; ) {
    const info = await admin.info();
    const { status, config } = info;
    const failure = failureOf(info);
    if (failure !== undefined)
      throw new StoreUnavailable(`collection ${admin.collection} is red: ${failure}; see the server's log`);
    if (config.optimizer_config.max_optimization_threads === 0) return;
    // Grey has something to optimize, and waits for an update since the server's start: one of nothing wakes it.
    if (status === 'grey') await admin.update({ optimizers_config: {} });
    // Right after a change the collection may be green for a moment: the optimizer has not looked yet.
    seen = status === 'green' ? seen + 1 : 0;
    await setTimeout(everyMs);
  }
}
