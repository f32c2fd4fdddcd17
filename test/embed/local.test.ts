import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { distanceBetween } from '../../lib/distance.ts';
import type { Embedder } from '../../lib/embed/port.ts';
import { openEmbedder } from '../../lib/embed/registry.ts';
import { InvalidEvent } from '../../lib/errors.ts';
import type { Model } from '../../lib/event-embed.ts';
import { sendAndCollect } from './make.ts';

const model: Model = { provider: 'local', name: 'universal-sentence-encoder-lite' };

let embedder: Embedder;
beforeAll(async () => {
  embedder = await openEmbedder({ model, connection: {}, isLocal: true });
});

async function embed(...texts: readonly string[]): Promise<readonly Float32Array[]> {
  const { answers } = await embedder.embed({ texts, purpose: 'document' });
  return answers.map((answer) => {
    if (!(answer instanceof Float32Array)) throw new Error('a text has no vector');
    return answer;
  });
}

describe('the local model makes real embeddings without a network', () => {
  test('near-synonyms are nearer than strangers', async () => {
    const pairs = [
      ['a small domesticated feline', 'a little cat kept at home', 'the interest rate of a bank loan'],
      ['to walk slowly', 'to stroll at a leisurely pace', 'a chemical element with metallic lustre'],
      ['a person who teaches', 'an educator at a school', 'the melting of glaciers in spring'],
    ];
    for (const texts of pairs) {
      const [one, near, far] = await embed(...texts);
      expect(distanceBetween.cosine(one!, near!)).toBeLessThan(distanceBetween.cosine(one!, far!) - 0.1);
    }
  });

  test('a vector has 512 floats and length 1, so that cosine and dot agree', async () => {
    const [vector] = await embed('anything at all');
    expect(vector?.length).toBe(512);
    expect(Math.hypot(...(vector ?? []))).toBeCloseTo(1, 5);
  });

  test('a text has the same vector alone, among others and in any order, so a resumed run makes what an unbroken one does', async () => {
    const texts = ['one', 'the second text is longer than the first', 'three', 'fourth', 'and a fifth one'];
    const together = await embed(...texts);
    const reversed = await embed(...texts.toReversed());
    for (const [i, text] of texts.entries()) {
      const [alone] = await embed(text);
      expect(alone).toEqual(together[i]);
      expect(alone).toEqual(reversed[texts.length - 1 - i]);
    }
  });

  test('a word of a gloss finds it among 200 more often than chance by far, so the gold queries mean something', async () => {
    const entries = readFileSync(new URL('../data/glosses-5k.jsonl', import.meta.url), 'utf8')
      .trim()
      .split('\n');
    const glosses = entries.slice(0, 200).map((line): { text: string; words: string[] } => JSON.parse(line));
    const { answers, sent } = await sendAndCollect(embedder, [...new Set(glosses.map(({ text }) => text))]);
    expect(sent.done).toBe(true);
    let found = 0;
    for (const { text, words } of glosses) {
      const [query] = await embed(words[0]!.replaceAll('_', ' '));
      const distances = [...answers].map(([key, answer]) => {
        if (!(answer instanceof Float32Array)) throw new Error(`'${key}' has no vector`);
        return { key, distance: distanceBetween.cosine(query!, answer) };
      });
      const nearest = distances.sort((a, b) => a.distance - b.distance).slice(0, 10);
      if (nearest.some(({ key }) => key === text)) found += 1;
    }
    // By chance 10 of 200 are.
    expect(found / glosses.length).toBeGreaterThan(0.3);
  });

  test('others get a turn while it works, so a heartbeat is not missed', async () => {
    let turns = 0;
    const timer = setInterval(() => {
      turns += 1;
    }, 1);
    await embed(...Array.from({ length: 64 }, (_, i) => `a text of some ten words that is number ${i}`));
    clearInterval(timer);
    // Of 16; it works in steps of four texts.
    expect(turns).toBeGreaterThan(4);
  });

  test('the tokens of a long text are counted in a time that grows with its length, not with the square of it', () => {
    const text = 'the definition of a word in so many other words '.repeat(2_000);
    /** Of this process alone, whatever else the machine does. */
    const processorMs = (part: string): number => {
      const from = process.cpuUsage();
      embedder.countTokens(part);
      return process.cpuUsage(from).user / 1000;
    };
    processorMs(text);
    // Eight times as long takes eight times as long, and with the square of it 64 times.
    expect(processorMs(text)).toBeLessThan(30 * Math.max(5, processorMs(text.slice(0, text.length / 8))));
    const tokens = embedder.countTokens(text);
    expect(tokens / 2_000).toBeGreaterThan(9);
    expect(tokens / 2_000).toBeLessThan(12);
  });

  test('a text of no tokens is refused with a reason, and the others of its request are answered', async () => {
    const { answers } = await embedder.embed({ texts: ['one', '', 'two'], purpose: 'document' });
    expect(answers[0]).toBeInstanceOf(Float32Array);
    expect(answers[1]).toEqual({ refused: 'the text has no tokens' });
    expect(answers[2]).toBeInstanceOf(Float32Array);
  });
});

test('on AWS the event is refused with what to use instead, since the functions do not carry the weights', async () => {
  const opened = openEmbedder({ model, connection: {}, isLocal: false });
  await expect(opened).rejects.toThrow(InvalidEvent);
  await expect(opened).rejects.toThrow(/on AWS use \{"provider": "bedrock"/);
});
