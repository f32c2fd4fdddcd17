/** Tokens of a text, and what to do with one that is too long. */

/**
 * An estimate that errs on the high side for whole collections: a token for four letters of a word, two digits, a sign or a
 * character of another script, three for an emoji. Against cl100k_base it gave 1.33 times as many over 16,596 English texts
 * (definitions, examples and single words of WordNet), and less for one in eight of them, single words mostly; four
 * characters a token is what OpenAI (help.openai.com/en/articles/4936856) and Cohere count with, 4.7 Amazon (the user guide
 * on Titan).
 */
export function estimateTokens(text: string): number {
  let tokens = 0;
  for (const [part] of text.matchAll(/[A-Za-z]+|\d+|[^\sA-Za-z\d]/gu)) {
    const code = part.charCodeAt(0);
    if (code < 0x30 || (code > 0x39 && code < 0x41)) tokens += 1;
    else if (code <= 0x39) tokens += Math.ceil(part.length / 2);
    else if (code < 0x80) tokens += /[A-Za-z]/.test(part) ? Math.ceil(part.length / 4) : 1;
    else tokens += code < 0x3000 ? 1 : part.length > 1 ? 3 : 1.5;
  }
  return Math.max(1, Math.ceil(tokens));
}

/**
 * Counts piece by piece: byte pair encoders need time that grows with the square of a word's length (cl100k_base: 16 s for
 * one of 100,000 letters). A piece ends before a space where there is one, which is where they cut too, so the sum is theirs;
 * within a word of more than a thousand characters it is a little higher.
 */
export function countInPieces(text: string, countTokens: (text: string) => number): number {
  if (text.length <= pieceLength) return countTokens(text);
  let tokens = 0;
  for (let from = 0; from < text.length; ) {
    const end = endOfPiece(text, from);
    tokens += countTokens(text.slice(from, end));
    from = end;
  }
  return tokens;
}

const pieceLength = 1_000;

function endOfPiece(text: string, from: number): number {
  const end = from + pieceLength;
  if (end >= text.length) return text.length;
  const space = text.lastIndexOf(' ', end);
  // Of two spaces the second belongs to the word, the first stands alone.
  return space > from && text[space - 1] !== ' ' ? space : from + cutAt(text.slice(from, end), pieceLength).length;
}

/**
 * The longest beginning of a text that has at most `maxTokens`, found by halving; a surrogate pair is never cut in two.
 * Needs about 17 counts of a text of 100,000 characters.
 */
export function truncateText(text: string, maxTokens: number, countTokens: (text: string) => number): string {
  if (countTokens(text) <= maxTokens) return text;
  let fits = 0;
  let tooLong = text.length;
  while (tooLong - fits > 1) {
    const middle = Math.floor((fits + tooLong) / 2);
    if (countTokens(cutAt(text, middle)) <= maxTokens) fits = middle;
    else tooLong = middle;
  }
  return cutAt(text, fits);
}

function cutAt(text: string, end: number): string {
  const last = text.charCodeAt(end - 1);
  const isHighSurrogate = last >= 0xd800 && last <= 0xdbff;
  return text.slice(0, isHighSurrogate ? end - 1 : end);
}
