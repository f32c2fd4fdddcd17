import { connect, createServer, type Socket } from 'node:net';

/** Stands before a server and takes it away and gives it back, as a network or a restart does. */
export interface Switch {
  /** The server's URL with the switch's port. */
  readonly url: string;
  /** Cuts every connection, and refuses new ones until `on`. */
  off(): void;
  on(): void;
  close(): Promise<void>;
}

export async function startSwitch(server: string): Promise<Switch> {
  const target = new URL(server);
  const open = new Set<Socket>();
  let isOff = false;
  const front = createServer((client) => {
    // A cut connection is what this is for.
    client.on('error', () => undefined);
    if (isOff) {
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
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve, reject) => {
    front.once('error', reject);
    front.listen(0, '127.0.0.1', resolve);
  });
  const url = new URL(server);
  url.port = String(Object(front.address()).port);
  const cut = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    url: url.href.replace(/\/$/, ''),
    off: () => {
      isOff = true;
      cut();
    },
    on: () => {
      isOff = false;
    },
    close: async () => {
      cut();
      await new Promise((resolve) => front.close(resolve));
    },
  };
}
