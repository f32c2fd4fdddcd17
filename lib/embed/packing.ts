import type { Embedder, TextToEmbed } from './port.ts';

/** A text on its way to an answer. */
export interface Waiting extends TextToEmbed {
  /** As counted here, before the provider says. */
  readonly tokens: number;
  /** How often it was asked for and left without an answer. */
  tries: number;
  /** What the provider has charged for it so far. */
  spent: number;
}

/** Texts of one request. */
export type Request = readonly Waiting[];

export const tokensOf = (request: Request): number => request.reduce((sum, { tokens }) => sum + tokens, 0);

export function halve(request: Request): readonly Request[] {
  const middle = Math.ceil(request.length / 2);
  return [request.slice(0, middle), request.slice(middle)].filter(({ length }) => length > 0);
}

export interface Packer {
  /** As many of the next texts as a request may hold, in their order; undefined at the end. `maxTexts` may be less than the provider takes. */
  next(maxTexts: number): Promise<Request | undefined>;
  /** Texts that were not asked for after all: they come first again. */
  putBack(request: Request): void;
  hasMore(): Promise<boolean>;
  /** Ends the texts where more of them are left. */
  close(): Promise<void>;
}

/** Draws texts only as they are needed. A text above the tokens of a request goes alone: the provider says what is wrong with it. */
export function makePacker(
  texts: AsyncIterable<TextToEmbed> | Iterable<TextToEmbed>,
  { limits, countTokens }: Pick<Embedder, 'limits' | 'countTokens'>,
): Packer {
  const iterator = Symbol.asyncIterator in texts ? texts[Symbol.asyncIterator]() : texts[Symbol.iterator]();
  let ended = false;
  const kept: Waiting[] = [];
  const draw = async (): Promise<Waiting | undefined> => {
    const first = kept.shift();
    if (first !== undefined || ended) return first;
    const { done, value } = await iterator.next();
    if (done === true) {
      ended = true;
      return undefined;
    }
    return { key: value.key, text: value.text, tokens: countTokens(value.text), tries: 0, spent: 0 };
  };
  const maxTokens = Math.min(limits.tokensPerRequest, limits.tokensPerMinute);
  return {
    next: async (maxTexts) => {
      const request: Waiting[] = [];
      let tokens = 0;
      while (request.length < Math.min(maxTexts, limits.textsPerRequest)) {
        const text = await draw();
        if (text === undefined) break;
        if (request.length > 0 && tokens + text.tokens > maxTokens) {
          kept.unshift(text);
          break;
        }
        tokens += text.tokens;
        request.push(text);
      }
      return request.length === 0 ? undefined : request;
    },
    putBack: (request) => {
      kept.unshift(...request);
    },
    hasMore: async () => {
      const text = await draw();
      if (text !== undefined) kept.unshift(text);
      return text !== undefined;
    },
    close: async () => {
      if (!ended) await iterator.return?.();
      ended = true;
    },
  };
}
