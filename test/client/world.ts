import { createClient } from '../../lib/client/client.ts';
import type { ClientOptions } from '../../lib/client/options.ts';
import {
  bothSides,
  type Doc,
  type Found,
  keptLines,
  memoryLedger,
  memorySide,
  type TestFlag,
  testFlag,
} from './sides.ts';

/** A flag that names one place. */
export const oneSide = { active: 'a:words', candidate: 'a:words', weight: 0 };

/** A client over two sides in memory; what the background reports is kept. */
export function makeWorld(
  options: Partial<ClientOptions<Doc, number, Found>> & {
    a?: ReturnType<typeof memorySide>;
    b?: ReturnType<typeof memorySide>;
    flag?: TestFlag;
  } = {},
) {
  const { a = memorySide(), b = memorySide(), flag = testFlag(bothSides), ...rest } = options;
  const [metrics, ledger] = [keptLines(), memoryLedger()];
  const errors: Error[] = [];
  const client = createClient<Doc, number, Found>({
    flag,
    sides: { 'a:words': a, 'b:words': b },
    source: 'a:words',
    metrics,
    ledger,
    onError: (error) => errors.push(error),
    ...rest,
  });
  return { a, b, flag, metrics, ledger, errors, client };
}

/** A side whose calls of one kind fail. */
export const failing = (what: string) => ({
  before: (call: string) => {
    if (call === what) throw new Error(`${what} is down`);
  },
});
