import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type Table } from '@lancedb/lancedb';
import pg from 'pg';
import { toChroma } from '../../lib/stores/chroma/records.ts';
import { chromaUrl, postgresUrl, qdrantUrl } from '../servers/urls.ts';
import type { Planted } from './faults-plant.ts';
import type { EndpointInput, StoreName } from './world.ts';

/** Changes a target behind vecferry's back, through the store's own API. */
export interface Planter {
  /** Replaces what stands under each id: by nothing, a record, or several where the store holds an id more than once. */
  replace(changes: ReadonlyMap<string, readonly Planted[]>): Promise<void>;
  /** Reads and writes every record again as the store's own client has it, with keys in another order. */
  close(): Promise<void>;
}

export const planters: Readonly<Record<StoreName, (endpoint: EndpointInput) => Promise<Planter>>> = {
  pgvector: async ({ collection }) => {
    const sql = new pg.Client(await postgresUrl());
    await sql.connect();
    return {
      replace: async (changes) => {
        await sql.query(`DELETE FROM ${collection} WHERE id = ANY($1::bigint[])`, [[...changes.keys()]]);
        for (const { id, vector, payload } of [...changes.values()].flat())
          await sql.query(`INSERT INTO ${collection} (id, embedding, payload) VALUES ($1, $2::vector, $3::jsonb)`, [
            id,
            `[${vector.join(',')}]`,
            payload,
          ]);
      },
      close: () => sql.end(),
    };
  },
  qdrant: async ({ collection }) => {
    const root = `${await qdrantUrl()}/collections/${collection}/points`;
    return {
      replace: async (changes) => {
        await send(`${root}/delete?wait=true`, 'POST', `{"points":[${[...changes.keys()].join(',')}]}`);
        const points = [...changes.values()]
          .flat()
          .map(({ id, vector, payload }) => `{"id":${id},"vector":[${vector.join(',')}],"payload":${payload}}`);
        if (points.length > 0) await send(`${root}?wait=true`, 'PUT', `{"points":[${points.join(',')}]}`);
      },
      close: async () => {},
    };
  },
  chroma: async ({ collection }) => {
    const root = `${await chromaUrl()}/api/v2/tenants/default_tenant/databases/default_database/collections`;
    const { id: key } = JSON.parse(await send(`${root}/${collection}`, 'GET'));
    return {
      replace: async (changes) => {
        await send(`${root}/${key}/delete`, 'POST', JSON.stringify({ ids: [...changes.keys()] }));
        const added = [...changes.values()].flat();
        if (added.length === 0) return;
        const metadatas = added.map(({ payload }) => {
          const { metadata } = toChroma(payload, { document: 'document', uri: 'uri' });
          return `{${[...metadata].map(([name, raw]) => `${JSON.stringify(name)}:${raw}`).join(',')}}`;
        });
        const embeddings = added.map(({ vector }) => `[${vector.join(',')}]`);
        const ids = JSON.stringify(added.map(({ id }) => id));
        const body = `{"ids":${ids},"embeddings":[${embeddings}],"metadatas":[${metadatas}]}`;
        await send(`${root}/${key}/add`, 'POST', body);
      },
      close: async () => {},
    };
  },
  lancedb: async ({ connection, collection }) => {
    const database = await connect(connection?.['path'] ?? '');
    const table: Table = await database.openTable(collection);
    return {
      replace: async (changes) => {
        await table.delete(`id IN (${[...changes.keys()].join(', ')})`);
        const rows = [...changes.values()]
          .flat()
          .map(({ id, vector, payload }) => ({ id: BigInt(id), vector: [...vector], payload }));
        if (rows.length > 0) await table.add(rows);
      },
      close: async () => database.close(),
    };
  },
  files: async ({ connection, collection }) => {
    const folder = join(connection?.['path'] ?? '', collection);
    return {
      replace: async (changes) => {
        const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));
        const added = [...changes.values()]
          .flat()
          .map(
            ({ id, vector, payload }) =>
              `{"id":${id},"vectors":{"embedding":[${vector.join(',')}]},"payload":${payload}}`,
          );
        for (const [at, name] of files.entries()) {
          const kept = readFileSync(join(folder, name), 'utf8')
            .split('\n')
            .filter((line) => line !== '' && !changes.has(/"id":(\d+)/.exec(line)?.[1] ?? ''));
          writeFileSync(join(folder, name), `${[...kept, ...(at === 0 ? added : [])].join('\n')}\n`);
        }
      },
      close: async () => {},
    };
  },
};

/** @throws Error with the server's words for every answer but 2xx. */
async function send(url: string, method: string, body?: string): Promise<string> {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(url, { method, headers, ...(body === undefined ? {} : { body }) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${text.slice(0, 500)}`);
  return text;
}
