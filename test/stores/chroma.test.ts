import { chroma } from '../../lib/stores/chroma.ts';
import { chromaUrl } from '../servers/urls.ts';
import { storeContract } from './contract.ts';

const space = `chroma_test_${process.pid}_${Date.now().toString(36)}`;

storeContract(
  'chroma',
  async (collection) =>
    await chroma.open({ connection: { url: await chromaUrl() }, collection: `${space}_${collection}`, options: {} }),
  { kind: chroma, makeId: (index) => `id-${String(index).padStart(6, '0')}` },
);
