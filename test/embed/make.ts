import { afterAll, beforeAll } from '@jest/globals';
import type { EmbeddedText, Embedder, SendOptions, TextToEmbed } from '../../lib/embed/port.ts';
import { openEmbedder } from '../../lib/embed/registry.ts';
import { sendTexts } from '../../lib/embed/send.ts';
import type { Embed, Model } from '../../lib/event-embed.ts';
import type { EmbeddingServer } from '../servers/embeddings.ts';

/** An embedder of the test server, by OpenAI's protocol unless `model` says otherwise. */
export async function openTestModel(
  server: EmbeddingServer,
  model: Partial<Model> = {},
  limits: Embed['limits'] = {},
): Promise<Embedder> {
  const asked: Model = { provider: 'openai', name: 'glove-100', dimensions: 100, ...model };
  const url = asked.provider === 'bedrock' ? server.bedrockUrl : server.url;
  return await openEmbedder({ model: asked, limits, connection: { url }, isLocal: true });
}

export const quiet = { info: () => undefined, warn: () => undefined };
export const noDeadline = { remainingMs: () => Number.POSITIVE_INFINITY };

export const toEmbed = (texts: readonly string[]): TextToEmbed[] => texts.map((text) => ({ key: text, text }));

export interface Collected {
  readonly answers: Map<string, EmbeddedText['answer']>;
  /** Keys in the order of their answers, so that one answered twice shows. */
  readonly keys: string[];
  tokens: number;
}

/** Sends the texts, each its own key, and keeps what comes. */
export async function sendAndCollect(
  embedder: Embedder,
  texts: readonly string[],
  options: Partial<SendOptions> = {},
): Promise<Collected & { readonly sent: Awaited<ReturnType<typeof sendTexts>> }> {
  const collected: Collected = { answers: new Map(), keys: [], tokens: 0 };
  const sent = await sendTexts({
    embedder,
    purpose: 'document',
    texts: toEmbed(texts),
    onAnswers: async (answers) => collect(collected, answers),
    deadline: noDeadline,
    log: quiet,
    ...options,
  });
  return { ...collected, sent };
}

export function collect(into: Collected, answers: readonly EmbeddedText[]): void {
  for (const { key, answer, tokens } of answers) {
    into.answers.set(key, answer);
    into.keys.push(key);
    into.tokens += tokens;
  }
}

/** AWS' client signs with any; without these it would look for a machine's own. */
export function useTestCredentials(): void {
  const names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'];
  const before = names.map((name) => process.env[name]);
  beforeAll(() => {
    for (const name of names) process.env[name] = 'test';
  });
  afterAll(() => {
    for (const [i, name] of names.entries()) {
      const value = before[i];
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
}
