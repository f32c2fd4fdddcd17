/** Tokens of a text, and what to do with one that is too long. */

/**
 * An estimate that errs on the high side: three characters a token for Latin letters, one for others. OpenAI gives four
 * characters of English a token (help.openai.com/en/articles/4936856); WordPiece and SentencePiece models cut names and
 * other languages shorter.
 */
export function estimateTokens(text: string): number {
  let narrow = 0;
  let wide = 0;
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) < 0x250) narrow += 1;
    else wide += 1;
  }
  return Math.max(1, Math.ceil(narrow / 3) + wide);
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
