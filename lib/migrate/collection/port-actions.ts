import { setTimeout } from 'node:timers/promises';
import { Incompatible, InvalidEvent } from '../../errors.ts';
import type { Store } from '../../stores/port.ts';
import type { Action } from './plan.ts';
import type { Hands } from './planner.ts';
import { batchOfRecords, deleteRecords } from './seeds.ts';

const pollMs = 500;

/** Carries out an action through the port of the collection's store. */
export async function carryOutByPort(
  action: Action,
  hands: Hands,
  open: (collection: string) => Promise<Store>,
): Promise<void> {
  switch (action.do) {
    case 'prepare':
      return await (await open(action.collection)).prepare(action.schema);
    case 'buildIndex': {
      const store = await open(action.collection);
      await store.buildIndex(action.schema);
      for (;;) {
        const { done, isStalled = false } = await store.indexProgress(action.schema);
        if (done) return;
        if (isStalled) await store.buildIndex(action.schema);
        await setTimeout(pollMs);
      }
    }
    case 'moveAliases':
      for (const { alias, to } of action.moves) await (await open(to ?? alias)).pointer?.move(alias, to ?? undefined);
      return;
    case 'upsert': {
      const store = await open(action.collection);
      const { schema } = await store.describe();
      await store.write(batchOfRecords(action.records, schema.vectors), { mode: 'upsert' });
      return;
    }
    case 'delete':
      return await deleteRecords(await open(action.collection), action.ids);
    case 'dropCollection':
      await (await open(action.collection)).drop?.({});
      return;
    case 'copy':
      return await hands.copy(action.event, action.run);
    case 'takeBack':
      return await takeBack(action, hands, await open(action.to));
    default:
      throw new InvalidEvent(`the history holds '${action.do}', which is no action of this store`);
  }
}

/** @throws Incompatible when a later change has moved the readers on */
async function takeBack(
  { run, pointer, from, to }: Extract<Action, { do: 'takeBack' }>,
  hands: Hands,
  store: Store,
): Promise<void> {
  const now = await store.pointer?.read(pointer);
  if (now === to || now === undefined) return;
  if (now !== from)
    throw new Incompatible(
      `view '${pointer}' stands for '${now}' by now, and not for '${from}'; take back first what moved it there`,
      { ids: [pointer] },
    );
  if (hands.rollBack !== undefined) await hands.rollBack(run);
  else await store.pointer?.move(pointer, to);
}
