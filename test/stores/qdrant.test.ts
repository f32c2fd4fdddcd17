import { beforeAll, describe } from '@jest/globals';
import { QdrantClient } from '@qdrant/js-client-rest';
import { qdrant } from '../../lib/stores/qdrant.ts';
import { qdrantGrpcUrl, qdrantUrl } from '../servers/urls.ts';
import { storeContract } from './contract.ts';

describe.each(['grpc', 'rest'])('with transport %s', (transport) => {
  beforeAll(async () => {
    const client = new QdrantClient({ url: await qdrantUrl(), checkCompatibility: false });
    const { collections } = await client.getCollections();
    for (const { name } of collections) if (name.startsWith('contract_')) await client.deleteCollection(name);
  });

  const make = async (collection: string) =>
    qdrant.open({
      connection: { url: await qdrantUrl(), grpcUrl: await qdrantGrpcUrl() },
      collection,
      options: { transport },
    });
  storeContract(`qdrant over ${transport}`, make, { kind: qdrant, readsInKeyOrder: true });
});
