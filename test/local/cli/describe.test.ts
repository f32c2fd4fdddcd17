import { expect, test } from '@jest/globals';
import { moveLine, planLines } from '../../../infra/local/cli/describe.ts';
import { parseEvent } from '../../../lib/event.ts';
import type { Plan } from '../../../lib/run-files.ts';
import { makePlan } from '../../make-plan.ts';

test('a plan says how the application has to call its sides, where the run is about to tell it by the flag', () => {
  const told = /^client .*flag 'words' will name pgvector:public\.words and lancedb:words/m;
  for (const event of [{ live: true }, { cutover: { canary: {} } }]) {
    expect(planLines(makePlan(event)).join('\n')).toMatch(told);
  }
  expect(planLines(makePlan()).join('\n')).not.toMatch(/^client/m);
});

test('a plan that embeds says by which model, by which until now, what it takes, and what the event allows of that', () => {
  const plain = makePlan();
  const model = { name: 'old', version: '1' };
  const event = parseEvent({
    source: { store: 'pgvector', connection: { path: 'a' }, collection: 'public.words' },
    target: { store: 'lancedb', connection: { path: 'b' }, collection: 'words' },
    embed: { text: '{title}', model: { provider: 'openai', name: 'new' }, budget: { usd: 2, minutes: 30 } },
  });
  const plan: Plan = {
    ...plain,
    event,
    source: { ...plain.source, vectors: plain.source.vectors.map((each) => ({ ...each, model })) },
    embed: {
      vector: 'embedding',
      text: '{title}',
      model: {
        provider: 'openai',
        name: 'new',
        version: '2',
        dimensions: 512,
        distance: 'cosine',
        maxInputTokens: 512,
        usdPerMillionTokens: 0.02,
        isMatryoshka: false,
      },
      records: 'all',
      longText: 'fail',
      mark: { model: null, version: null },
      estimate: { texts: 5_000, tokens: 132_244, usd: 0.00264, seconds: 133, sampled: 1_024, formula: ['tokens = …'] },
    },
  };
  const text = planLines(plan).join('\n');
  expect(text).toMatch(
    /^embed .*'embedding' of '\{title\}' by openai new, version 2, 512 dimensions; until now old, version 1$/m,
  );
  expect(text).toMatch(/5,000 texts, 132,244 tokens, about 2 min 13 s and 0\.0026 USD, .*; budget 2 USD, 30 minutes$/m);
  expect(text).toContain('tokens = …');
  const { embed, ...rest } = plan;
  const unpriced = { ...rest, embed: { ...embed!, estimate: { ...embed!.estimate, usd: null } } };
  expect(planLines(unpriced).join('\n')).toMatch(/a price that is not known/);
});

test("a move names its index by the vector, and Qdrant's unnamed one by no name at all", () => {
  const move = { action: 'cutover', kind: 'index', from: 'old', to: 'new', at: '2026-01-01T00:00:00.000Z' } as const;
  expect(moveLine({ ...move, name: 'title' })).toBe("cut over to the target: index 'title' moved from old to new");
  expect(moveLine({ ...move, name: '' })).toBe('cut over to the target: the index moved from old to new');
});
