import { fetchRecords, type Located } from '../compare/fetch-records.ts';
import { parseEmbeddedText, payloadFields } from '../mapping/template.ts';
import type { Plan } from '../run-files.ts';
import type { Store } from '../stores/port.ts';
import type { DriftAnswer, DriftExample, Shown } from './drift-files.ts';
import type { Truth } from './truths.ts';

/** The queries whose answers changed most, side by side, for people. */

const maxExamples = 5;
const maxCharacters = 80;

export interface ExamplesFrom {
  readonly plan: Plan;
  readonly source: Store;
  readonly target: Store;
}

/** @param answers one a truth, in their order @throws what the stores throw */
export async function examplesOf(
  { plan, source, target }: ExamplesFrom,
  truths: readonly Truth[],
  answers: readonly DriftAnswer[],
): Promise<DriftExample[]> {
  const chosen = truths
    .flatMap((truth, at) => (answers[at] === undefined ? [] : [{ query: truth.query, answer: answers[at] }]))
    .toSorted((a, b) => (a.answer.overlaps[0] ?? 0) - (b.answer.overlaps[0] ?? 0) || a.answer.rbo - b.answer.rbo)
    .slice(0, maxExamples);
  const sourceIdOf = await originalIds(
    plan,
    target,
    chosen.flatMap(({ answer }) => answer.target.map(({ id }) => id)),
  );
  const ids = chosen.flatMap(({ query, answer }) => [
    query.id,
    ...answer.source.map(({ id }) => id),
    ...answer.target.map(({ id }) => sourceIdOf(id)),
  ]);
  const { records } = await fetchRecords(source, ids);
  const textOf = textMaker(plan);
  const shownOf = ({ id, isCommon }: Pick<Shown, 'id' | 'isCommon'>, { expected = [] }: Truth['query']): Shown => ({
    id,
    text: textOf(records.get(id)),
    isExpected: expected.includes(id),
    isCommon,
  });
  return chosen.map(({ query, answer }) => ({
    id: query.id,
    // A query that was given may have the number of a record for its name.
    text: isGiven(plan, query.set) ? shorten(query.text ?? '') : textOf(records.get(query.id)),
    overlap: answer.overlaps[0] ?? 0,
    source: answer.source.map((each) => shownOf(each, query)),
    target: answer.target.map(({ id, isCommon }) => shownOf({ id: sourceIdOf(id), isCommon }, query)),
  }));
}

function isGiven({ event }: Plan, name: string): boolean {
  const set = event.validate.recall?.sets.find((each) => each.name === name);
  return set?.queries !== undefined || set?.file !== undefined;
}

/** Where the mapping made another id, the payload in the target keeps the source's. */
async function originalIds({ mapping }: Plan, target: Store, ids: readonly string[]): Promise<(id: string) => string> {
  if (mapping.ids === 'keep') return (id) => id;
  const { records } = await fetchRecords(target, ids);
  return (id) => {
    const record = records.get(id);
    if (record === undefined) return id;
    const found = payloadFields(record.batch.payloads[record.at] ?? '{}')[mapping.originalId];
    return typeof found === 'string' ? found : id;
  };
}

/** What is embedded of a record; its whole payload where nothing is. */
function textMaker({ embed }: Plan): (record: Located | undefined) => string {
  const template = embed === undefined ? undefined : parseEmbeddedText(embed.text);
  return (record) => {
    if (record === undefined) return '';
    const payload = record.batch.payloads[record.at] ?? '{}';
    return shorten(template === undefined ? payload : template.render(payloadFields(payload)));
  };
}

function shorten(text: string): string {
  const characters = [...text.replace(/\s+/g, ' ').trim()];
  return characters.length <= maxCharacters
    ? characters.join('')
    : `${characters.slice(0, maxCharacters - 1).join('')}…`;
}
