import { memory } from '../../lib/stores/memory.ts';
import { storeContract } from './contract.ts';

storeContract('memory', (collection) => memory.open({ connection: { path: 'contract' }, collection, options: {} }), {
  kind: memory,
});
