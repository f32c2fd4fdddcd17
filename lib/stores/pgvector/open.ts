import type { ResolvedConnection } from '../port.ts';
import { type Database, openServer, poolConfig } from './connect.ts';

/** @throws InvalidEvent when the connection has neither a postgresql:// url nor a path. */
export async function connect(connection: ResolvedConnection, maxConnections: number): Promise<Database> {
  // PGlite is 20 MB of WebAssembly: only who uses it loads it.
  if (connection.path !== undefined) return (await import('./embedded.ts')).openEmbedded(connection.path);
  return openServer(poolConfig(connection), maxConnections);
}
