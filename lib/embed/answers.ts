import { InvalidEvent, type RecordRefused } from '../errors.ts';
import { halve, type Request, type Waiting } from './packing.ts';
import type { EmbeddedText, EmbedResponse, SendOptions } from './port.ts';

/** What becomes of an answer: what it holds is handed over, and what it lacks is asked for again. */
export interface Answers {
  /** The requests that are to be made for what the answer lacks. */
  take(request: Request, response: EmbedResponse): Promise<readonly Request[]>;
  /** A request that was refused as a whole is halved until the text at fault stands alone. @throws InvalidEvent when it is none of them. */
  refused(request: Request, error: RecordRefused): Promise<readonly Request[]>;
  /** Texts handed over. */
  readonly count: number;
}

/** Once with the others, once together with what else was left out, once alone. */
const triesAtMost = 3;
/**
 * So many texts failed one by one for the same reason in the same words, and none answered: then it is the request that is
 * wrong, not the texts. (Of texts that are too long each is told its own length.)
 */
const failedAtMost = 16;

export function makeAnswers({
  embedder: { card },
  onAnswers,
  hasAnswered = false,
}: Pick<SendOptions, 'embedder' | 'onAnswers' | 'hasAnswered'>): Answers {
  let count = 0;
  let answered = hasAnswered;
  let lastWords: string | undefined;
  let inARow = 0;
  const expectSome = (words: string, cause?: Error): void => {
    inARow = words === lastWords ? inARow + 1 : 1;
    lastWords = words;
    if (answered || inARow < failedAtMost) return;
    const text = `${words}; so it was for ${inARow} texts asked one by one, and none was answered`;
    throw new InvalidEvent(`${text}: check embed.model and its server`, { ids: ['embed.model'], cause });
  };
  const handOver = async (answers: readonly EmbeddedText[]): Promise<void> => {
    if (answers.length === 0) return;
    count += answers.length;
    await onAnswers(answers);
  };
  return {
    take: async (request, response) => {
      charge(request, response.tokens);
      // One text among them may have spoilt the whole answer, as a NaN does: it is found as one that is refused is.
      if (request.length > 1 && response.answers.every((answer) => answer === undefined)) return halve(request);
      const ready: EmbeddedText[] = [];
      const lacking: Waiting[] = [];
      for (const [i, text] of request.entries()) {
        const answer = response.answers[i];
        text.tries += 1;
        if (answer instanceof Float32Array) {
          answered = true;
          ready.push({ key: text.key, answer, tokens: text.spent });
        } else if (answer !== undefined) {
          ready.push({ key: text.key, answer: { failed: answer.refused }, tokens: text.spent });
        } else if (text.tries < triesAtMost) lacking.push(text);
        else {
          expectSome(`the model '${card.name}' gives no vectors`);
          const failed = `the model '${card.name}' was asked ${triesAtMost} times and gave no vector of ${card.dimensions} finite floats`;
          ready.push({ key: text.key, answer: { failed }, tokens: text.spent });
        }
      }
      await handOver(ready);
      if (lacking.length === 0) return [];
      return lacking.some(({ tries }) => tries > 1) ? lacking.map((text) => [text]) : [lacking];
    },
    refused: async (request, error) => {
      const [text, ...others] = request;
      if (text === undefined) return [];
      if (others.length > 0) return halve(request);
      expectSome(error.message, error);
      await handOver([{ key: text.key, answer: { failed: error.message }, tokens: text.spent }]);
      return [];
    },
    get count() {
      return count;
    },
  };
}

/** Shares a request's tokens out by what was counted of each text, to the last one. */
function charge(request: Request, tokens: number | undefined): void {
  const counted = request.reduce((sum, text) => sum + text.tokens, 0);
  const total = Math.round(tokens ?? counted);
  let before = 0;
  let shared = 0;
  for (const text of request) {
    before += text.tokens;
    const upTo = counted === 0 ? 0 : Math.round((total * before) / counted);
    text.spent += upTo - shared;
    shared = upTo;
  }
}
