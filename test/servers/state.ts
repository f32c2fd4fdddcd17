/** What globalSetup hands to globalTeardown: jest loads the two apart, so it lives on globalThis. */
interface State {
  stop?: () => Promise<void>;
}

declare global {
  var vecferryTestServers: State | undefined;
}

globalThis.vecferryTestServers ??= {};
export const state: State = globalThis.vecferryTestServers;
