import { getSecret } from '@aws-lambda-powertools/parameters/secrets';
import { ResourceNotFoundException } from '@aws-sdk/client-secrets-manager';
import { z } from 'zod';
import { readSecretVariable, secretVariable } from './environment.ts';
import { InvalidEvent, NotFound } from './errors.ts';
import { parseAs } from './event.ts';
import type { Connection } from './event-endpoint.ts';
import type { ResolvedConnection } from './stores/port.ts';

/** Reads the text of a secret by its name; undefined when there is none. */
export type ReadSecret = (name: string) => Promise<string | undefined>;

/** Seconds a secret is kept by a warm function: a rotated one is seen within this time. */
const secretMaxAgeSeconds = 300;

export const secretsOf: Readonly<Record<'manager' | 'environment', ReadSecret>> = {
  environment: async (name) => readSecretVariable(name),
  manager: async (name) => {
    try {
      const value = await getSecret(name, { maxAge: secretMaxAgeSeconds });
      return typeof value === 'string' ? value : new TextDecoder().decode(value);
    } catch (error) {
      // Powertools wraps what Secrets Manager said.
      if (error instanceof Error && error.cause instanceof ResourceNotFoundException) return undefined;
      throw error;
    }
  },
};

const secretSchema = z.looseObject({
  url: z.string().optional(),
  path: z.string().optional(),
  apiKey: z.string().optional(),
});

/**
 * The connection with its secret read. Its value is handed to the store's client and to nothing else.
 * @throws NotFound when there is no such secret. @throws InvalidEvent when it is not a JSON object with a url or path.
 */
export async function resolveConnection(
  connection: Connection | undefined,
  readSecret: ReadSecret,
): Promise<ResolvedConnection> {
  if (connection === undefined) return {};
  if (!('secret' in connection)) return connection;
  const text = await readSecret(connection.secret);
  if (text === undefined) {
    const local = `on one machine set the variable ${secretVariable(connection.secret)}`;
    throw new NotFound(
      `there is no secret '${connection.secret}'; make it in Secrets Manager, or ${local}, to {"url": …}`,
      {
        ids: [connection.secret],
      },
    );
  }
  return parseAs(secretSchema, parseSecret(text, connection.secret), `the secret '${connection.secret}'`, InvalidEvent);
}

/** The parser's own message would quote the secret, so it is left out. */
function parseSecret(text: string, name: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidEvent(
      `the secret '${name}' is not JSON; it holds an object such as {"url": "https://…", "apiKey": "…"}`,
      { ids: [name] },
    );
  }
}
