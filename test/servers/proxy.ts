import { connect, createServer, type Socket } from 'node:net';

/** Stands between a client and a server, and cuts what goes through it: a network that fails, or a server that restarts. */
export interface Proxy {
  /** The server's URL with the proxy's port. */
  readonly url: string;
  /**
   * The next time a client sends `text`, every connection is cut in the middle of it, and none is taken for `ms`, and until one
   * has been turned away: a client of a busy machine may come back later.
   */
  cutAt(text: string, ms: number): void;
  /** Connections that were cut or turned away. */
  readonly cuts: number;
  close(): Promise<void>;
}

export async function startProxy(server: string): Promise<Proxy> {
  const target = new URL(server);
  const open = new Set<Socket>();
  let awaited: { readonly text: string; readonly ms: number } | undefined;
  let awayUntil = 0;
  let isToTurnAway = false;
  let cuts = 0;
  const cutAll = (): void => {
    cuts += open.size / 2;
    for (const socket of open) socket.destroy();
  };
  const proxy = createServer((client) => {
    // A cut connection is what this is for.
    client.on('error', () => undefined);
    if (Date.now() < awayUntil || isToTurnAway) {
      isToTurnAway = false;
      cuts += 1;
      client.destroy();
      return;
    }
    const upstream = connect(Number(target.port), target.hostname);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one.on('error', () => undefined);
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
    client.on('data', (chunk: Buffer) => {
      if (awaited !== undefined && chunk.includes(awaited.text)) {
        awayUntil = Date.now() + awaited.ms;
        isToTurnAway = true;
        awaited = undefined;
        upstream.write(chunk.subarray(0, Math.floor(chunk.length / 2)), cutAll);
      } else upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => client.write(chunk));
  });
  await new Promise<void>((resolve, reject) => {
    proxy.once('error', reject);
    proxy.listen(0, '127.0.0.1', resolve);
  });
  const address = proxy.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const url = new URL(server);
  url.host = `127.0.0.1:${address.port}`;
  return {
    url: url.href.replace(/\/$/, ''),
    cutAt: (text, ms) => {
      awaited = { text, ms };
    },
    get cuts() {
      return cuts;
    },
    close: async () => {
      cutAll();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}
