import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { countOpenaiTokens } from '../../lib/embed/openai-tokens.ts';
import { countInPieces, estimateTokens, truncateText } from '../../lib/embed/tokens.ts';

const glosses = readFileSync(new URL('../data/glosses-5k.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line): string => JSON.parse(line).text);

describe('tokens of a text', () => {
  test("OpenAI's are exact: known counts of cl100k_base", () => {
    // cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
    expect(countOpenaiTokens('tiktoken is great!')).toBe(6);
    expect(countOpenaiTokens('antidisestablishmentarianism')).toBe(6);
    expect(countOpenaiTokens('2 + 2 = 4')).toBe(7);
    expect(countOpenaiTokens('お誕生日おめでとう')).toBe(9);
  });

  test('a text that spells a special token is counted as its letters, instead of failing the run', () => {
    expect(countOpenaiTokens('the end: <|endoftext|>')).toBeGreaterThan(5);
  });

  test('a word of 100,000 letters takes no minutes, and its count is a little high at most', () => {
    const begun = performance.now();
    const tokens = countOpenaiTokens('a'.repeat(100_000));
    // 50 ms; letter by letter it would be minutes.
    expect(performance.now() - begun).toBeLessThan(30_000);
    expect(tokens).toBeGreaterThanOrEqual(12_500);
    expect(tokens).toBeLessThan(12_500 * 1.02);
  });

  test('counted in pieces, long texts with spaces have the tokens that they have as a whole', async () => {
    const { countTokens } = await import('gpt-tokenizer/encoding/cl100k_base');
    const text = glosses.slice(0, 300).join('  \n ');
    expect(countInPieces(text, countTokens)).toBe(countTokens(text));
  });

  test('the estimate is above the exact count for a collection of English texts, and by less than a half', () => {
    const exact = glosses.reduce((sum, text) => sum + countOpenaiTokens(text), 0);
    const estimate = glosses.reduce((sum, text) => sum + estimateTokens(text), 0);
    expect(estimate).toBeGreaterThan(exact);
    expect(estimate).toBeLessThan(exact * 1.5);
  });

  test('a text that is cut off fits, is a beginning of the text, and would not fit with a word more', () => {
    const text = glosses.slice(0, 100).join(' ');
    const cut = truncateText(text, 50, countOpenaiTokens);
    expect(text.startsWith(cut)).toBe(true);
    expect(countOpenaiTokens(cut)).toBeLessThanOrEqual(50);
    expect(countOpenaiTokens(text.slice(0, cut.length + 20))).toBeGreaterThan(50);
  });

  test('a cut never leaves half of a surrogate pair, which providers refuse as invalid UTF-8', () => {
    const anyText = fc.string({ unit: 'grapheme', minLength: 0, maxLength: 60 });
    fc.assert(
      fc.property(anyText, fc.integer({ min: 1, max: 40 }), (text, most) => {
        const cut = truncateText(text, most, estimateTokens);
        expect(text.startsWith(cut)).toBe(true);
        expect(cut.isWellFormed()).toBe(text.isWellFormed());
        expect(cut.length === 0 || estimateTokens(cut) <= most).toBe(true);
      }),
    );
    expect(truncateText('ab👩👩👩', 4, (text) => text.length)).toBe('ab👩');
    expect(truncateText('ab👩👩👩', 3, (text) => text.length)).toBe('ab');
  });
});
