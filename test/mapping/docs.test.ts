import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { parse } from 'lossless-json';
import { parseEvent } from '../../lib/event.ts';
import { castSchema } from '../../lib/event-mapping.ts';
import { canonicalJson } from '../make.ts';
import { mapTexts } from './world.ts';

const page = readFileSync('docs/mapping.md', 'utf8');
const blocks = (kind: string): string[] =>
  [...page.matchAll(new RegExp(`\`\`\`json${kind}\\n([^]*?)\`\`\``, 'g'))].map(([, text = '']) => text);

describe('docs/mapping.md', () => {
  const examples = blocks(' mapping').map((text) => text.trim().split('\n'));

  test('has an example for each thing that a rule can say', () => {
    const said = examples.map(([mapping = '']) => mapping).join();
    for (const word of [
      'null',
      'to',
      'default',
      'cast',
      'cut',
      'values',
      'patterns',
      'otherwise',
      'split',
      'template',
      'join',
      'others',
    ])
      expect(said).toContain(word);
  });

  test.each(examples)('%s makes of %s what the page shows', (mapping, before, after = '') => {
    const { batch } = mapTexts(Object(parse(mapping, null, Number)), [before ?? '']);
    expect(canonicalJson(batch.payloads[0] ?? '')).toBe(canonicalJson(after));
  });

  test.each(blocks(''))('%s is a mapping', (text) => {
    const endpoint = { store: 'memory', connection: { path: 'a' } };
    const event = { source: { ...endpoint, collection: 'a' }, target: { ...endpoint, collection: 'b' } };
    expect(parseEvent({ ...event, mapping: JSON.parse(text) }).mapping).toMatchObject(JSON.parse(text));
  });

  test('has a line for each cast', () => {
    for (const cast of castSchema.options) expect(page).toContain(`| \`${cast}\` |`);
  });
});
