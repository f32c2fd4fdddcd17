/** Jest's globalTeardown: stops the servers that test files asked for. */
import { state } from './state.ts';

export default async function tearDown(): Promise<void> {
  await state.stop?.();
}
