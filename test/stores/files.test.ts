import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { files } from '../../lib/stores/files.ts';
import { storeContract } from './contract.ts';

const path = await mkdtemp(join(tmpdir(), 'vecferry-'));

for (const format of ['parquet', 'jsonl']) {
  storeContract(
    `files (${format})`,
    (collection) => files.open({ connection: { path: join(path, format) }, collection, options: { format } }),
    {
      kind: files,
    },
  );
}
